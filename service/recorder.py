"""Recording scored purchases, so that nobody's answer waits longer for it than it may.

A store may take long to make an event durable: a slow disk, a stalled node. So whoever scored hands the write over,
with somebody to tell, and goes on: no thread waits for it. Threads of the recorder's own write, on the embedded
store one for all that waits, since that is one flush of the disk. Another thread tells those whose time is over that
their purchase is not recorded, which is the truth; the write goes on, and a repeat finds the decision once it is
durable.

While most of the last writes came to nothing in good time, answers do not wait for theirs at all: it is
begun, the answer says `recorded=false` at once, and one answer at a time waits to see how the store is.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from service.errors import StoreUnavailable
from service.metrics import Metrics
from service.reading import Breaker
from service.scheduling import give_way
from service.settings import BreakerSettings, Settings
from service.store.protocol import Outcome, Status, Store, Submission

_LOG = structlog.get_logger(__name__)

FAIR_S: Final = 0.02
"""Seconds that an answer must have waited for it to count that its purchase was not durable by then."""

_DURABLE: Final = frozenset({Status.APPLIED, Status.LATE, Status.DUPLICATE, Status.REJECTED})

Tell = Callable[[Outcome], None]
"""Gets the outcome of a write, once, in whatever thread knows it; it neither waits nor raises."""


class _Write:
    """A submission on its way, and who waits for it."""

    __slots__ = ("begun_s", "number", "probes", "submission", "tell")

    def __init__(self, number: int, submission: Submission, tell: Tell, *, probes: bool) -> None:
        self.number = number
        self.submission = submission
        self.tell = tell
        self.probes = probes
        """Whether its answer tries how the store is, while no other waits."""
        self.begun_s = time.monotonic()


class Recorder:
    """Writes submissions in `threads` threads; beyond `waiting` writes in hand it takes no more. Thread-safe."""

    def __init__(
        self,
        store: Store,
        threads: int,
        waiting: int,
        metrics: Metrics,
        breaker: BreakerSettings | None = None,
        *,
        together: int = 1,
    ) -> None:
        """Get what it needs; a thread gives the store up to `together` submissions that wait at once."""
        self._store = store
        self._together = together
        self._metrics = metrics
        self._room = threading.BoundedSemaphore(waiting)
        self._numbers = count()
        self._waiting: SimpleQueue[_Write | None] = SimpleQueue()
        self._in_hand: dict[int, _Write] = {}
        self._untold: dict[int, _Write] = {}
        """Writes that somebody waits for. Whoever takes one out, which only one thread can, tells of it."""
        self._due: list[tuple[float, int]] = []
        """A heap of when to tell at the latest; of many it was told before that."""
        self._due_sooner = threading.Condition()
        self._stopping = False
        metrics.follow_queue("record", lambda: len(self._in_hand), waiting)
        opened = metrics.store_breaker_opened["record"].inc
        self.breaker = Breaker("record", breaker or BreakerSettings(), opened)
        metrics.store_breaker["record"].set_function(lambda: self.breaker.standing)
        self._writers = [threading.Thread(target=self._write, name=f"record-{n}", daemon=True) for n in range(threads)]
        self._clock = threading.Thread(target=self._watch, name="record-due", daemon=True)
        for thread in (*self._writers, self._clock):
            thread.start()

    def record(self, submission: Submission, deadline_s: float, tell: Tell) -> None:
        """Apply an event and tell its outcome: RETRY when it is not known by `deadline_s` on the monotonic clock.

        May tell before it returns. Never waits.
        """
        if not self._room.acquire(blocking=False):
            self._not_recorded(tell, "too many purchases wait to be recorded")
            return
        closed = self.breaker.closed
        probes = not closed and self.breaker.probe()
        write = _Write(next(self._numbers), submission, tell, probes=probes)
        self._in_hand[write.number] = write
        if closed or probes:
            self._untold[write.number] = write
            self._waiting.put(write)
            with self._due_sooner:
                heapq.heappush(self._due, (deadline_s, write.number))
                if self._due[0][1] == write.number:
                    self._due_sooner.notify()
        else:
            self._waiting.put(write)
            self._not_recorded(tell, "the store was slow lately; it may still become durable")

    def stop(self, timeout_s: float | None = None) -> int:
        """Finish the writes in hand, within a time if there is one; returns how many of them were not begun.

        Whoever still waits for one is told that it is not recorded.
        """
        begun_s = time.monotonic()
        for _ in self._writers:
            self._waiting.put(None)
        for writer in self._writers:
            writer.join(None if timeout_s is None else max(begun_s + timeout_s - time.monotonic(), 0.0))
        left = len(self._take(len(self._in_hand)))
        with self._due_sooner:
            self._stopping = True
            self._due_sooner.notify()
        self._clock.join()
        for number in list(self._untold):
            self._told(number, Outcome(Status.RETRY, reason="the service stops; it may still become durable"))
        return left

    # --- writing --------------------------------------------------------------------------------

    def _write(self) -> None:
        give_way()
        while (first := self._waiting.get()) is not None:
            group = [first, *self._take(self._together - 1)]
            outcomes = self._apply([write.submission for write in group])
            for write, outcome in zip(group, outcomes, strict=True):
                del self._in_hand[write.number]
                self._room.release()
                self._told(write.number, outcome)

    def _take(self, limit: int) -> list[_Write]:
        """Take writes that wait already, at most so many."""
        writes: list[_Write] = []
        while len(writes) < limit:
            try:
                write = self._waiting.get_nowait()
            except Empty:
                break
            if write is None:  # a thread is to end, after all that waits
                self._waiting.put(None)
                break
            writes.append(write)
        return writes

    def _apply(self, submissions: Sequence[Submission]) -> list[Outcome]:
        begun_s = time.monotonic()
        try:
            outcomes = self._store.apply(submissions)
        except StoreUnavailable as error:
            return [Outcome(Status.RETRY, reason=str(error))] * len(submissions)
        except Exception:  # noqa: BLE001  one write that fails for another reason ends no other
            _LOG.exception("purchases not recorded", count=len(submissions))
            return [Outcome(Status.RETRY, reason="an error of the service")] * len(submissions)
        self._metrics.applied([one.event for one in submissions], outcomes, time.monotonic() - begun_s)
        return outcomes

    # --- telling --------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Tell those whose time is over."""
        while True:
            with self._due_sooner:
                if self._stopping:
                    return
                late = self._late()
                if not late:
                    self._due_sooner.wait(self._due[0][0] - time.monotonic() if self._due else None)
            for number in late:
                self._told(number, Outcome(Status.RETRY, reason="not durable in time; it may still become so"))

    def _late(self) -> list[int]:
        """Take out the writes that must be told of now, and those of which it was told; needs the lock."""
        late, now_s = [], time.monotonic()
        while self._due and (self._due[0][0] <= now_s or self._due[0][1] not in self._untold):
            late.append(heapq.heappop(self._due)[1])
        return [number for number in late if number in self._untold]

    def _told(self, number: int, outcome: Outcome) -> None:
        """Tell of a write, unless that was done; and take note of what it says about the store."""
        write = self._untold.pop(number, None)
        if write is None:
            return
        bad: bool | None = False
        if outcome.status not in _DURABLE:
            # With too little time nobody can tell.
            bad = True if time.monotonic() - write.begun_s >= FAIR_S else None
        if write.probes:
            self.breaker.probed(bad=bad)
        elif bad is not None:
            self.breaker.note(bad=bad)
        if outcome.status is Status.RETRY:
            self._metrics.given_up["record"].inc()
        try:
            write.tell(outcome)
        except Exception:  # noqa: BLE001  the thread has others to tell
            _LOG.exception("outcome not told")

    def _not_recorded(self, tell: Tell, reason: str) -> None:
        self._metrics.given_up["record"].inc()
        tell(Outcome(Status.RETRY, reason=reason))


def recorder_of(store: Store, settings: Settings, metrics: Metrics) -> Recorder:
    """Return what records scored purchases in a store: one flush for all that waits, or as many writes at once."""
    bound = settings.server.max_recording
    if settings.store.kind == "lmdb":
        return Recorder(store, 1, bound, metrics, settings.breaker, together=settings.store.lmdb.max_commit_events)
    return Recorder(store, settings.server.recording_threads, bound, metrics, settings.breaker)
