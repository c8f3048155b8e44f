"""The composition root: every object is made here, and started and stopped in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from service.clock import Clock, EventClock, WallClock
from service.decision_log import DecisionLog
from service.errors import StoreUnavailable
from service.ingester import Ingester
from service.lineups import Lineups
from service.metrics import Metrics
from service.recorder import Recorder
from service.registry.watcher import Watcher
from service.scorer import Scorer
from service.server import Server
from service.servicer import Servicer
from service.settings import Settings
from service.store.opening import open_store
from service.wire import Reader

_LOG = structlog.get_logger(__name__)
_READINESS_S = 0.25

KEEP_S: Final = 4.0
"""Seconds beyond `server.drain_s` for what is to be kept when the service stops."""


class App:
    """One worker: the store, the lineup, the use cases and the server around them."""

    def __init__(self, settings: Settings) -> None:
        """Make everything; nothing runs yet. Raises BadSetting."""
        self.settings = settings
        self.metrics = Metrics()
        self.store = open_store(settings)
        self.watcher = Watcher(settings.registry, settings.ingest.habits, now_ms=WallClock().now_ms)
        self.decision_log = DecisionLog(self.store, settings.scoring, self.metrics)
        self._layouts: set[str] = set()
        self._clock = clock = self._make_clock()
        ingester = Ingester(self.store, self.metrics)
        self.recorder = Recorder(self.store, settings.server.threads, settings.server.max_recording, self.metrics)
        scorer = Scorer(
            self.store, self.recorder, self.watcher, self.decision_log, clock, settings.scoring, self.metrics
        )
        self._lineups = Lineups(self.watcher, settings.server.run_path)
        servicer = Servicer(
            scorer, ingester, self._lineups, Reader(settings.ingest), clock, settings.server, self.metrics
        )
        self.server = Server(servicer, settings.server)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._every, args=args, name=name, daemon=True)
            for name, args in {
                "readiness": (_READINESS_S, self._look),
                "sweeper": (settings.store.sweep_every_s, self._sweep),
            }.items()
        ]

    def start(self) -> None:
        """Begin to serve. Raises BadSetting when a port cannot be had.

        The port comes last: the kernel gives a worker its connections from then on, ready or not.
        """
        problem = self.store.check()
        if problem:
            _LOG.error("store not usable", reason=problem)
        self.metrics.follow(self.watcher)
        if self.settings.metrics_port:
            self.metrics.serve(self.settings.metrics_port)
        self.watcher.refresh()
        self.watcher.start()
        self.decision_log.start()
        self.server.start()
        self._lineups.join(self.server.port)
        self._try(self._look)
        for thread in self._threads:
            thread.start()
        _LOG.info("serving", port=self.server.port, store=self.settings.store.kind)

    def stop(self) -> None:
        """Drain: calls in hand finish, decisions are kept, then the store is let go."""
        begun_s = time.monotonic()
        by_s = begun_s + self.settings.server.drain_s + KEEP_S
        self.server.drain()
        self._stopping.set()
        self.recorder.stop()
        self.decision_log.stop(max(by_s - time.monotonic(), 0.0))
        for thread in self._threads:
            thread.join(max(by_s - time.monotonic(), 0.0))
        self._lineups.leave()
        self.watcher.stop(max(by_s - time.monotonic(), 0.0))
        self.store.close()
        _LOG.info("stopped", seconds=round(time.monotonic() - begun_s, 3))

    def _make_clock(self) -> Clock:
        if self.settings.ingest.clock == "wall":
            return WallClock()
        try:
            return EventClock(self.store.newest_event_ms())
        except StoreUnavailable as error:
            _LOG.warning("event clock starts at 0", reason=str(error))
            return EventClock(0)

    def _every(self, period_s: float, task: Callable[[], None]) -> None:
        while not self._stopping.wait(period_s):
            self._try(task)

    def _try(self, task: Callable[[], None]) -> None:
        """Run a task; the store may be down, which heals by itself."""
        try:
            task()
        except StoreUnavailable as error:
            _LOG.warning("store unavailable", reason=str(error))
        except Exception:  # noqa: BLE001  a task that fails once must run again
            _LOG.exception("background task failed", task=task.__name__)

    def _look(self) -> None:
        """Tell health and the other workers what is live, and keep the names of its rows with the decisions."""
        lineup = self.watcher.lineup
        self.server.set_scoring(serving=lineup is not None)
        self._lineups.post()
        if isinstance(self._clock, EventClock):
            self._clock.observe(self.store.newest_event_ms())  # other workers take events, too
        if lineup is not None and lineup.row_layout not in self._layouts:
            self.store.put_row_layout(lineup.row_layout, lineup.names)
            self._layouts.add(lineup.row_layout)

    def _sweep(self) -> None:
        swept = self.store.sweep(self.settings.store.sweep_older_than_s)
        self.metrics.sweep_finished.inc(swept.finished)
        self.metrics.sweep_quarantined.inc(swept.quarantined)
