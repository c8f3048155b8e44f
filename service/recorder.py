"""Recording a scored purchase without missing the caller's deadline.

A store may take long to make an event durable: a slow disk, a stalled node. So the write runs in a thread
of its own, and the answer waits for it only until the deadline. A write that is late goes on; the answer
says `recorded=false`, which is the truth, and a repeat finds the decision once it is durable.

While most of the last writes came to nothing in good time, answers do not wait for theirs at all: it is
begun, the answer says `recorded=false` at once, and one answer at a time waits to see how the store is.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as NotInTime
from typing import Final

from service.errors import StoreUnavailable
from service.metrics import Metrics
from service.reading import Breaker
from service.settings import BreakerSettings
from service.store.protocol import Outcome, Status, Store, Submission

FAIR_S: Final = 0.02
"""Seconds that an answer must have waited for it to count that its purchase was not durable by then."""

_DURABLE: Final = frozenset({Status.APPLIED, Status.LATE, Status.DUPLICATE, Status.REJECTED})


class Recorder:
    """Writes submissions in at most `threads` threads; beyond `waiting` writes in hand it takes no more."""

    def __init__(
        self,
        store: Store,
        threads: int,
        waiting: int,
        metrics: Metrics,
        breaker: BreakerSettings | None = None,
    ) -> None:
        """Get what it needs."""
        self._store = store
        self._room = threading.BoundedSemaphore(waiting)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="record")
        self._in_hand: set[Future[Outcome]] = set()
        self._metrics = metrics
        metrics.follow_queue("record", lambda: len(self._in_hand), waiting)
        opened = metrics.store_breaker_opened["record"].inc
        self.breaker = Breaker("record", breaker or BreakerSettings(), opened)
        metrics.store_breaker["record"].set_function(lambda: self.breaker.standing)

    def record(self, submission: Submission, deadline_s: float) -> Outcome:
        """Apply an event and return its outcome, RETRY when it is not known by `deadline_s` on the monotonic clock."""
        if not self._room.acquire(blocking=False):
            self._metrics.given_up["record"].inc()
            return Outcome(Status.RETRY, reason="too many purchases wait to be recorded")
        future = self._pool.submit(self._apply, submission)
        self._in_hand.add(future)
        future.add_done_callback(self._done)
        if self.breaker.closed:
            outcome, bad = self._wait(future, deadline_s)
            if bad is not None:
                self.breaker.note(bad=bad)
        elif self.breaker.probe():
            outcome, bad = self._wait(future, deadline_s)
            self.breaker.probed(bad=bad)
        else:
            outcome = Outcome(Status.RETRY, reason="the store was slow lately; it may still become durable")
        if outcome.status is Status.RETRY:
            self._metrics.given_up["record"].inc()
        return outcome

    def stop(self, timeout_s: float | None = None) -> int:
        """Finish the writes in hand, within a time if there is one; returns how many of them were not begun.

        Their callers were told that they are not recorded.
        """
        self._pool.shutdown(wait=False)
        left = wait(tuple(self._in_hand), timeout_s).not_done
        return sum(future.cancel() for future in left)

    def _wait(self, future: Future[Outcome], deadline_s: float) -> tuple[Outcome, bool | None]:
        """Return an outcome and whether it speaks against the store, None when there was too little time to tell."""
        begun_s = time.monotonic()
        try:
            outcome = future.result(max(deadline_s - begun_s, 0.0))
        except NotInTime:
            outcome = Outcome(Status.RETRY, reason="not durable within the deadline; it may still become so")
        if outcome.status in _DURABLE:
            return outcome, False
        return outcome, True if time.monotonic() - begun_s >= FAIR_S else None

    def _apply(self, submission: Submission) -> Outcome:
        begun_s = time.monotonic()
        try:
            (outcome,) = self._store.apply((submission,))
        except StoreUnavailable as error:
            return Outcome(Status.RETRY, reason=str(error))
        self._metrics.applied((submission.event,), (outcome,), time.monotonic() - begun_s)
        return outcome

    def _done(self, future: Future[Outcome]) -> None:
        self._in_hand.discard(future)
        self._room.release()
