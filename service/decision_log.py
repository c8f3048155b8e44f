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
_ATTEMPTS = 3
_PAUSE_S = 0.2


class DecisionLog:
    """A bounded queue and one thread that empties it into the store; what does not fit is dropped and counted."""

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
        while True:
            stopping = self._stopping.is_set()
            while self._queue:
                self._keep([self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))])
            if stopping:
                return
            self._stopping.wait(_IDLE_S)

    def _keep(self, records: list[DecisionRecord]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._store.put_decisions(records)
            except StoreUnavailable as error:
                reason = str(error)
                if attempt + 1 < _ATTEMPTS:
                    self._stopping.wait(_PAUSE_S)
            else:
                return
        self._metrics.decision_log_failed.inc(len(records))
        _LOG.error("decisions lost", count=len(records), reason=reason)
