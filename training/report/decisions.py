"""What the thresholds decide on the judged purchases: in all, and for each fraud pattern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.registry.manifest import ThresholdChoice
from training.report.judged import JudgedRows
from training.report.shares import Question, Share, shares


class Decided(NamedTuple):
    """Purchases with one decision: how many, what share of all, how many are fraud, with what share of its money."""

    name: str
    purchases: float
    share: float
    frauds: float
    purity: float
    fraud_money: float
    honest: float


class Caught(NamedTuple):
    """What becomes of the frauds of one pattern."""

    pattern: str
    declined: Share
    stopped: Share
    money: float
    """The share of its money that is stopped."""


def decided(judged: JudgedRows, thresholds: ThresholdChoice) -> list[Decided]:
    """Return the three decisions, from the worst down; counts are weighted."""
    bounds = [("decline", thresholds.decline, np.inf), ("review", thresholds.review, thresholds.decline)]
    found = []
    whole = judged.weights.sum()
    money = judged.weights * judged.amount_minor * judged.fraud
    for name, low, high in [*bounds, ("approve", -np.inf, thresholds.review)]:
        inside = (judged.scores >= low) & (judged.scores < high)
        purchases = float(judged.weights[inside].sum())
        frauds = float(judged.weights[inside & judged.fraud].sum())
        found.append(
            Decided(
                name,
                purchases,
                purchases / whole,
                frauds,
                frauds / purchases if purchases else np.nan,
                float(money[inside].sum() / max(money.sum(), 1.0)),
                purchases - frauds,
            )
        )
    return found


def caught(judged: JudgedRows, thresholds: ThresholdChoice, seed: int) -> Sequence[Caught]:
    """Return the fate of each pattern's frauds, the most frequent first; nothing when no pattern has a name."""
    names = judged.pattern.fill_null("").to_numpy().astype(str)
    fraud = judged.fraud
    patterns, counts = np.unique(names[fraud], return_counts=True)
    if not any(patterns):
        return []
    ordered = [str(name) for _, name in sorted(zip(-counts, patterns, strict=True))]
    stopped = judged.scores >= thresholds.review
    declined = judged.scores >= thresholds.decline
    each = [(fraud & (names == name)) for name in ordered]
    answers = shares([Question(of & hits, of) for of in each for hits in (declined, stopped)], judged, seed).each
    money = judged.weights * judged.amount_minor
    return [
        Caught(
            name or "without a name",
            answers[2 * at],
            answers[2 * at + 1],
            float(money[of & stopped].sum() / max(money[of].sum(), 1.0)),
        )
        for at, (name, of) in enumerate(zip(ordered, each, strict=True))
    ]
