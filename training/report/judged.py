"""The rows that judge a version: nothing that it learned from, with what it and the champion say of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from training.metrics import Column, Labels
from training.replay.kernel import Integers
from training.replay.stream import Matrix

Flags = npt.NDArray[np.bool_]


class JudgedRows(NamedTuple):
    """Purchases that the model never learned from, one element or row each.

    `labels` 1 = fraud; `weights` how many purchases a row stands for; `card` and `seller` codes, -1 for none;
    `pattern` names the kind of fraud where it is known. `champion_scores` are those of the version that was
    live, on the same purchases. What is None leaves its part of the report out, and the report says so.
    """

    matrix: Matrix
    labels: Labels
    scores: Column
    weights: Column
    card: Integers
    amount_minor: Integers
    pattern: pl.Series
    time_ms: Integers
    champion_scores: Column | None = None
    seller: Integers | None = None

    @property
    def fraud(self) -> Flags:
        """Tell which purchases were fraud."""
        return np.equal(self.labels, 1)
