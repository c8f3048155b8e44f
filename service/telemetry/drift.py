"""Drift of live traffic: what the champion is asked now against what it saw in training.

It needs no label, so it warns long before the truth arrives. `training drift` measures the same of a snapshot,
exactly and over whole days; this one is quick and forgets: an answer counts half after `drift.half_life_s`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from service.registry.lineup import Lineup, Live
from service.registry.manifest import Baseline, Histogram
from service.registry.stability import stability

Matrix = npt.NDArray[np.float64]

SCORE: Final = "score"
"""Under this name the drift of the score stands among those of the features."""


class Column:
    """The decaying counts of one column, in the bins of its baseline; what is unknown has a bin of its own."""

    __slots__ = ("_bounds", "counts", "expected")

    def __init__(self, baseline: Histogram) -> None:
        """Count nothing yet."""
        # NaN sorts behind infinity: one look-up puts values beyond the edges into the outer bins, NaN into the last.
        self._bounds = np.array([*baseline.edges[1:-1], np.inf])
        self.expected = np.array([*baseline.counts, baseline.unknown], np.float64)
        self.counts = np.zeros(self.expected.size)

    def add(self, values: Matrix, kept: float) -> None:
        """Let what was counted fade to a share, and count values."""
        places = np.searchsorted(self._bounds, values, side="right")
        self.counts *= kept
        self.counts += np.bincount(places, minlength=self.counts.size)

    @property
    def index(self) -> float:
        """Return how far the column has moved; NaN when there is nothing to compare."""
        return stability(self.expected, self.counts)


class Drift:
    """The window of one champion; another champion, or other rows, need another one."""

    def __init__(self, lineup: Lineup, half_life_s: float, now_s: float) -> None:
        """Compare with the baseline of the lineup's champion, if its manifest has one."""
        champion = next(live for live in (*lineup.answer, *lineup.shadow) if live.version == lineup.champion)
        baseline = champion.servable.manifest.baseline
        self.version = lineup.champion
        self.row_layout = lineup.row_layout
        self.names = lineup.names
        """What the rows hold."""
        self.row_bytes = 8 * len(self.names)
        self._half_life_s = half_life_s
        self._at_s = now_s
        self._features = [] if baseline is None else _columns(champion, baseline)
        self._score = None if baseline is None else Column(baseline.score)

    def take(self, rows: Matrix, scores: Sequence[float], now_s: float) -> None:
        """Count rows of the lineup, and scores that the champion gave. Cost: 14 µs a feature for 512 rows."""
        kept = 0.5 ** ((now_s - self._at_s) / self._half_life_s)
        self._at_s = now_s
        for _, at, column in self._features:
            column.add(rows[:, at], kept)
        if self._score is not None:
            self._score.add(np.array(scores, np.float64), kept)

    @property
    def rows(self) -> float:
        """Return how many answers it holds, earlier ones counted less."""
        return 0.0 if self._score is None else float(self._score.counts.sum())

    def indices(self) -> dict[str, float]:
        """Return the index of every feature of the champion and of its score, by name; {} without a baseline."""
        found = {name: column.index for name, _, column in self._features}
        if self._score is not None:
            found[SCORE] = self._score.index
        return {name: index for name, index in found.items() if not np.isnan(index)}


def _columns(champion: Live, baseline: Baseline) -> list[tuple[str, int, Column]]:
    """Return the features that the baseline tells of, and where in the lineup's row they stand."""
    return [
        (feature.name, at, Column(baseline.features[feature.name]))
        for feature, at in zip(champion.servable.features, champion.at, strict=True)
        if feature.name in baseline.features
    ]
