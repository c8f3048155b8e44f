"""A trained model in hand: the text that is published, and what scores rows with it."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.calibration import Calibration
from service.registry.booster import Booster
from training.learning.calibrate import calibrate
from training.metrics import Column, Labels
from training.replay.stream import Matrix


class Model:
    """LightGBM's text, loaded as the service loads it, and calibrated."""

    def __init__(self, text: str, matrix: Matrix, labels: Labels, weights: Column | None = None) -> None:
        """Load the text and calibrate it on these rows."""
        self.text = text
        self.booster = Booster(text.encode())
        self.calibration: Calibration = calibrate(self.booster.raw_scores(matrix), labels, weights)

    def raw_score(self, row: Sequence[float]) -> float:
        """Return the raw score of a row."""
        return self.booster.raw_score(row)

    def probability(self, raw_score: float) -> float:
        """Return the score for a raw score."""
        return self.calibration.score(raw_score)

    def scores(self, matrix: Matrix) -> Column:
        """Return the score of each row, with the bits that the service gives."""
        return self.calibration.scores(self.booster.raw_scores(matrix))
