"""The lineup: what is live in this process, as one immutable value that a request reads once.

Everything that can be decided before a request is decided here: the features that the live versions
and the policy need, once each; the function that computes them; where each version and each limit finds its own
among them. A canary makes two lineups of one row: the one that most users meet, and the one that its share does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from operator import itemgetter
from struct import Struct
from typing import NamedTuple

import numpy as np

from service.core.compiled import RowFunction, compile_row
from service.core.decision import ReasonShown, Thresholds
from service.core.draw import Draw
from service.core.event import Event
from service.core.features import FEATURES, Feature, layout_id
from service.core.policy import NO_RULES, Policy, Rules
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


class Canary(NamedTuple):
    """A version that answers for a share of the users in place of the champion."""

    version: int
    draw: Draw
    lineup: Lineup
    """What those users meet."""


class Lineup:
    """What is live. Nothing of it changes after it is made; a reload makes another one."""

    __slots__ = (
        "answer",
        "canary",
        "challengers",
        "champion",
        "explain_s",
        "features",
        "middles",
        "names",
        "pack",
        "policy",
        "revision",
        "row",
        "row_layout",
        "shadow",
        "thresholds",
        "versions",
    )

    def __init__(self, spec: LineupSpec, servables: Mapping[int, Servable], rules: Rules = NO_RULES) -> None:
        """Resolve a lineup out of loaded versions: all that answer; of the others, those that are there.

        `rules` are those of the policy that the lineup names.
        """
        used = {feature for version in spec.wanted if version in servables for feature in servables[version].features}
        used |= rules.features
        self.revision = spec.revision
        self.champion = spec.champion
        self.challengers = spec.challengers
        self.features: tuple[Feature, ...] = tuple(feature for feature in FEATURES if feature in used)
        """What the live versions and the policy need, each once, in the order of their declaration."""
        self.names = tuple(feature.name for feature in self.features)
        self.row: RowFunction = compile_row([feature.formula for feature in self.features])
        self.row_layout = layout_id(self.features)
        self.pack: Callable[..., bytes] = Struct(f"<{len(self.features)}d").pack
        """Turn `*row` into the little-endian bytes that a decision record keeps."""
        place = {feature: index for index, feature in enumerate(self.features)}
        live = {version: _live(servables[version], place) for version in spec.wanted if version in servables}
        self.versions = (spec.champion,) if isinstance(spec.answer, CanaryAnswer) else spec.answering
        self.answer = tuple(live[version] for version in self.versions)
        """The versions whose mean score is the answer."""
        self.shadow = tuple(one for version, one in live.items() if version not in self.versions)
        """The versions whose scores are recorded and never answered."""
        own = (
            spec.answer.thresholds.thresholds()
            if isinstance(spec.answer, BlendAnswer)
            else servables[spec.champion].thresholds
        )
        self.thresholds: Thresholds = rules.thresholds(own)
        """What decides about the score: the policy's thresholds, where it has none those of who answers."""
        self.policy = Policy(rules, place)
        """What lists, limits and degraded answers make of that; of version 0 where no policy was activated."""
        self.explain_s = sum(one.servable.explain_s for one in self.answer)
        """Seconds that `reasons` takes, measured when the versions were loaded."""
        self.middles = tuple(_middle(feature.name, self.answer) for feature in self.features)
        """Above these a feature is high, for the words of a reason."""
        self.canary = _canary(spec, servables, rules)
        """Who answers for a share of the users; None when all meet the same."""

    def of(self, purchase: Event) -> Lineup:
        """Return the lineup that a purchase meets; both have the same row. Cost: a hash when there is a canary.

        A canary draws users, so that nobody meets both versions by turns; a purchase without a user counts
        by its own id.
        """
        canary = self.canary
        if canary is None:
            return self
        return canary.lineup if canary.draw.takes(purchase.user_id or purchase.event_id) else self

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


def _canary(spec: LineupSpec, servables: Mapping[int, Servable], rules: Rules) -> Canary | None:
    """Return a canary as the lineup with the roles swapped: it answers, and the champion scores in shadow."""
    if not isinstance(spec.answer, CanaryAnswer):
        return None
    version = spec.answer.version
    met = LineupSpec(
        revision=spec.revision,
        champion=version,
        challengers=(spec.champion, *(one for one in spec.challengers if one not in {version, spec.champion})),
        policy=spec.policy,
    )
    return Canary(version, Draw("canary:", spec.answer.share), Lineup(met, servables, rules))


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
