"""The decision log: what was served goes to the store in the background, and to whoever makes something of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import structlog

from service.core.decision import DecisionRecord
from service.errors import StoreUnavailable
from service.metrics import Metrics
from service.scheduling import give_way, pause
from service.served import Served
from service.settings import ScoringSettings
from service.store.protocol import Store

_LOG = structlog.get_logger(__name__)

ROUND_S: Final = 0.05
"""Seconds between two looks for what is new: what a crash may cost, and what shares a commit."""

SHOWN: Final = 128
"""What is new is shown to the takers so many at a time, with a pause between: it costs some milliseconds a thousand."""

_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 2.0


Taker = Callable[[Sequence[Served]], None]
"""Gets everything that was served, once and in order, in the thread of the log; it must not raise."""


class DecisionLog:
    """Two bounded queues and one thread: what is new is shown to the takers, then waits until the store has it.

    While the store does not answer, decisions wait; what does not fit any more is dropped and counted. The takers
    see it all the same: metrics that went blind with the store would hide that it is gone.
    """

    def __init__(self, store: Store, settings: ScoringSettings, metrics: Metrics, takers: Sequence[Taker] = ()) -> None:
        """Get what it needs; `start` begins to work."""
        self._store = store
        self._bound = settings.decision_queue
        self._batch = settings.decision_batch
        self._metrics = metrics
        self._takers = tuple(takers)
        self._new: deque[Served] = deque()
        self._waiting: deque[DecisionRecord] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        metrics.follow_queue("decision_log", lambda: len(self._new) + len(self._waiting), self._bound)

    def put(self, served: Served) -> None:
        """Hand over a decision. Never waits: one length check and one append, no lock, no wake-up."""
        if len(self._new) >= self._bound:
            self._metrics.decision_log_dropped.inc()
        else:
            self._new.append(served)

    def start(self) -> None:
        """Begin to keep decisions."""
        self._thread.start()

    def stop(self, timeout_s: float) -> int:
        """Keep what waits, then stop; returns how many decisions could not be kept in time."""
        self._stopping.set()
        self._thread.join(timeout_s)
        left = len(self._new) + len(self._waiting)
        if left:
            self._metrics.decision_log_failed.inc(left)
            _LOG.warning("decisions lost on shutdown", count=left)
        return left

    def _run(self) -> None:
        give_way()
        retry_s, again_s = _FIRST_RETRY_S, 0.0
        while True:
            stopping = self._stopping.is_set()
            self._show()
            if stopping or time.monotonic() >= again_s:
                if self._keep_all():
                    retry_s = _FIRST_RETRY_S
                else:
                    again_s = time.monotonic() + retry_s
                    retry_s = min(2 * retry_s, _LAST_RETRY_S)
            if stopping:
                return
            self._stopping.wait(ROUND_S)

    def _show(self) -> None:
        """Show the takers what is new, and let it wait for the store, as much as there is room for."""
        while self._new:
            batch = [self._new.popleft() for _ in range(min(SHOWN, len(self._new)))]
            for take in self._takers:
                take(batch)
                pause()
            room = self._bound - len(self._waiting)
            self._waiting.extend(served.record for served in batch[:room])
            self._metrics.decision_log_dropped.inc(max(len(batch) - room, 0))

    def _keep_all(self) -> bool:
        """Keep what waits; False when the store did not take it: then it waits on, in its order.

        What comes meanwhile shares the next round's commit; only a stop waits for all of it.
        """
        left = len(self._waiting)
        while self._waiting and (left > 0 or self._stopping.is_set()):
            records = list(islice(self._waiting, self._batch))
            begun_s = time.monotonic()
            try:
                self._store.put_decisions(records)
            except StoreUnavailable as error:
                _LOG.warning("decisions wait", count=len(self._waiting), reason=str(error))
                return False
            finally:
                self._metrics.store_seconds["put_decisions"].observe(time.monotonic() - begun_s)
            for _ in records:
                self._waiting.popleft()
            left -= len(records)
            self._show()
        return True
