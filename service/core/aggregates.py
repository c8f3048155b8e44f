"""Aggregates: the statistics kept in a profile, as a small algebra.

Every aggregate has `zero`, `add`, `merge` and `value`. Adding is commutative and merging is commutative
and associative, so the order in which events arrive never shows:

    merge(a, b) == merge(b, a)        merge(a, zero()) == a
    add(merge(a, b), x) == merge(a, add(b, x))

States are plain integers, or dictionaries of integers that `add` changes in place; nothing is a float.
`since` is the profile layout that introduced the aggregate: a profile that is older has no history of it.
"""

from __future__ import annotations

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
    """Sums by bucket of time: `{bucket: [sum of each measure]}`, bounded as `Series` says."""

    series: Series
    since: int = 1

    @property
    def name(self) -> str:
        """Return the name of the series."""
        return self.series.name

    def zero(self) -> dict[int, list[int]]:
        """Return no buckets."""
        return {}

    def add(self, state: dict[int, list[int]], bucket: int, measure: int, amount: int) -> dict[int, list[int]]:
        """Count an amount in a bucket; a bucket that is out of reach is dropped by `value`."""
        sums = state.get(bucket)
        if sums is None:
            sums = state[bucket] = [0] * len(self.series.measures)
        sums[measure] += amount
        return state

    def merge(self, left: dict[int, list[int]], right: dict[int, list[int]]) -> dict[int, list[int]]:
        """Return the sums of both, bucket by bucket."""
        merged = {bucket: list(sums) for bucket, sums in left.items()}
        for bucket, sums in right.items():
            mine = merged.setdefault(bucket, [0] * len(sums))
            for measure, amount in enumerate(sums):
                mine[measure] += amount
        return merged

    def value(self, state: dict[int, list[int]]) -> dict[int, list[int]]:
        """Return the buckets that are kept, in order of time."""
        if not state:
            return {}
        oldest = max(state) - self.series.buckets
        return {bucket: state[bucket] for bucket in sorted(state) if bucket > oldest}


@dataclass(frozen=True, slots=True)
class Recent:
    """The `cap` ids met last: `{id64: time of the last meeting in ms}`; ties go to the larger id64.

    An id that fell out comes back only when met anew, later than the cap-th newest, so the order of
    arrival does not show here either.
    """

    name: str
    cap: int = RECENT_CAP
    since: int = 1

    def zero(self) -> dict[int, int]:
        """Return nobody."""
        return {}

    def add(self, state: dict[int, int], id64: int, time_ms: int) -> dict[int, int]:
        """Take in a meeting."""
        if time_ms > state.get(id64, 0):
            state[id64] = time_ms
            if len(state) > self.cap:
                del state[min(state, key=lambda known: (state[known], known))]
        return state

    def merge(self, left: dict[int, int], right: dict[int, int]) -> dict[int, int]:
        """Return the `cap` newest of both."""
        merged = dict(left)
        for id64, time_ms in right.items():
            self.add(merged, id64, time_ms)
        return merged

    def value(self, state: dict[int, int]) -> dict[int, int]:
        """Return the meetings by id64."""
        return {id64: state[id64] for id64 in sorted(state)}


Scalar = Sum | Latest | Earliest
Aggregate = Scalar | Bucketed | Recent
