"""The composition root: every object is made here, and started and stopped in order."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from service.access import Gate
from service.call_log import CallLog
from service.clock import Clock, EventClock, WallClock
from service.decision_log import DecisionLog
from service.edge import Edge
from service.errors import StoreUnavailable
from service.explainer import Explainer
from service.exposure import refuse_exposure
from service.ingester import Ingester
from service.lineups import Lineups
from service.lists import Lists
from service.metrics import Metrics
from service.observer import Observer
from service.reading import reads_of
from service.recorder import recorder_of
from service.registry.watcher import Watcher
from service.scorer import Scorer
from service.server import Server
from service.servicer import Servicer
from service.settings import Settings
from service.store.opening import open_store
from service.store_figures import StoreFigures
from service.telemetry.exposition import Exposition
from service.telemetry.pauses import Pauses
from service.telemetry.workers import Alone
from service.tls import Certificates
from service.tracing import tracing_of
from service.wire import Reader

_LOG = structlog.get_logger(__name__)
_READINESS_S = 0.25

GARBAGE_OBJECTS: Final = 20_000
"""Objects made and still there at which Python looks for circles among them, 700 if nobody says.

Answers on their way to the decision log are that many at any time, and none of them is in a circle: the collector
looked at them for 6 % of a busy worker's time, up to 6 ms at once. One look at so many takes 2 ms."""

KEEP_S: Final = 4.0
"""Seconds beyond `server.drain_s` for what is to be kept when the service stops."""


class App:
    """One worker: the store, the lineup, the use cases and the server around them."""

    def __init__(self, settings: Settings) -> None:
        """Make everything; nothing runs yet. Raises BadSetting."""
        refuse_exposure(settings)
        self.settings = settings
        self.metrics = Metrics()
        self.store = open_store(settings)
        self.watcher = Watcher(settings.registry, settings.ingest.habits, now_ms=WallClock().now_ms)
        self._tracing = tracing_of(settings.tracing, self.metrics)
        self._observer = Observer(self.metrics, self.watcher, settings.drift)
        takers = [self._observer.take]
        if self._tracing is not None:
            takers.append(self._tracing.take)
        self.decision_log = DecisionLog(self.store, settings.scoring, self.metrics, takers)
        self.lists = Lists(self.store.listings, WallClock().now_ms)
        self.metrics.follow_lists(lambda: self.lists.entries, lambda: self.lists.age_s)
        self._layouts: set[str] = set()
        self._clock = clock = self._make_clock()
        ingester = Ingester(self.store, self.metrics, settings.breaker)
        self.recorder = recorder_of(self.store, settings, self.metrics)
        self._explainer = Explainer(settings.scoring.max_explaining, self.metrics)
        scorer = Scorer(
            self.store,
            self.recorder,
            self.watcher,
            self.decision_log,
            clock,
            settings.scoring,
            self._explainer,
            reads=reads_of(self.store, settings, self.metrics),
            listed=self.lists.of,
        )
        self._lineups = Lineups(self.watcher, settings.server.run_path)
        self._gate = Gate.of(settings.access, settings.server.workers, self.metrics)
        self._certificates = Certificates.of(settings.tls, self.metrics)
        call_log = CallLog(settings.log, self.metrics)
        edge = Edge(self._gate, call_log, self.metrics, traced=self._tracing is not None)
        servicer = Servicer(scorer, ingester, self._lineups, Reader(settings.ingest), clock, settings.server, edge)
        self.server = Server(servicer, settings, edge, self._certificates)
        self.metrics.follow_queue("lane", lambda: self.server.lane.waiting, settings.server.max_concurrent_calls)
        self.metrics.follow_leisure(lambda: self.server.lane.leisure)
        self._pauses = Pauses()
        self.metrics.registry.register(self._pauses)
        self._exposition: Exposition | None = None
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._every, args=args, name=name, daemon=True)
            for name, args in {
                "readiness": (_READINESS_S, self._look),
                "sweeper": (settings.store.sweep_every_s, self._sweep),
                "access": (settings.access.poll_ms / 1000, self._follow_access),
                "lists": (settings.lists.refresh_ms / 1000, self.lists.refresh),
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
        self._pauses.watch()
        self.metrics.registry.register(StoreFigures(self.store))
        self._exposition = Exposition.of(self.settings, Alone(self.metrics.registry))
        self.watcher.refresh()
        self.watcher.start()
        self._try(self.lists.refresh)
        if self._tracing is not None:
            self._tracing.start()
        self.decision_log.start()
        self.server.start()
        self._lineups.join(self.server.port)
        self._try(self._look)
        for thread in self._threads:
            thread.start()
        # What is there now stays: the collector need not look at it again and again, which costs a call an eighth.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_OBJECTS)
        _LOG.info("serving", port=self.server.port, store=self.settings.store.kind)

    def stop(self) -> None:
        """Drain: calls in hand finish, decisions are kept, then the store is let go."""
        begun_s = time.monotonic()
        by_s = begun_s + self.settings.server.drain_s + KEEP_S
        self.server.drain()
        self._stopping.set()
        self._explainer.stop()
        lost = self.recorder.stop(max(by_s - time.monotonic(), 0.0))
        if lost:
            _LOG.warning("purchases not recorded on shutdown; their callers know", count=lost)
        self.decision_log.stop(max(by_s - time.monotonic(), 0.0))
        self._observer.settle()
        if self._tracing is not None:
            self._tracing.stop(max(by_s - time.monotonic(), 0.0))
        for thread in self._threads:
            thread.join(max(by_s - time.monotonic(), 0.0))
        self._lineups.leave()
        self.watcher.stop(max(by_s - time.monotonic(), 0.0))
        if self._exposition is not None:
            self._exposition.close()
        self._pauses.leave()
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

    def _follow_access(self) -> None:
        """Take in changed callers and certificates."""
        if self._gate is not None:
            self._gate.refresh()
        if self._certificates is not None:
            self._certificates.refresh()

    def _sweep(self) -> None:
        begun_s = time.monotonic()
        swept = self.store.sweep(self.settings.store.sweep_older_than_s)
        self.metrics.store_seconds["sweep"].observe(time.monotonic() - begun_s)
        self.metrics.sweep_finished.inc(swept.finished)
        self.metrics.sweep_quarantined.inc(swept.quarantined)
