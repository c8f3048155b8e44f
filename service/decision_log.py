"""The decision log: what was served goes to the store in the background."""

from __future__ import annotations

import threading
from collections import deque

import structlog

from service.core.decision import DecisionRecord
from service.errors import StoreUnavailable
from service.metrics import Metrics
from service.settings import ScoringSettings
from service.store.protocol import Store

_LOG = structlog.get_logger(__name__)
_IDLE_S = 0.05
_FIRST_PAUSE_S = 0.1
_LAST_PAUSE_S = 2.0


class DecisionLog:
    """A bounded queue and one thread that empties it into the store.

    While the store does not answer, decisions wait; what does not fit any more is dropped and counted.
    """

    def __init__(self, store: Store, settings: ScoringSettings, metrics: Metrics) -> None:
        """Get what it needs; `start` begins to work."""
        self._store = store
        self._bound = settings.decision_queue
        self._batch = settings.decision_batch
        self._metrics = metrics
        self._queue: deque[DecisionRecord] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        metrics.decision_log_waiting.set_function(lambda: len(self._queue))

    def put(self, record: DecisionRecord) -> None:
        """Hand over a decision. Never waits: one length check and one append, no lock, no wake-up."""
        if len(self._queue) >= self._bound:
            self._metrics.decision_log_dropped.inc()
        else:
            self._queue.append(record)

    def start(self) -> None:
        """Begin to keep decisions."""
        self._thread.start()

    def stop(self, timeout_s: float) -> int:
        """Keep what waits, then stop; returns how many decisions could not be kept in time."""
        self._stopping.set()
        self._thread.join(timeout_s)
        left = len(self._queue)
        if left:
            self._metrics.decision_log_failed.inc(left)
            _LOG.warning("decisions lost on shutdown", count=left)
        return left

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            stopping = self._stopping.is_set()
            kept = self._keep_all()
            if stopping:
                return
            pause_s = _FIRST_PAUSE_S if kept else min(2 * pause_s, _LAST_PAUSE_S)
            self._stopping.wait(_IDLE_S if kept else pause_s)

    def _keep_all(self) -> bool:
        """Keep what waits; False when the store did not take it: then it waits on, in its order."""
        while self._queue:
            records = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            try:
                self._store.put_decisions(records)
            except StoreUnavailable as error:
                self._queue.extendleft(reversed(records))
                _LOG.warning("decisions wait", count=len(self._queue), reason=str(error))
                return False
        return True
