"""Guarded reads: a store that is slow or down costs a score microseconds, not its budget.

Two bounds stand around every read of a remote store. It gets no more time than leaves enough for the score
itself; and when most of the last reads were bad, no further one is sent for a while:

    CLOSED ──`bad_reads` of the last `reads` were bad──> OPEN ──`open_ms` later──> PROBING
       ^                                                  ^                          │
       └──────────────`good_reads` good ones in a row─────┼──────────────────────────┤
                                                          └──one bad: twice the wait─┘

While it is not CLOSED, one read at a time goes through as a probe, and all others are answered at once:
every profile is flagged as unreadable, so that the score is degraded and says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, Protocol

import structlog

from service.core.event import Event
from service.metrics import Metrics
from service.settings import BreakerSettings, Settings
from service.store.protocol import Store, View

_LOG = structlog.get_logger(__name__)

MIN_READ_S: Final = 0.001
"""Least time that a read is worth: clients count in milliseconds."""

_PURCHASES_PER_READ: Final = 32
"""Purchases that one read's time is for, as the stores reckon it."""


class Reads(Protocol):
    """Where a score gets its profiles from."""

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Return what the scores of these purchases need, within the time; see `Store.read`."""


class Standing(IntEnum):
    """Whether reads go to the store; the numbers are those of the metric."""

    CLOSED = 0
    PROBING = 1
    OPEN = 2


class Breaker:
    """Remembers how the last reads went, and tells whether the next one should be sent.

    Thread-safe. A good read while all is well costs one comparison; threads that note reads at the same
    moment may lose one another's: it is a measure, no account.
    """

    def __init__(
        self,
        what: str,
        settings: BreakerSettings,
        opened: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin closed; `what` is for the log, and `opened` is called each time that it opens."""
        self.closed = True
        """Whether reads go to the store: what the path of a score looks at."""
        self._what = what
        self._window = (1 << settings.reads) - 1
        self._bad_reads = settings.bad_reads
        self._good_reads = settings.good_reads
        self._open_s = settings.open_ms / 1000
        self._max_open_s = max(settings.max_open_ms, settings.open_ms) / 1000
        self._opened = opened
        self._clock = clock
        self._lock = threading.Lock()
        self._history = 0  # a bit for each of the last reads, 1 for a bad one
        self._wait_s = 0.0
        self._probe_at_s = 0.0
        self._closed_at_s = 0.0
        self._good_probes = 0
        self._probing = False

    @property
    def standing(self) -> Standing:
        """Return whether reads go to the store."""
        if self.closed:
            return Standing.CLOSED
        return Standing.OPEN if self._clock() < self._probe_at_s else Standing.PROBING

    def note(self, *, bad: bool) -> None:
        """Take note of a read that was sent while closed."""
        if bad or self._history:
            self._history = history = (self._history << 1 | bad) & self._window
            if history.bit_count() >= self._bad_reads:
                self._open()

    def probe(self) -> bool:
        """Tell whether the caller's read may try the store; whoever may tells `probed` of it, whatever happens."""
        with self._lock:
            if self.closed or self._probing or self._clock() < self._probe_at_s:
                return False
            self._probing = True
            return True

    def probed(self, *, bad: bool | None) -> None:
        """Take note of a read that tried the store; None for one that says nothing about it."""
        with self._lock:
            self._probing = False
            if bad is None:
                return
            if bad:
                self._wait(2 * self._wait_s)
                return
            self._good_probes += 1
            if self._good_probes < self._good_reads:
                return
            self._history = 0
            self._closed_at_s = self._clock()
            self.closed = True
        _LOG.info("store is asked again", what=self._what)

    def _open(self) -> None:
        """Open, unless another thread has. Soon after it closed the wait goes on to grow."""
        with self._lock:
            if not self.closed:
                return
            steady = self._clock() - self._closed_at_s > self._max_open_s
            self._wait(self._open_s if steady or not self._wait_s else 2 * self._wait_s)
            self.closed = False
        self._opened()
        _LOG.warning("store is not asked for a while", what=self._what, wait_s=self._wait_s)

    def _wait(self, wait_s: float) -> None:
        """Let nobody try the store for a while; needs the lock."""
        self._wait_s = min(wait_s, self._max_open_s)
        self._probe_at_s = self._clock() + self._wait_s
        self._good_probes = 0


class GuardedReads:
    """Reads of a remote store, each within its share of the budget and behind a breaker. Thread-safe."""

    def __init__(
        self,
        store: Store,
        settings: BreakerSettings,
        reserve_s: float,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Get what it needs; `reserve_s` is what a read leaves for the score."""
        self._store = store
        self._reserve_s = reserve_s
        self._slow_s = settings.slow_ms / 1000
        self._fair_s = settings.fair_ms / 1000
        self._clock = clock
        self._skipped = metrics.store_reads_skipped
        self._bad = metrics.store_reads_bad
        self.breaker = Breaker("read", settings, metrics.store_breaker_opened["read"].inc, clock)
        metrics.store_breaker["read"].set_function(lambda: self.breaker.standing)

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Return views as the store does, or at once with `given_up` set: see the module. Never raises.

        The read gets what `reserve_s` leaves of `timeout_s`, and at least half of it: a short deadline is
        shared. Cost: 0.7 µs beyond the store's own read; 4 µs for one that is not sent.
        """
        read_s = max(timeout_s - self._reserve_s, timeout_s / 2)
        breaker = self.breaker
        if read_s < MIN_READ_S:
            return self._skip(purchases, "time")
        probing = not breaker.closed
        if probing and not breaker.probe():
            return self._skip(purchases, "breaker")
        bad: bool | None = True
        begun_s = self._clock()
        try:
            views = self._store.read(purchases, read_s)
            bad = self._is_bad(views, read_s, self._clock() - begun_s)
        finally:
            if probing:
                breaker.probed(bad=bad)
            elif bad is not None:
                breaker.note(bad=bad)
            if bad:
                self._bad.inc()
        return views

    def _is_bad(self, views: Sequence[View], read_s: float, took_s: float) -> bool | None:
        """Tell whether a read was bad, None when it had too little time to tell."""
        if any(map(_answered, views)):
            return took_s > self._slow_s * (1 + len(views) // _PURCHASES_PER_READ)
        return None if read_s < self._fair_s else True

    def _skip(self, purchases: Sequence[Event], cause: str) -> list[View]:
        self._skipped[cause].inc()
        return [_given_up(purchase) for purchase in purchases]


def reads_of(store: Store, settings: Settings, metrics: Metrics) -> Reads:
    """Return what scores read through: guarded when the store is remote, else the store itself.

    A read of mapped memory takes microseconds, cannot be broken off, and warms what it waits for: an embedded
    store behind a breaker would stay cold.
    """
    if settings.store.kind == "lmdb":
        return store
    return GuardedReads(store, settings.breaker, settings.scoring.score_reserve_ms / 1000, metrics)


def _answered(view: View) -> bool:
    """Tell whether the store answered at all: a single profile that cannot be read is not the store's failure."""
    return not view.unreadable or any(view.images)


def _given_up(purchase: Event) -> View:
    return View((None, None, None, None), tuple(key.kind for key in purchase.keys()), None, given_up=True)
