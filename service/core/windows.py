"""Windows: slices of event time, counted in buckets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Series:
    """The buckets of one width that a profile keeps: the newest `buckets` of `bucket_ms` each.

    A bucket is `event_time_ms // bucket_ms`. A series keeps the buckets in
    (newest - buckets, newest], where newest is the largest that was ever added to it; what is older
    is gone. That rule knows no clock and no order: it depends on the set of events alone.
    """

    name: str
    bucket_ms: int
    buckets: int
    measures: tuple[str, ...]

    def bucket(self, time_ms: int) -> int:
        """Return the bucket that holds a time."""
        return time_ms // self.bucket_ms

    def in_time(self, event_time_ms: int, ingest_time_ms: int) -> bool:
        """Tell whether an event came early enough to be counted here; if not it is late for this series."""
        return event_time_ms // self.bucket_ms > ingest_time_ms // self.bucket_ms - self.buckets


@dataclass(frozen=True, slots=True)
class Window:
    """The current bucket and the `count - 1` before it.

    So "24 hours" at 10:50 is everything since 11:00 of yesterday, between 23 and 24 hours: the edge
    moves in steps of one bucket, at the same moment for every entity.
    """

    name: str
    series: str
    count: int


FIVE_MINUTES: Final = Series("m5", 5 * MINUTE_MS, 12, ("purchases", "amount"))
HOURS: Final = Series("h1", HOUR_MS, 24, ("purchases", "amount", "declines"))
DAYS: Final = Series("d1", DAY_MS, 30, ("purchases", "amount", "frauds", "fraud_amount"))

SERIES: Final = (FIVE_MINUTES, HOURS, DAYS)

WINDOWS: Final = {
    window.name: window
    for window in (
        Window("1h", "m5", 12),
        Window("24h", "h1", 24),
        Window("1d", "d1", 1),
        Window("3d", "d1", 3),
        Window("7d", "d1", 7),
        Window("14d", "d1", 14),
        Window("21d", "d1", 21),
        Window("28d", "d1", 28),
        Window("30d", "d1", 30),
    )
}

SPANS: Final = {
    window.name: f"{window.count}x{next(one.bucket_ms for one in SERIES if one.name == window.series)}ms"
    for window in WINDOWS.values()
}
"""What each window means: buckets and their width, for fingerprints."""
