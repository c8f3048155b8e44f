"""The service's clock: the wall's, or that of the events themselves."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells what time it is for the service."""

    def now_ms(self) -> int:
        """Return now, in milliseconds since the epoch."""

    def observe(self, time_ms: int) -> None:
        """Take note of an event time that was accepted."""


class WallClock:
    """The time of the machine."""

    def now_ms(self) -> int:
        """Return the time of the machine."""
        return time.time_ns() // 1_000_000

    def observe(self, time_ms: int) -> None:
        """Pass over event times: they do not move the wall's clock."""


class EventClock:
    """The newest event time seen: for import, simulation and benchmarks, where history is not late."""

    def __init__(self, newest_ms: int) -> None:
        """Go on from the newest event that the store holds; an empty store begins at 0."""
        self._newest_ms = newest_ms

    def now_ms(self) -> int:
        """Return the newest event time."""
        return self._newest_ms

    def observe(self, time_ms: int) -> None:
        """Move forward, never back. Two threads may race: the later time is seen again with the next event."""
        self._newest_ms = max(self._newest_ms, time_ms)
