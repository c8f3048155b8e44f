"""The champion on the candidate's own test rows, to tell whether the new version is better than what answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from service.core.features import Feature
from service.core.profile import Habits
from service.errors import BadArtifact
from service.registry.artifact import version_path
from service.registry.checks import check_loads
from service.registry.lineup_file import read_lineup
from service.registry.manifest import Comparison, Interval, Manifest
from service.registry.servable import Servable
from training.learning.dataset import Part
from training.learning.evidence import Rows
from training.metrics import Column, average_precision, difference
from training.replay.stream import Matrix

METRIC: Final = "average_precision"


class Champion(NamedTuple):
    """The version that answers now; `servable` is None when it cannot score these rows, and `why` says why."""

    version: int
    servable: Servable | None
    why: str = ""

    @property
    def features(self) -> tuple[Feature, ...]:
        """Return the features that it needs."""
        return () if self.servable is None else self.servable.features

    def scores(self, matrix: Matrix, features: Sequence[Feature]) -> Column | None:
        """Return its score of rows that have at least its features among `features`; None when it cannot score."""
        if self.servable is None:
            return None
        own = np.ascontiguousarray(matrix[:, [features.index(feature) for feature in self.features]])
        return self.servable.calibration.scores(self.servable.booster.raw_scores(own))


def champion_of(registry: Path, habits: Habits) -> Champion | None:
    """Return the version that answers now, None when nothing was ever promoted. Raises BadSetting."""
    lineup = read_lineup(registry)
    if lineup is None:
        return None
    try:
        check_loads(registry, lineup.champion, habits)
        return Champion(lineup.champion, Servable.load(version_path(registry, lineup.champion), habits))
    except BadArtifact as error:
        return Champion(lineup.champion, None, str(error))


def compared(champion: Champion, rows: Rows, part: Part, candidate: Column, scores: Column, seed: int) -> Comparison:
    """Return how a candidate's scores rank against the champion's, on rows that the candidate never learned from."""
    assert champion.servable is not None, "what gave scores can be loaded"
    found = difference(average_precision, rows.labels, candidate, scores, seed, groups=rows.card, weights=rows.weights)
    return Comparison(
        champion=champion.version,
        metric=METRIC,
        candidate_value=average_precision(rows.labels, candidate, rows.weights),
        champion_value=average_precision(rows.labels, scores, rows.weights),
        difference=Interval(value=found.value, low=found.low, high=found.high),
        rows=rows.labels.size,
        frauds=int(rows.labels.sum()),
        overlap=_overlap(champion.servable.manifest, part),
    )


def _overlap(manifest: Manifest, part: Part) -> bool:
    """Tell whether a version learned or chose from purchases of this part, or may have."""
    if manifest.split is None:
        return True
    used = [one for one in (manifest.split.train, manifest.split.validation) if one is not None]
    return any(one.begin_ms < part.end_ms and part.begin_ms < one.end_ms for one in used)
