"""Calibration and thresholds: from raw scores of a model to probabilities and to decisions."""

from __future__ import annotations

from typing import Final

import numpy as np

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


def calibrate(raw_scores: Column, labels: Labels) -> Calibration:
    """Return Platt's calibration: the logistic curve that fits best, as straight lines between knots.

    Strictly increasing whatever the rows say, so that calibrating never changes a ranking. Its targets
    are drawn in by one fraud and one honest purchase, so that a handful of rows claims nothing certain.
    """
    slope, offset = _logistic(raw_scores, labels)
    low, high = float(raw_scores.min()), float(raw_scores.max())
    if high - low < 1.0:
        low, high = low - 0.5, high + 0.5
    raw = np.linspace(low, high, KNOTS)
    curve = 1.0 / (1.0 + np.exp(-(slope * raw + offset)))
    probability = _TINIEST + (1.0 - 2.0 * _TINIEST) * curve
    return Calibration(tuple(raw.tolist()), tuple(probability.tolist()))


def _logistic(raw_scores: Column, labels: Labels) -> tuple[float, float]:
    """Return slope and offset of the most likely logistic curve, by Newton's method."""
    frauds = int(labels.sum())
    honest = labels.size - frauds
    target = np.where(labels == 1, (frauds + 1.0) / (frauds + 2.0), 1.0 / (honest + 2.0))
    x = np.column_stack([raw_scores, np.ones(raw_scores.size)])
    weights = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-(x @ weights)))
        curvature = (x * (p * (1.0 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ (p - target))
        weights -= np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:  # noqa: PLR2004  far below what a knot can show
            break
    # A score that does not rise with fraud is a bad model, and still must not turn the ranking around.
    return max(float(weights[0]), _LEAST_SLOPE), float(weights[1])


def choose_thresholds(
    scores: Column, labels: Labels, review_rate: float, decline_precision: float, least_declined: int
) -> ThresholdChoice:
    """Return thresholds from calibrated validation scores, and why.

    REVIEW from the score that `review_rate` of the purchases reach. DECLINE from the lowest score at and
    above which `decline_precision` of the purchases were fraud; no score is declined when fewer than
    `least_declined` purchases would be, because so few prove nothing.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    review = float(ranked[min(max(round(review_rate * ranked.size), 1), ranked.size) - 1])
    declined = np.arange(1, ranked.size + 1)
    precise = np.cumsum(labels[order]) / declined >= decline_precision
    # Equal scores are declined together or not at all.
    complete = np.append(ranked[1:] != ranked[:-1], True)
    enough = np.flatnonzero(precise & complete & (declined >= least_declined))
    why = f"review: the riskiest {review_rate:.2%} of {ranked.size} validation purchases; "
    if not enough.size:
        why += f"decline: nobody, no {least_declined} riskiest purchases were fraud to {decline_precision:.0%}"
        return ThresholdChoice(review=review, decline=NEVER, why=why)
    last = int(enough[-1])
    decline = max(float(ranked[last]), review)
    why += f"decline: the lowest score from which {decline_precision:.0%} were fraud ({last + 1} purchases)"
    return ThresholdChoice(review=review, decline=decline, why=why)
