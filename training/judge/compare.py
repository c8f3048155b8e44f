"""Live versions judged on matured labels: each one against the champion, on the purchases that both scored.

Versions come and go, and a canary answers for some users while the champion scores for them in shadow. So a
version is compared on the same purchases only, and how many those are is part of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from service.errors import BadSetting
from training.data.events import Progress, silent
from training.judge.outcomes import Outcomes, groups, labels, scores_of, weights
from training.learning.facts import Truth
from training.metrics import Column, Estimate, Labels, draws, ranked, with_interval

RANKING: Final = "average_precision"
"""The metric whose difference is the verdict."""

CALIBRATION: Final = "score_per_fraud"
"""Mean score over share of fraud: 1 when the score is a probability, above 1 when it promises too much fraud."""


class Judged(NamedTuple):
    """One version on the purchases that it and the champion scored.

    `answered` and `shadowed` count all its matured purchases, `purchases` those that are compared, and
    `unknown` those that both scored and that nobody can judge. `metrics` are its own, `champion` those of the
    champion on the same purchases, `difference` its own less the champion's; all are {} while no fraud is
    among them, and for the champion itself there are its own alone.
    """

    version: int
    answered: int
    shadowed: int
    purchases: int
    frauds: int
    unknown: int
    mean_score: float
    fraud_share: float
    metrics: Mapping[str, Estimate]
    champion: Mapping[str, Estimate]
    difference: Mapping[str, Estimate]

    @property
    def verdict(self) -> str:
        """Return what the difference of the ranking says, in words; "" for the champion itself."""
        if not self.metrics:
            return "no fraud yet"
        if not self.difference:
            return ""
        gain = self.difference[RANKING]
        if gain.low > 0.0:
            return "better"
        return "worse" if gain.high < 0.0 else "not told apart"


def champion_of(outcomes: Outcomes, wanted: int | None) -> int:
    """Return the version to compare with: the wanted one, or the one that answered most.

    Raises BadSetting when the wanted one scored none of these purchases.
    """
    if wanted is None:
        return max(outcomes.versions, key=lambda version: (_count(outcomes, version, shadow=False), version))
    if wanted not in outcomes.versions:
        scored = ", ".join(map(str, outcomes.versions)) or "none"
        raise BadSetting(f"version {wanted} scored none of these purchases; those that did: {scored}")
    return wanted


def compare(
    outcomes: Outcomes, champion: int, review_rate: float, seed: int, progress: Progress = silent
) -> list[Judged]:
    """Judge every version that scored, the champion first.

    Intervals hold with 95 %, by bootstrap over cards; a difference is of the same draws for both, so what
    makes a sample easy or hard for both cancels out. Cost: a million purchases take 30 s a version.
    """
    others = [version for version in outcomes.versions if version != champion]
    judged = []
    for done, version in enumerate((champion, *others)):
        progress("versions judged", done, len(others) + 1)
        judged.append(_judge(outcomes, version, champion, review_rate, seed))
    progress("versions judged", len(others) + 1, len(others) + 1)
    return judged


Measures = Mapping[str, float]


def measures(truth: Labels, scores: Column, review_rate: float) -> Callable[[Column], Measures]:
    """Return what measures these scores with given weights, by name; see `training.metrics.Curve`."""
    curve_of = ranked(truth, scores)

    def measured(weight: Column) -> Measures:
        curve = curve_of(weight)
        frauds = curve.frauds[-1]
        return {
            RANKING: curve.average_precision(),
            "roc_auc": curve.roc_auc(),
            f"recall_at_{review_rate:g}": curve.recall(review_rate),
            f"precision_at_{review_rate:g}": curve.precision(review_rate),
            CALIBRATION: float(weight @ scores / frauds) if frauds else np.nan,
        }

    return measured


def _judge(outcomes: Outcomes, version: int, champion: int, review_rate: float, seed: int) -> Judged:
    scored = [pl.col(f"score_{one}").is_not_null() for one in (version, champion)]
    shared = outcomes.frame.filter(scored)
    known = shared.filter(pl.col("truth") != int(Truth.UNKNOWN))
    truth, weight = labels(known), weights(known)
    total = float(weight.sum())
    own, its, gain = _estimates(known, version, champion, review_rate, seed) if (weight * truth).any() else ({}, {}, {})
    return Judged(
        version=version,
        answered=_count(outcomes, version, shadow=False),
        shadowed=_count(outcomes, version, shadow=True),
        purchases=known.height,
        frauds=int(truth.sum()),
        unknown=shared.height - known.height,
        mean_score=float(weight @ scores_of(known, version)) / total if total else np.nan,
        fraud_share=float(weight @ truth) / total if total else np.nan,
        metrics=own,
        champion=its,
        difference=gain,
    )


Estimates = dict[str, Estimate]


def _estimates(
    known: pl.DataFrame, version: int, champion: int, review_rate: float, seed: int
) -> tuple[Estimates, Estimates, Estimates]:
    """Return the metrics of a version, those of the champion and the differences; the last two {} for itself."""
    truth, weight = labels(known), weights(known)
    versions = (version,) if version == champion else (version, champion)
    sides = [measures(truth, scores_of(known, one), review_rate) for one in versions]
    drawn = [[side(weight * times) for side in sides] for times in draws(known.height, seed, groups(known))]
    exact = [side(weight) for side in sides]
    own, *others = (
        {name: with_interval(value, [one[at][name] for one in drawn]) for name, value in exact[at].items()}
        for at in range(len(sides))
    )
    if not others:
        return own, {}, {}
    gain = {
        name: with_interval(exact[0][name] - exact[1][name], [mine[name] - its[name] for mine, its in drawn])
        for name in own
        if name != CALIBRATION
    }
    return own, others[0], gain


def _count(outcomes: Outcomes, version: int, *, shadow: bool) -> int:
    return int((outcomes.frame[f"shadow_{version}"] == shadow).sum())
