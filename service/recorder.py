"""Recording a scored purchase without missing the caller's deadline.

A store may take long to make an event durable: a slow disk, a stalled node. So the write runs in a thread
of its own, and the answer waits for it only until the deadline. A write that is late goes on; the answer
says `recorded=false`, which is the truth, and a repeat finds the decision once it is durable.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime

from service.errors import StoreUnavailable
from service.metrics import Metrics
from service.store.protocol import Outcome, Status, Store, Submission


class Recorder:
    """Writes submissions in at most `threads` threads; beyond `waiting` writes in hand it takes no more."""

    def __init__(self, store: Store, threads: int, waiting: int, metrics: Metrics) -> None:
        """Get what it needs."""
        self._store = store
        self._room = threading.BoundedSemaphore(waiting)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="record")
        self._metrics = metrics

    def record(self, submission: Submission, deadline_s: float) -> Outcome:
        """Apply an event and return its outcome, RETRY when it is not known by `deadline_s` on the monotonic clock."""
        if not self._room.acquire(blocking=False):
            self._metrics.given_up["record"].inc()
            return Outcome(Status.RETRY, reason="too many purchases wait to be recorded")
        future = self._pool.submit(self._apply, submission)
        future.add_done_callback(self._done)
        try:
            return future.result(max(deadline_s - time.monotonic(), 0.0))
        except NotInTime:
            self._metrics.given_up["record"].inc()
            return Outcome(Status.RETRY, reason="not durable within the deadline; it may still become so")

    def stop(self) -> None:
        """Finish the writes in hand."""
        self._pool.shutdown(wait=True)

    def _apply(self, submission: Submission) -> Outcome:
        try:
            (outcome,) = self._store.apply((submission,))
        except StoreUnavailable as error:
            return Outcome(Status.RETRY, reason=str(error))
        self._metrics.outcomes[outcome.status].inc()
        return outcome

    def _done(self, future: Future[Outcome]) -> None:
        del future
        self._room.release()
