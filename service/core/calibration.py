"""Calibration: from a raw score (log-odds, as LightGBM sums them) to a probability of fraud.

A strictly increasing map, so that calibrating never changes who is riskier than whom: straight lines
between knots, and beyond the outer knots a hyperbola that goes on with the slope of the outer line
towards 0 or 1 without reaching it. Holding the outer knots' values instead would make all the riskiest
purchases equal, and a review queue is ordered by exactly those.

Only `+ - * /`, so one score and a column of them have the same bits.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The knots of the map: `raw` against `probability`, both strictly increasing, at least two.

    Probabilities lie inside (0, 1). Raises ValueError, in words, when the knots are not like that.
    """

    raw: tuple[float, ...]
    probability: tuple[float, ...]
    slopes: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the knots and work out the slope of each line."""
        if len(self.raw) != len(self.probability) or len(self.raw) < 2:  # noqa: PLR2004  a line has two ends
            raise ValueError("calibration needs two knots or more, each with a raw score and a probability")
        if not all(isfinite(knot) for knot in self.raw) or any(a >= b for a, b in pairwise(self.raw)):
            raise ValueError("raw scores of the calibration are not strictly increasing")
        if any(a >= b for a, b in pairwise(self.probability)):
            raise ValueError("probabilities of the calibration are not strictly increasing")
        if not (self.probability[0] > 0.0 and self.probability[-1] < 1.0):
            raise ValueError("probabilities of the calibration do not lie between 0 and 1")
        steps = zip(pairwise(self.raw), pairwise(self.probability), strict=True)
        slopes = tuple((p1 - p0) / (r1 - r0) for (r0, r1), (p0, p1) in steps)
        if not all(isfinite(slope) and slope > 0.0 for slope in slopes):
            raise ValueError("two knots of the calibration are too close together, or too far apart")
        object.__setattr__(self, "slopes", slopes)

    def score(self, raw_score: float) -> float:
        """Return the probability for a finite raw score. Cost: a bisection and five operations."""
        raw, probability = self.raw, self.probability
        at = bisect_right(raw, raw_score)
        if at == 0:
            first = probability[0]
            return first / (1.0 + self.slopes[0] * (raw[0] - raw_score) / first)
        if at == len(raw):
            rest = 1.0 - probability[-1]
            return probability[-1] + rest * (1.0 - 1.0 / (1.0 + self.slopes[-1] * (raw_score - raw[-1]) / rest))
        # Rounding may overshoot the next knot by a bit; the cap keeps the map from ever going down.
        value = probability[at - 1] + self.slopes[at - 1] * (raw_score - raw[at - 1])
        cap = probability[at]
        return min(value, cap)

    def scores(self, raw_scores: Column) -> Column:
        """Return `score` of each element of a column of finite raw scores."""
        raw, probability, slopes = np.array(self.raw), np.array(self.probability), np.array(self.slopes)
        last = len(raw) - 1
        at = np.clip(np.searchsorted(raw, raw_scores, side="right") - 1, 0, last - 1)
        inside = np.minimum(probability[at] + slopes[at] * (raw_scores - raw[at]), probability[at + 1])
        first, rest = probability[0], 1.0 - probability[last]
        # Each branch is computed for every element; the maximum keeps those that do not take it defined.
        below = first / (1.0 + slopes[0] * np.maximum(raw[0] - raw_scores, 0.0) / first)
        above = probability[last] + rest * (
            1.0 - 1.0 / (1.0 + slopes[-1] * np.maximum(raw_scores - raw[last], 0.0) / rest)
        )
        scores: Column = np.where(raw_scores < raw[0], below, np.where(raw_scores >= raw[last], above, inside))
        return scores
