"""The headline: the figures that one reads first, and whether the version beats the champion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.registry.manifest import Manifest
from training.metrics import Column, Estimate, average_precision, draws, estimate, ranked, with_interval
from training.report.judged import JudgedRows
from training.report.shares import Question, shares
from training.report.words import count, percent, percent_interval, ratio, signed

_VERDICTS: Final = {
    "better": "Better than {champion}: average precision {gap} (95 %: {low} to {high}).",
    "worse": "Worse than {champion}: average precision {gap} (95 %: {low} to {high}).",
    "even": "No clear difference to {champion}: average precision {gap}, but 95 % reach from {low} to {high}.",
}


class Figure(NamedTuple):
    """A number with its interval, and what it means."""

    name: str
    value: str
    interval: str
    meaning: str


class Versus(NamedTuple):
    """A metric of this version, of the champion, and how they differ."""

    name: str
    this: float
    champion: float
    difference: Estimate

    @property
    def verdict(self) -> str:
        """Return `better`, `worse`, or `even` when the interval holds 0."""
        return "better" if self.difference.low > 0.0 else "worse" if self.difference.high < 0.0 else "even"


class Headline(NamedTuple):
    """What stands at the top; `verdict` is one of `Versus.verdict`, or `first` when there is no champion."""

    verdict: str
    sentence: str
    figures: Sequence[Figure]
    versus: Sequence[Versus]
    overlap: bool


def champion_name(manifest: Manifest) -> str:
    """Return what the version that was live is called."""
    number = manifest.parent if manifest.comparison is None else manifest.comparison.champion
    return "the champion" if number is None else f"the champion, version {number}"


def headline_of(manifest: Manifest, judged: JudgedRows, seed: int) -> Headline:
    """Return the headline. Cost: two bootstraps, and two more with a champion."""
    versus = _versus(manifest, judged, seed)
    figures = _figures(manifest, judged, seed)
    overlap = manifest.comparison is not None and manifest.comparison.overlap
    if not versus:
        sentence = "There is no champion to compare with: it stands on its own figures."
        return Headline("first", sentence, figures, versus, overlap)
    first = versus[0]
    found = first.difference
    sentence = _VERDICTS[first.verdict].format(
        champion=champion_name(manifest), gap=signed(found.value), low=signed(found.low), high=signed(found.high)
    )
    for verdict in ("better", "worse"):
        names = [one.name for one in versus[1:] if one.verdict == verdict != first.verdict]
        if names:
            sentence += f" It is clearly {verdict} in {' and in '.join(names)}."
    return Headline(first.verdict, sentence, figures, versus, overlap)


def _versus(manifest: Manifest, judged: JudgedRows, seed: int) -> list[Versus]:
    if judged.champion_scores is None:
        return []
    rate = float(judged.weights[judged.scores >= manifest.thresholds.review].sum() / judged.weights.sum())
    names = ("average precision", "area under the ROC curve", f"fraud caught in the riskiest {percent(rate)}")
    curves = [ranked(judged.labels, scores) for scores in (judged.scores, judged.champion_scores)]

    def measured(weights: Column) -> npt.NDArray[np.float64]:
        drawn = [curve(weights) for curve in curves]
        return np.array([[one.average_precision(), one.roc_auc(), one.recall(rate)] for one in drawn])

    this, champion = measured(judged.weights)
    pairs = [measured(judged.weights * times) for times in draws(judged.labels.size, seed, judged.card)]
    gaps = np.array([mine - its for mine, its in pairs])
    return [
        Versus(name, float(mine), float(its), with_interval(float(mine - its), gaps[:, at]))
        for at, (name, mine, its) in enumerate(zip(names, this, champion, strict=True))
    ]


def _figures(manifest: Manifest, judged: JudgedRows, seed: int) -> list[Figure]:
    review = manifest.thresholds.review
    stopped, fraud = judged.scores >= review, judged.fraud
    everything = np.ones_like(fraud)
    caught, alarms, pure, base = shares(
        [
            Question(stopped & fraud, fraud),
            Question(stopped & ~fraud, ~fraud),
            Question(stopped & fraud, stopped),
            Question(fraud, everything),
        ],
        judged,
        seed,
    ).each
    money = judged.weights * judged.amount_minor
    saved = money[stopped & fraud].sum() / max(money[fraud].sum(), 1.0)
    precision = estimate(average_precision, judged.labels, judged.scores, seed, judged.card, judged.weights)
    return [
        Figure(
            "Average precision",
            ratio(precision.value),
            f"{ratio(precision.low)} to {ratio(precision.high)}",
            f"how pure the riskiest purchases are; guessing would give {ratio(base.found.value)}",
        ),
        Figure(
            "Fraud stopped",
            percent(caught.found.value),
            percent_interval(caught.found),
            f"{count(caught.hits)} of {count(caught.of)} frauds, with {percent(saved)} of the money, are stopped",
        ),
        Figure(
            "Honest purchases stopped",
            percent(alarms.found.value),
            percent_interval(alarms.found),
            f"{count(alarms.hits)} of {count(alarms.of)} honest purchases are reviewed or declined",
        ),
        Figure(
            "Fraud among the stopped",
            percent(pure.found.value),
            percent_interval(pure.found),
            f"{count(pure.hits)} of the {count(pure.of)} purchases that are reviewed or declined are fraud",
        ),
    ]
