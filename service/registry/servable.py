"""A servable: a model version, loaded, verified and warmed up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from service.core.features import BY_NAME, Feature
from service.core.profile import Habits
from service.errors import BadArtifact
from service.registry.artifact import Artifact, read_artifact
from service.registry.booster import Booster
from service.registry.golden import check_golden
from service.registry.manifest import Manifest


class Servable:
    """Scores rows of its own features, in their order. Thread-safe; frees its booster when let go."""

    __slots__ = ("booster", "calibration", "explain_s", "features", "manifest", "probability", "thresholds", "version")

    def __init__(self, artifact: Artifact) -> None:
        """Take an artifact into memory and verify it.

        Raises BadArtifact when a feature is unknown or has changed since, or when a golden case differs.
        """
        manifest: Manifest = artifact.manifest
        self.manifest = manifest
        self.version = manifest.version
        self.features = resolved(manifest)
        self.booster = Booster(artifact.model_text)
        if self.booster.names != tuple(feature.name for feature in self.features):
            raise BadArtifact("model.txt has other columns than manifest.json has features, or in another order")
        self.calibration = manifest.calibration.calibration()
        self.probability = self.calibration.score
        self.thresholds = manifest.thresholds.thresholds()
        check_golden(artifact.golden, self.features, self)
        self.explain_s = self._explain_seconds()

    @classmethod
    def load(cls, path: Path, habits: Habits) -> Self:
        """Load a version's folder for a deployment with these habits. Raises BadArtifact.

        Cost: about 20 ms for 300 trees of 31 leaves.
        """
        artifact = read_artifact(path)
        trained_with = artifact.manifest.habits
        if trained_with != habits:
            raise BadArtifact(f"it learned from habits of {trained_with}, and the setting ingest.habits is {habits}")
        return cls(artifact)

    def raw_score(self, row: Sequence[float]) -> float:
        """Return the raw score (log-odds before calibration) of one row. Cost: see `Booster.raw_score`."""
        return self.booster.raw_score(row)

    def score(self, row: Sequence[float]) -> float:
        """Return the calibrated probability of fraud of one row."""
        return self.probability(self.booster.raw_score(row))

    def raw_scores(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """Return `raw_score` of each row, with the same bits, in one call of the model."""
        matrix = np.array(rows, dtype=np.float64).reshape(len(rows), len(self.features))
        scores: list[float] = self.booster.raw_scores(matrix).tolist()
        return scores

    def score_many(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """Return `score` of each row, with the same bits, in one call of the model."""
        return [self.probability(raw_score) for raw_score in self.raw_scores(rows)]

    def contributions(self, row: Sequence[float]) -> list[float]:
        """Return what each feature adds to the raw score, and last what holds without any."""
        return self.booster.contributions(row)

    def _explain_seconds(self) -> float:
        """Return how long an explanation takes: the second one, because the first one prepares."""
        row = [0.5] * len(self.features)
        self.contributions(row)
        begun_s = time.perf_counter()
        self.contributions(row)
        return time.perf_counter() - begun_s


def resolved(manifest: Manifest) -> tuple[Feature, ...]:
    """Return the features that a manifest lists, in its order. Raises BadArtifact that names the first bad one."""
    features = []
    for used in manifest.features:
        feature = BY_NAME.get(used.name)
        if feature is None:
            raise BadArtifact(f"feature {used.name!r} is not declared in this release")
        if feature.fingerprint != used.fingerprint:
            raise BadArtifact(f"feature {used.name!r} has changed since the model was trained: retrain it")
        features.append(feature)
    return tuple(features)
