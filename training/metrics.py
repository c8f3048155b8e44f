"""How good a ranking is: average precision, ROC AUC, recall at a review rate, card precision, recall by pattern.

All take labels (1 = fraud) and scores of the same length; equal scores count as one threshold. `weights`
count a row several times, or not at all: that is how intervals are estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int8]
Column = npt.NDArray[np.float64]
Metric = Callable[[Labels, Column, Column], float]

BOOTSTRAP_ROUNDS: Final = 100


class Curve(NamedTuple):
    """What lies at and above each distinct score, from the highest down: frauds, and purchases in all."""

    frauds: Column
    purchases: Column


def curve(labels: Labels, scores: Column, weights: Column | None = None) -> Curve:
    """Return the cumulated counts. Cost: one sort, next to nothing when the scores are sorted already."""
    order = np.argsort(-scores, kind="stable")
    weight = np.ones(scores.size) if weights is None else weights[order]
    last = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    return Curve(np.cumsum(weight * labels[order])[last], np.cumsum(weight)[last])


def average_precision(labels: Labels, scores: Column, weights: Column | None = None) -> float:
    """Return the mean over the frauds of the precision at their score; NaN without any fraud."""
    frauds, purchases = curve(labels, scores, weights)
    if not frauds[-1]:
        return np.nan
    precision = np.divide(frauds, purchases, out=np.zeros_like(frauds), where=purchases > 0)
    return float((precision * np.diff(frauds, prepend=0.0)).sum() / frauds[-1])


def roc_auc(labels: Labels, scores: Column, weights: Column | None = None) -> float:
    """Return the chance that a fraud scores above an honest purchase; NaN without one of either."""
    frauds, purchases = curve(labels, scores, weights)
    honest = purchases - frauds
    if not (frauds[-1] and honest[-1]):
        return np.nan
    both = np.diff(honest, prepend=0.0) * (frauds + np.append(0.0, frauds[:-1])) / 2.0
    return float(both.sum() / (frauds[-1] * honest[-1]))


def recall_at(rate: float) -> Metric:
    """Return a metric: the share of the frauds that lie at a threshold which at most `rate` of the purchases reach."""

    def recall(labels: Labels, scores: Column, weights: Column | None = None) -> float:
        frauds, purchases = curve(labels, scores, weights)
        reviewed = frauds[purchases <= rate * purchases[-1]]
        return float(reviewed[-1] / frauds[-1]) if reviewed.size and frauds[-1] else 0.0

    return recall


class Estimate(NamedTuple):
    """A measured value and the interval that holds it with 95 %, by bootstrap over rows."""

    value: float
    low: float
    high: float


def estimate(metric: Metric, labels: Labels, scores: Column, seed: int, rounds: int = BOOTSTRAP_ROUNDS) -> Estimate:
    """Return a metric with its interval; needs a fraud. Cost: `rounds` times the metric, without the sort."""
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = np.bincount(rng.integers(0, labels.size, labels.size), minlength=labels.size).astype(np.float64)
        values.append(metric(labels, scores, drawn))
    low, high = np.nanquantile(values, (0.025, 0.975))
    return Estimate(metric(labels, scores, np.ones(labels.size)), float(low), float(high))


def card_precision(
    days: npt.NDArray[np.int64], cards: npt.NDArray[np.int64], labels: Labels, scores: Column, top: int = 100
) -> float:
    """Return Card Precision@top: the mean over days of the share of frauds among the riskiest cards of the day.

    A card has the highest score and label of its purchases of the day; a card that was a hit is known
    from then on and left out of later days.
    """
    hits = np.zeros(0, np.int64)
    precisions = []
    for day in np.unique(days):
        here = (days == day) & ~np.isin(cards, hits)
        ids, place = np.unique(cards[here], return_inverse=True)
        highest = np.full(ids.size, -np.inf)
        np.maximum.at(highest, place, scores[here])
        fraud = np.zeros(ids.size, np.int8)
        np.maximum.at(fraud, place, labels[here])
        riskiest = np.argsort(-highest, kind="stable")[:top]
        found = ids[riskiest][fraud[riskiest] == 1]
        hits = np.concatenate([hits, found])
        precisions.append(found.size / top)
    return float(np.mean(precisions))


def recall_by_pattern(patterns: Sequence[str], labels: Labels, flagged: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return the share of the frauds of each pattern that were flagged; honest purchases do not count."""
    names = np.array(patterns)
    fraud = labels == 1
    return {str(name): float(flagged[fraud & (names == name)].mean()) for name in np.unique(names[fraud])}
