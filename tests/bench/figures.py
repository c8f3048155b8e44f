"""Figures of interleaved rounds: medians, and ratios that are taken within each round.

The machine swings from minute to minute, what is compared is measured within seconds: so a ratio is the median
of the rounds' own ratios, never the ratio of two figures of different times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

Series = Mapping[str, Sequence[float]]
"""For each subject one figure a round, the rounds in the same order for all."""


class Ratio(NamedTuple):
    """How two subjects compare: the median of the rounds, and the least and the most of them."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        """Return it as a table shows it."""
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def ratio(figures: Series, subject: str, against: str) -> Ratio:
    """Return how one subject's figures stand to another's, round by round."""
    each = [one / other for one, other in zip(figures[subject], figures[against], strict=True)]
    return Ratio(median(each), min(each), max(each))


def best(figures: Series, subjects: Sequence[str]) -> str:
    """Return the subject with the highest median."""
    return max(subjects, key=lambda subject: median(figures[subject]))


def least(figures: Series, subjects: Sequence[str]) -> str:
    """Return the subject with the lowest median."""
    return min(subjects, key=lambda subject: median(figures[subject]))


def order_of(round_: int, subjects: Sequence[str]) -> list[str]:
    """Return the order in which a round measures: each round begins with another, so that nobody is always first."""
    at = round_ % len(subjects)
    return [*subjects[at:], *subjects[:at]]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share does not exceed (nearest rank); raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(int(rank), 1) - 1]


class Bar(NamedTuple):
    """What a ratio must reach: at least or at most a bound, and what one aims for."""

    what: str
    bound: float
    aim: float | None = None
    at_most: bool = False

    def verdict(self, figure: float) -> str:
        """Say in a word whether a figure holds."""
        held = figure <= self.bound if self.at_most else figure >= self.bound
        return "holds" if held else "FAILS"

    def __str__(self) -> str:
        """Return it as a table shows it."""
        text = f"{'≤' if self.at_most else '≥'} {self.bound:g}"
        return text if self.aim is None else f"{text}, aim {self.aim:g}"
