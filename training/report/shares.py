"""Shares of purchases with honest intervals: how many of these were those, and how surely is that known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from training.metrics import Column, Estimate, draws, with_interval
from training.report.judged import Flags, JudgedRows

_Z: Final = 1.96


class Question(NamedTuple):
    """Of the purchases `of`, what share are `hits`? Both flags of all judged rows, hits within `of`."""

    hits: Flags
    of: Flags


class Share(NamedTuple):
    """An answer: the share with its interval, and the rows that it rests on."""

    hits: int
    of: int
    found: Estimate


class Shares(NamedTuple):
    """Answers to several questions from the same draws, so that two of them can be compared."""

    each: list[Share]
    drawn: npt.NDArray[np.float64]
    """One row for each round of the bootstrap, one column for each question; NaN where nothing was drawn."""

    def difference(self, one: int, other: int) -> Estimate:
        """Return by how much the share of one question lies above that of another."""
        value = self.each[one].found.value - self.each[other].found.value
        return with_interval(value, self.drawn[:, one] - self.drawn[:, other])


def shares(questions: Sequence[Question], judged: JudgedRows, seed: int) -> Shares:
    """Answer all questions. Cost: 100 sums over the rows of each question.

    An interval is the wider of two: the bootstrap over cards, which knows that purchases of one card are
    right or wrong together, and Wilson's, which knows that five hits of five prove little.
    """
    places = [(np.flatnonzero(one.hits), np.flatnonzero(one.of)) for one in questions]
    values = np.array(_sums(places, judged.weights))
    rounds = draws(judged.labels.size, seed, judged.card)
    drawn = np.array([_sums(places, judged.weights * times) for times in rounds]).reshape(-1, len(questions))
    each = [
        Share(hits.size, of.size, _estimate(value, of.size, drawn[:, at]))
        for at, ((hits, of), value) in enumerate(zip(places, values, strict=True))
    ]
    return Shares(each, drawn)


def _sums(places: Sequence[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]], weights: Column) -> list[float]:
    sums = [(float(weights[hits].sum()), float(weights[of].sum())) for hits, of in places]
    return [hits / of if of else np.nan for hits, of in sums]


def _estimate(value: float, of: int, drawn: Column) -> Estimate:
    found = with_interval(value, drawn)
    if np.isnan([found.value, found.low]).any():
        return found
    least, most = wilson(value, of)
    return Estimate(value, min(found.low, least), max(found.high, most))


def wilson(share: float, of: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share that was seen in `of` independent trials (E. B. Wilson, 1927)."""
    middle = share + _Z * _Z / (2.0 * of)
    spread = _Z * np.sqrt(share * (1.0 - share) / of + _Z * _Z / (4.0 * of * of))
    whole = 1.0 + _Z * _Z / of
    return max(float((middle - spread) / whole), 0.0), min(float((middle + spread) / whole), 1.0)
