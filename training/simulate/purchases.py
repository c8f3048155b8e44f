"""Purchases as a struct of arrays, and the arithmetic of bursts that honest and fraudulent ones share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.simulate.world import Flags, Integers, Reals


class Purchases(NamedTuple):
    """Columns of equal length; -1 = absent item. `declined` says that the bank refuses it."""

    time_ms: Integers
    user: Integers
    seller: Integers
    item: Integers
    card: Integers
    amount_minor: Integers
    quantity: Integers
    declined: Flags
    pattern: Integers

    def take(self, rows: Integers | Flags) -> Purchases:
        """Return the rows that an index or a mask names."""
        return Purchases._make(column[rows] for column in self)


def joined(parts: Sequence[Purchases]) -> Purchases:
    """Return the parts one after the other."""
    return Purchases._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


class Bursts(NamedTuple):
    """Purchases in groups: `group` and `step` of each purchase, and how many groups there are."""

    group: Integers
    step: Integers
    groups: int


def bursts(rng: np.random.Generator, count: int, mean_size: float, largest: int) -> Bursts:
    """Return groups of random size (geometric, 1 to `largest`) that make `count` purchases in all."""
    sizes = np.minimum(rng.geometric(1.0 / mean_size, count), largest)
    return grouped(sizes, count)


def grouped(sizes: Integers, count: int) -> Bursts:
    """Return as many of the groups as make `count` purchases; the last one is cut short."""
    ends = np.cumsum(sizes)
    groups = int(np.searchsorted(ends, count)) + 1 if count else 0
    sizes = sizes[:groups]
    group = np.repeat(np.arange(groups), sizes)[:count]
    step = np.arange(len(group)) - np.repeat(ends[:groups] - sizes, sizes)[:count]
    return Bursts(group, step, groups)


def burst_times(burst: Bursts, begin_ms: Integers, gaps_ms: Reals) -> Integers:
    """Return the time of each purchase: its group's begin, then one gap after the other."""
    if not burst.groups:
        return np.empty(0, np.int64)
    passed = np.cumsum(np.where(burst.step == 0, 0.0, gaps_ms))
    at_begin = passed[burst.step == 0]
    since: Integers = (passed - at_begin[burst.group]).astype(np.int64)
    return begin_ms[burst.group] + since
