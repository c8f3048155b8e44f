"""Arrivals are due when the schedule says, whatever becomes of earlier calls."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

from loadtest.arrivals import Arrivals, Spacing


def due_s(spacing: Spacing, rate: float, count: int) -> list[float]:
    """Return the first instants of a schedule that begins at 100 s."""
    arrivals, found = Arrivals(rate, spacing, 100.0, 1), []
    for _ in range(count):
        found.append(arrivals.due_s)
        arrivals.advance()
    return found


def test_constant_arrivals_are_evenly_spaced() -> None:
    """One call every 1/rate seconds, the first at once."""
    assert due_s("constant", 4.0, 5) == [100.0, 100.25, 100.5, 100.75, 101.0]


def test_poisson_arrivals_have_the_rate() -> None:
    """The gaps are 1/rate on average, and most of them shorter: crowds and pauses."""
    gaps = [later - earlier for earlier, later in pairwise(due_s("poisson", 50.0, 20_000))]
    assert abs(fmean(gaps) - 0.02) < 0.001
    assert 0.6 < sum(gap < 0.02 for gap in gaps) / len(gaps) < 0.66


def test_schedule_is_fixed_by_its_seed() -> None:
    """The same seed gives the same instants."""
    assert due_s("poisson", 10.0, 100) == due_s("poisson", 10.0, 100)
