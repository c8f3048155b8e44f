"""The calls that a lane has in hand, and the threads for those of them that wait for a store."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from service.access import Caller
from service.headers import Metadata

_PACE_WEIGHT: Final = 1 / 32
"""Weight of the newest call in the running mean of how long one takes."""

LEISURE_S: Final = 0.1
"""How far back it counts whether there was something to do: longer than most stalls, no longer than needed."""

JOIN_S: Final = 5.0
"""Seconds that the lane's threads get to end once every call has."""


class Arrival(NamedTuple):
    """A call as it was taken off the port; instants are those of `time.monotonic()`."""

    arrived_s: float
    deadline_s: float
    """Until when the caller waits; ages ahead when it does not say."""
    metadata: Metadata
    caller: Caller


Tell = Callable[[bytes | Exception], None]
"""Gets the reply to a call, or the error that it ends with: once, in any thread."""


class Call:
    """A call in hand."""

    __slots__ = ("arrival", "handle", "request")

    def __init__(self, handle: Any, arrival: Arrival) -> None:  # noqa: ANN401  cygrpc has no types
        """Take a call of the core; its `request` comes later."""
        self.handle = handle
        self.arrival = arrival
        self.request: Any = None


class Pace:
    """How long a call takes: a running mean in seconds. Threads may lose one another's note: it is an estimate."""

    __slots__ = ("mean_s",)

    def __init__(self) -> None:
        """Know nothing yet."""
        self.mean_s = 0.0

    def note(self, took_s: float) -> None:
        """Take note of one call."""
        self.mean_s += (took_s - self.mean_s) * _PACE_WEIGHT


class Leisure:
    """The share of the time, of late, in which there was nothing to do: what is left of it says whether a crowd stays.

    Times a state, of which one holds until the other is noted. Thread-safe only in that it never fails.
    """

    __slots__ = ("_idle", "_share", "_since_s")

    def __init__(self) -> None:
        """Begin idle."""
        self._idle, self._share, self._since_s = 1.0, 1.0, time.monotonic()

    def note(self, *, idle: float) -> None:
        """Take note of which share of those who work has nothing to do from now on: 1 all of them, 0 none."""
        now_s = time.monotonic()
        self._share, self._since_s, self._idle = self._at(now_s), now_s, idle

    @property
    def share(self) -> float:
        """Return it, between 0 and 1; what is LEISURE_S ago counts 1/e of what is now."""
        return self._at(time.monotonic())

    def _at(self, now_s: float) -> float:
        return self._idle + (self._share - self._idle) * math.exp((self._since_s - now_s) / LEISURE_S)


class Pool:
    """Threads that work on calls which wait for somebody."""

    def __init__(self, threads: int, name: str, work: Callable[[Call], int]) -> None:
        """Get what it needs; `work` answers a call, and maybe others, and returns how many."""
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._work = work
        self._pace = Pace()
        self.leisure = Leisure()
        """Of the threads: each counts, as one that is free can only take turns with one that computes."""
        self._free = 0
        self._counting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"lane-{name}-{n}", daemon=True) for n in range(threads)
        ]

    @property
    def waiting(self) -> int:
        """Return how many calls were not begun."""
        return self._calls.qsize()

    def wait_s(self) -> float:
        """Return how long a call that comes now would wait for its turn."""
        return self._calls.qsize() * self._pace.mean_s / len(self._threads)

    def put(self, call: Call) -> None:
        """Take a call."""
        self._calls.put(call)

    def more(self, limit: int) -> list[Call]:
        """Take calls that wait already, at most so many; for `work`."""
        calls: list[Call] = []
        while len(calls) < limit:
            try:
                call = self._calls.get_nowait()
            except Empty:
                break
            if call is None:  # another thread is to end
                self._calls.put(None)
                break
            calls.append(call)
        return calls

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads once they have nothing left."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(JOIN_S)

    def _run(self) -> None:
        while (call := self._next()) is not None:
            begun_s = time.monotonic()
            answered = self._work(call)
            self._pace.note((time.monotonic() - begun_s) / answered)

    def _next(self) -> Call | None:
        """Wait for a call; None when the thread is to end."""
        self._count_free(1)
        call = self._calls.get()
        self._count_free(-1)
        return call

    def _count_free(self, change: int) -> None:
        with self._counting:
            self._free += change
            self.leisure.note(idle=self._free / len(self._threads))
