"""Latencies: how many calls took how long, within one percent, in a few hundred numbers.

Buckets of equal width up to 255 µs, and from there on 128 to each doubling, as in HdrHistogram: a bucket is at most
1/128 of its value wide. Histograms of seconds, kinds and processes add up to those of the whole, which percentiles
do not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

LINEAR_US: Final = 256
"""Latencies below it, in microseconds, have a bucket for each."""

MAX_US: Final = (1 << 27) - 1
"""Longest latency that is told from longer ones: 134 seconds, longer than any call may take."""

_BITS: Final = 8


class Latencies:
    """A histogram of latencies. One thread at a time."""

    __slots__ = ("count", "counts", "max_us")

    def __init__(self, counts: Mapping[int, int] | None = None, max_us: int = 0) -> None:
        """Begin with `counts` of buckets, by number, and the longest latency among them."""
        self.counts: Counter[int] = Counter(counts)
        self.count = sum(self.counts.values())
        self.max_us = max_us

    def note(self, seconds: float) -> None:
        """Count one latency. Cost: half a microsecond."""
        latency_us = int(seconds * 1e6)
        self.max_us = max(self.max_us, latency_us)
        self.counts[bucket(latency_us)] += 1
        self.count += 1

    def add(self, other: Latencies) -> None:
        """Count all that another one counted."""
        self.counts.update(other.counts)
        self.count += other.count
        self.max_us = max(self.max_us, other.max_us)

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"counts": dict(self.counts), "max_us": self.max_us}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> Latencies:
        """Return what `to_plain` was made of; JSON has made text of the numbers of buckets."""
        return cls({int(number): count for number, count in plain["counts"].items()}, plain["max_us"])

    def percentile_ms(self, share: float) -> float:
        """Return the latency that at least `share` of the calls did not exceed; NaN when there were none.

        It is the upper edge of its bucket, so up to 1/128 too high and never too low, and at most the maximum.
        """
        if not self.count:
            return math.nan
        wanted = math.ceil(share * self.count)
        for edge_us, _, reached in self.cumulative():
            if reached >= wanted:
                return min(edge_us, self.max_us) / 1000
        raise AssertionError("the last bucket reaches all")  # pragma: no cover

    def within(self, limit_ms: float) -> int:
        """Return how many calls took no longer than a limit; those of the bucket that it cuts count as longer."""
        return sum(count for edge_us, count, _ in self.cumulative() if edge_us <= limit_ms * 1000)

    def cumulative(self) -> Iterator[tuple[int, int, int]]:
        """Yield each bucket that holds something: its upper edge in µs, its count, and the count up to it."""
        reached = 0
        for number in sorted(self.counts):
            count = self.counts[number]
            reached += count
            yield edge_us(number), count, reached


def bucket(latency_us: int) -> int:
    """Return the number of the bucket of a latency in microseconds; below 0 counts as 0."""
    if latency_us < LINEAR_US:
        return max(latency_us, 0)
    latency_us = min(latency_us, MAX_US)
    shift = latency_us.bit_length() - _BITS
    return (shift << (_BITS - 1)) + (latency_us >> shift)


def edge_us(number: int) -> int:
    """Return the longest latency of a bucket in microseconds."""
    if number < LINEAR_US:
        return number
    shift = (number >> (_BITS - 1)) - 1
    return (((number - (shift << (_BITS - 1))) + 1) << shift) - 1
