"""The lineup: what is live in this process, as one immutable value that a request reads once.

Everything that can be decided before a request is decided here: the features that the live versions
need, once each; the function that computes them; where each version finds its own among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from operator import itemgetter
from struct import Struct

import numpy as np

from service.core.compiled import RowFunction, compile_row
from service.core.decision import ReasonShown, Thresholds
from service.core.features import FEATURES, Feature, layout_id
from service.errors import BadSetting
from service.registry.lineup_file import BlendAnswer, CanaryAnswer, LineupSpec
from service.registry.manifest import Histogram
from service.registry.servable import Servable

Row = Sequence[float]


@dataclass(frozen=True, slots=True)
class Live:
    """A version in its lineup: takes rows of the lineup and picks its own features out of them."""

    version: int
    servable: Servable
    at: tuple[int, ...]
    """Where in the lineup's row its features stand."""
    raw_score: Callable[[Row], float]
    """Return the raw score of one row; cost as `Booster.raw_score`, and 1 µs when it must pick."""
    probability: Callable[[float], float]
    """Return the score for a raw score."""

    def raw_scores(self, rows: Sequence[Row]) -> list[float]:
        """Return `raw_score` of each row, with the same bits, in one call of the model."""
        if not rows:
            return []
        scores: list[float] = self.servable.booster.raw_scores(np.array(rows, dtype=np.float64)[:, self.at]).tolist()
        return scores

    def contributions(self, row: Row) -> list[float]:
        """Return what each of its own features adds to the raw score, and last what holds without any."""
        return self.servable.contributions([row[index] for index in self.at])


class Lineup:
    """What is live. Nothing of it changes after it is made; a reload makes another one."""

    __slots__ = (
        "answer",
        "challengers",
        "champion",
        "explain_s",
        "features",
        "middles",
        "names",
        "pack",
        "revision",
        "row",
        "row_layout",
        "shadow",
        "thresholds",
        "versions",
    )

    def __init__(self, spec: LineupSpec, servables: Mapping[int, Servable]) -> None:
        """Resolve a lineup out of loaded versions: all that answer; of the others, those that are there.

        Raises BadSetting when it asks for what this release does not serve.
        """
        check_served(spec)
        shadowing = [version for version in spec.shadowing if version in servables]
        used = {feature for version in (*spec.answering, *shadowing) for feature in servables[version].features}
        self.revision = spec.revision
        self.champion = spec.champion
        self.challengers = spec.challengers
        self.features: tuple[Feature, ...] = tuple(feature for feature in FEATURES if feature in used)
        """What the live versions need, each once, in the order of their declaration."""
        self.names = tuple(feature.name for feature in self.features)
        self.row: RowFunction = compile_row([feature.formula for feature in self.features])
        self.row_layout = layout_id(self.features)
        self.pack: Callable[..., bytes] = Struct(f"<{len(self.features)}d").pack
        """Turn `*row` into the little-endian bytes that a decision record keeps."""
        place = {feature: index for index, feature in enumerate(self.features)}
        self.answer = tuple(_live(servables[version], place) for version in spec.answering)
        """The versions whose mean score is the answer."""
        self.shadow = tuple(_live(servables[version], place) for version in shadowing)
        """The versions whose scores are recorded and never answered."""
        self.versions = spec.answering
        self.thresholds: Thresholds = (
            spec.answer.thresholds.thresholds()
            if isinstance(spec.answer, BlendAnswer)
            else servables[spec.champion].thresholds
        )
        self.explain_s = sum(live.servable.explain_s for live in self.answer)
        """Seconds that `reasons` takes, measured when the versions were loaded."""
        self.middles = tuple(_middle(feature.name, self.answer) for feature in self.features)
        """Above these a feature is high, for the words of a reason."""

    def reasons(self, row: Row, limit: int) -> list[ReasonShown]:
        """Return the `limit` features that moved the answer most, the weightiest first, in words.

        Of several answering versions it is the mean of what a feature adds to each raw score.
        """
        weights = [0.0] * len(self.features)
        for live in self.answer:
            for index, contribution in zip(live.at, live.contributions(row), strict=False):
                weights[index] += contribution / len(self.answer)
        heaviest = sorted(range(len(weights)), key=lambda index: -abs(weights[index]))[:limit]
        return [
            ReasonShown(self.names[index], self._words(index, row[index]), weights[index])
            for index in heaviest
            if weights[index]
        ]

    def _words(self, index: int, value: float) -> str:
        feature = self.features[index]
        if isnan(value):
            return f"unknown: {feature.question}"
        return feature.high if value > self.middles[index] else feature.low


def check_served(spec: LineupSpec) -> None:
    """Raise BadSetting when a lineup asks for what this release does not serve."""
    if isinstance(spec.answer, CanaryAnswer):
        raise BadSetting("the lineup asks for a canary, which this release does not serve")


def _live(servable: Servable, place: Mapping[Feature, int]) -> Live:
    at = tuple(place[feature] for feature in servable.features)
    score = servable.booster.raw_score
    if at == tuple(range(len(place))):
        raw_score = score
    elif len(at) == 1:
        (only,) = at

        def raw_score(row: Row) -> float:
            return score((row[only],))
    else:
        pick = itemgetter(*at)

        def raw_score(row: Row) -> float:
            return score(pick(row))

    return Live(servable.version, servable, at, raw_score, servable.probability)


def _middle(name: str, answer: Sequence[Live]) -> float:
    """Return the median of a feature in training, or one half when no answering version tells."""
    for live in answer:
        baseline = live.servable.manifest.baseline
        if baseline is not None and name in baseline.features:
            return _median(baseline.features[name])
    return 0.5


def _median(histogram: Histogram) -> float:
    """Return the value with as much below it as above, taking values to lie evenly between two edges."""
    left = sum(histogram.counts) / 2
    for (low, high), count in zip(pairwise(histogram.edges), histogram.counts, strict=True):
        if count and left <= count:
            return low + (high - low) * left / count
        left -= count
    return 0.5
