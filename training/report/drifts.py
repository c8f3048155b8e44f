"""Drift: how far each feature, and the score, moved between what was learned from and what judges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from service.core.features import Feature
from service.registry.manifest import Baseline, Histogram
from training.metrics import Column, drift
from training.replay.stream import Matrix
from training.report.judged import JudgedRows

SLIGHT: Final = 0.1
REAL: Final = 0.25
"""Above these a population is commonly said to have moved slightly, and really."""


class Moved(NamedTuple):
    """A column, its stability index, and its mean and share of unknown in both parts."""

    name: str
    question: str
    stability: float
    mean_then: float
    mean_now: float
    unknown_then: float
    unknown_now: float

    @property
    def level(self) -> str:
        """Return how far it moved: `still`, `slight` or `real`."""
        return "real" if self.stability > REAL else "slight" if self.stability > SLIGHT else "still"


def moved(
    judged: JudgedRows, train_matrix: Matrix, train_scores: Column, features: Sequence[Feature], baseline: Baseline
) -> list[Moved]:
    """Return the score and every feature, those that moved most first."""
    columns = [(feature.name, feature.question, baseline.features[feature.name]) for feature in features]
    found = [
        _moved(name, question, histogram, train_matrix[:, at], judged.matrix[:, at])
        for at, (name, question, histogram) in enumerate(columns)
    ]
    found.append(_moved("score", "What does the model say?", baseline.score, train_scores, judged.scores))
    return sorted(found, key=lambda one: -np.nan_to_num(one.stability))


def _moved(name: str, question: str, expected: Histogram, then: Column, now: Column) -> Moved:
    means, unknown = [], []
    for column in (then, now):
        known = column[~np.isnan(column)]
        means.append(float(known.mean()) if known.size else np.nan)
        unknown.append(1.0 - known.size / max(column.size, 1))
    return Moved(name, question, drift(expected, now), means[0], means[1], unknown[0], unknown[1])
