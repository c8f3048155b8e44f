"""Aggregates: the statistics kept in a profile, as a small algebra.

Every aggregate has `zero`, `add`, `merge` and `value`. Adding is commutative and merging is commutative
and associative, so the order in which events arrive never shows:

    merge(a, b) == merge(b, a)        merge(a, zero()) == a
    add(merge(a, b), x) == merge(a, add(b, x))

States are integers, or lists of integers that `add` changes in place; nothing is a float.
`since` is the profile layout that introduced the aggregate: a profile that is older has no history of it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.core.windows import Series

RECENT_CAP: Final = 16


@dataclass(frozen=True, slots=True)
class Sum:
    """A running total; an amount may be negative, to take back what was counted."""

    name: str
    since: int = 1

    def zero(self) -> int:
        """Return the total of nothing."""
        return 0

    def add(self, state: int, amount: int) -> int:
        """Count an amount."""
        return state + amount

    def merge(self, left: int, right: int) -> int:
        """Return the total of both."""
        return left + right

    def value(self, state: int) -> int:
        """Return the total."""
        return state


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest time in milliseconds; 0 = never."""

    name: str
    since: int = 1

    def zero(self) -> int:
        """Return "never"."""
        return 0

    def add(self, state: int, amount: int) -> int:
        """Take in a time."""
        return max(state, amount)

    def merge(self, left: int, right: int) -> int:
        """Return the later one."""
        return max(left, right)

    def value(self, state: int) -> int:
        """Return the time."""
        return state


@dataclass(frozen=True, slots=True)
class Earliest:
    """The earliest time in milliseconds; 0 = never."""

    name: str
    since: int = 1

    def zero(self) -> int:
        """Return "never"."""
        return 0

    def add(self, state: int, amount: int) -> int:
        """Take in a time."""
        return amount if state == 0 or amount < state else state

    def merge(self, left: int, right: int) -> int:
        """Return the earlier one that is not "never"."""
        return self.add(left, right) if right else left

    def value(self, state: int) -> int:
        """Return the time."""
        return state


@dataclass(frozen=True, slots=True)
class Bucketed:
    """Sums by bucket of time, bounded as `Series` says.

    The state is a list as an image holds it: the buckets in order, then for each measure the running sums, one
    more than there are buckets, beginning with 0. So taking an image apart and putting it together copies a few
    lists, and what is added to the newest bucket, as nearly everything is, changes one number for each measure.
    """

    series: Series
    since: int = 1

    @property
    def name(self) -> str:
        """Return the name of the series."""
        return self.series.name

    def zero(self) -> list[int]:
        """Return no buckets."""
        return [0] * len(self.series.measures)

    def add(self, state: list[int], bucket: int, lines: Sequence[tuple[int, int]], amounts: Sequence[int]) -> list[int]:
        """Count in one bucket: each line names a measure, and which of the amounts to count in it.

        A bucket that is out of reach is dropped, by `value` if not before.
        """
        size = len(state) // (len(self.series.measures) + 1)
        if not size or state[size - 1] != bucket:
            size, at = self._place(state, size, bucket)
        else:
            at = size - 1
        for measure, amount_at in lines:
            end = size + (measure + 1) * (size + 1)
            amount = amounts[amount_at]
            for later in range(end - size + at, end):
                state[later] += amount
        return state

    def _place(self, state: list[int], size: int, bucket: int) -> tuple[int, int]:
        """Return how many buckets there are and where one of them stands, which is put there when it is new."""
        if size and state[size - 1] <= bucket - self.series.buckets:
            # Who comes back after a while begins anew in the short series: nothing that is there is in reach.
            state[:] = self.zero()
            size = 0
        elif size >= 2 * self.series.buckets:
            state[:] = self.value(state)
            size = self.size(state)
        at = bisect_left(state, bucket, 0, size)
        if at < size and state[at] == bucket:
            return size, at
        # From the end, so that what is yet to be done does not move.
        for start in range(len(state) - size - 1, size - 1, -size - 1):
            state.insert(start + at, state[start + at])
        state.insert(at, bucket)
        return size + 1, at

    def merge(self, left: list[int], right: list[int]) -> list[int]:
        """Return the sums of both, bucket by bucket."""
        lines = tuple((measure, measure) for measure in range(len(self.series.measures)))
        merged = self.zero()
        for state in (left, right):
            for bucket, sums in self.sums(state).items():
                self.add(merged, bucket, lines, sums)
        return merged

    def value(self, state: list[int]) -> list[int]:
        """Return the state without buckets that are out of reach: itself when it has none."""
        size = self.size(state)
        if not size or state[0] > state[size - 1] - self.series.buckets:
            return state
        first = bisect_right(state, state[size - 1] - self.series.buckets, 0, size)
        kept = state[first:size]
        for start in range(size, len(state), size + 1):
            before = state[start + first]
            kept += [sum_ - before for sum_ in state[start + first : start + size + 1]]
        return kept

    def size(self, state: list[int]) -> int:
        """Return how many buckets there are."""
        return len(state) // (len(self.series.measures) + 1)

    def sums(self, state: list[int]) -> dict[int, list[int]]:
        """Return the sum of each measure in each bucket, in order of time."""
        size = self.size(state)
        return {
            bucket: [state[start + at + 1] - state[start + at] for start in range(size, len(state), size + 1)]
            for at, bucket in enumerate(state[:size])
        }


@dataclass(frozen=True, slots=True)
class Recent:
    """The `cap` ids met last, and when; ties go to the larger id64.

    The state is a list as an image holds it: id64 in order, then the time of each one's last meeting in ms. An id
    that fell out comes back only when met anew, later than the cap-th newest, so the order of arrival does not
    show here either.
    """

    name: str
    cap: int = RECENT_CAP
    since: int = 1

    def zero(self) -> list[int]:
        """Return nobody."""
        return []

    def add(self, state: list[int], id64: int, time_ms: int) -> list[int]:
        """Take in a meeting."""
        size = len(state) // 2
        at = bisect_left(state, id64, 0, size)
        if at < size and state[at] == id64:
            state[size + at] = max(state[size + at], time_ms)
        elif time_ms > 0:
            state.insert(size + at, time_ms)
            state.insert(at, id64)
            if size >= self.cap:
                times = state[size + 1 :]
                oldest = times.index(min(times))
                del state[size + 1 + oldest], state[oldest]
        return state

    def merge(self, left: list[int], right: list[int]) -> list[int]:
        """Return the `cap` newest of both."""
        merged = [*left]
        for id64, time_ms in self.times(right).items():
            self.add(merged, id64, time_ms)
        return merged

    def value(self, state: list[int]) -> list[int]:
        """Return the meetings."""
        return state

    def size(self, state: list[int]) -> int:
        """Return how many there are."""
        return len(state) // 2

    def times(self, state: list[int]) -> dict[int, int]:
        """Return the time of each one's last meeting."""
        size = len(state) // 2
        return dict(zip(state[:size], state[size:], strict=True))


Scalar = Sum | Latest | Earliest
Aggregate = Scalar | Bucketed | Recent
