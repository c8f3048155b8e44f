"""Calibration and thresholds: from raw scores of a model to probabilities and to decisions."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.core.calibration import Calibration
from service.registry.manifest import ThresholdChoice
from training.metrics import Column, Labels

KNOTS: Final = 33
"""Knots of the map from raw score to probability."""

NEVER: Final = 1.0
"""A threshold that no score reaches: scores lie below 1."""

_STEPS: Final = 50
_LEAST_SLOPE: Final = 0.05
_TINIEST: Final = 1e-7


class Costs(NamedTuple):
    """What mistakes cost, for thresholds by cost: amounts in minor units of the one currency.

    A fraud that is let through costs its amount. A review costs `review_minor`, whatever it finds, and is taken
    to find the truth. An honest purchase that is declined costs `decline_share` of its amount: the margin
    that is lost, and the customers who do not come back.
    """

    review_minor: int
    decline_share: float


def calibrate(raw_scores: Column, labels: Labels, weights: Column | None = None) -> Calibration:
    """Return Platt's calibration: the logistic curve that fits best, as straight lines between knots.

    Strictly increasing whatever the rows say, so that calibrating never changes a ranking. Its targets
    are drawn in by one fraud and one honest purchase, so that a handful of rows claims nothing certain.
    `weights` say how many purchases a row stands for (None: one).
    """
    slope, offset = _logistic(raw_scores, labels, weights)
    low, high = float(raw_scores.min()), float(raw_scores.max())
    if high - low < 1.0:
        low, high = low - 0.5, high + 0.5
    raw = np.linspace(low, high, KNOTS)
    curve = 1.0 / (1.0 + np.exp(-(slope * raw + offset)))
    probability = _TINIEST + (1.0 - 2.0 * _TINIEST) * curve
    return Calibration(tuple(raw.tolist()), tuple(probability.tolist()))


def _logistic(raw_scores: Column, labels: Labels, row_weights: Column | None) -> tuple[float, float]:
    """Return slope and offset of the most likely logistic curve, by Newton's method."""
    frauds = int(labels.sum())
    honest = labels.size - frauds
    target = np.where(labels == 1, (frauds + 1.0) / (frauds + 2.0), 1.0 / (honest + 2.0))
    x = np.column_stack([raw_scores, np.ones(raw_scores.size)])
    weights = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-(x @ weights)))
        spread, error = p * (1.0 - p), p - target
        if row_weights is not None:
            spread, error = spread * row_weights, error * row_weights
        curvature = (x * spread[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ error)
        weights -= np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:  # noqa: PLR2004  far below what a knot can show
            break
    # A score that does not rise with fraud is a bad model, and still must not turn the ranking around.
    return max(float(weights[0]), _LEAST_SLOPE), float(weights[1])


def choose_thresholds(
    scores: Column,
    labels: Labels,
    review_rate: float,
    decline_precision: float,
    least_declined: int,
    *,
    weights: Column | None = None,
) -> ThresholdChoice:
    """Return thresholds from calibrated validation scores, and why.

    REVIEW from the score that `review_rate` of the purchases reach. DECLINE from the lowest score at and
    above which `decline_precision` of the purchases were fraud; no score is declined when fewer than
    `least_declined` purchases would be, because so few prove nothing.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, weight = scores[order], _weights(scores.size, weights)[order]
    above = np.cumsum(weight)
    reviewed = int(np.searchsorted(above, max(round(review_rate * above[-1]), 1)))
    review = float(ranked[min(reviewed, ranked.size - 1)])
    rows = np.arange(1, ranked.size + 1)
    precise = np.cumsum(labels[order] * weight) / above >= decline_precision
    enough = np.flatnonzero(precise & _complete(ranked) & (rows >= least_declined))
    why = f"review: the riskiest {review_rate:.2%} of {ranked.size} validation purchases; "
    if not enough.size:
        why += f"decline: nobody, no {least_declined} riskiest purchases were fraud to {decline_precision:.0%}"
        return ThresholdChoice(review=review, decline=NEVER, why=why)
    last = int(enough[-1])
    decline = max(float(ranked[last]), review)
    why += f"decline: the lowest score from which {decline_precision:.0%} were fraud ({last + 1} purchases)"
    return ThresholdChoice(review=review, decline=decline, why=why)


def cheapest_thresholds(
    scores: Column,
    labels: Labels,
    amount_minor: npt.NDArray[np.int64],
    costs: Costs,
    least_declined: int,
    *,
    weights: Column | None = None,
) -> ThresholdChoice:
    """Return the thresholds with the lowest cost on these validation purchases, and why.

    All pairs of thresholds are compared, in one pass: what lies below REVIEW is let through, what lies
    between is reviewed. No score is declined when fewer than `least_declined` purchases would be.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, weight = scores[order], _weights(scores.size, weights)[order]
    amount = amount_minor[order] * weight
    fraud = labels[order] == 1
    # At place i the i riskiest purchases lie at and above the threshold; 0 = no purchase does.
    missed = np.append(0.0, np.cumsum(amount * fraud))
    missed = missed[-1] - missed
    looked_at = costs.review_minor * np.append(0.0, np.cumsum(weight))
    lost = costs.decline_share * np.append(0.0, np.cumsum(amount * ~fraud))
    allowed = np.append(True, _complete(ranked))
    places = np.arange(allowed.size)
    of_review = np.where(allowed, missed + looked_at, np.inf)
    of_decline = np.where(allowed & ((places >= least_declined) | (places == 0)), lost - looked_at, np.inf)
    best_decline = np.minimum.accumulate(of_decline)
    reviewed = int(np.argmin(of_review + best_decline))
    declined = int(np.argmin(of_decline[: reviewed + 1]))
    total = (of_review[reviewed] + of_decline[declined]) / weight.sum()
    why = (
        f"lowest cost on {ranked.size} validation purchases, {total:.1f} minor units each: a missed fraud costs its "
        f"amount, a review {costs.review_minor}, an honest purchase declined {costs.decline_share:.0%} of its amount; "
        f"the riskiest {declined} are declined, {reviewed - declined} more are reviewed"
    )
    return ThresholdChoice(review=_threshold(ranked, reviewed), decline=_threshold(ranked, declined), why=why)


def _threshold(ranked: Column, count: int) -> float:
    """Return the score that the `count` riskiest reach."""
    return float(ranked[count - 1]) if count else NEVER


def _weights(size: int, weights: Column | None) -> Column:
    return np.ones(size) if weights is None else weights


def _complete(ranked: Column) -> npt.NDArray[np.bool_]:
    """Tell where a threshold can stand: equal scores are decided together or not at all."""
    return np.append(ranked[1:] != ranked[:-1], True)
