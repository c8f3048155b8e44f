"""Judged rows for tests of the report: seeded purchases that a small model can tell apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from service.core.features import BY_NAME, Feature
from service.core.windows import DAY_MS
from service.registry.manifest import (
    Comparison,
    FeatureUse,
    Interval,
    Knots,
    Manifest,
    Source,
    Split,
    ThresholdChoice,
    TimeRange,
)
from tests.make import NOW_MS
from training.learning.fit import PARAMETERS, fit
from training.learning.model import Model
from training.report import JudgedRows

HOSTILE = '<script>alert("1")</script> & <b>'
NAMES = ("user_tenure", "seller_tenure", "amount_level", "card_known", "user_met_card")
FEATURES: tuple[Feature, ...] = tuple(BY_NAME[name] for name in NAMES)
DAYS = 21


class Version(NamedTuple):
    """A trained version with what its report is made of."""

    manifest: Manifest
    judged: JudgedRows
    train_matrix: Any
    model: Model


def make_judged(count: int = 1_200, seed: int = 1, **fields: Any) -> JudgedRows:
    """Return purchases of which one in ten is fraud; fraud has low first and high third features."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.1).astype(np.int8)
    matrix = rng.random((count, len(FEATURES)))
    matrix[:, 0] *= np.where(labels == 1, 0.5, 1.0)
    matrix[:, 2] **= np.where(labels == 1, 0.3, 1.0)
    matrix[rng.random(count) < 0.05, 3] = np.nan
    values: dict[str, Any] = {
        "matrix": matrix,
        "labels": labels,
        "scores": np.clip(matrix[:, 2] * (1.0 - matrix[:, 0]) * 0.6, 1e-4, 0.999),
        "weights": np.ones(count),
        "card": rng.integers(0, count // 3, count),
        "amount_minor": rng.integers(100, 20_000, count),
        "pattern": pl.Series(np.where(labels == 1, np.where(matrix[:, 1] < 0.5, "stolen_card", HOSTILE), "")),
        "time_ms": np.sort(NOW_MS + rng.integers(0, DAYS * DAY_MS, count)),
    }
    return JudgedRows(**{**values, **fields})


def make_manifest(model: Model, **fields: Any) -> Manifest:
    """Return a manifest that says something everywhere."""
    metrics = {"average_precision": 0.5, "mean_score": 0.1, "fraud_share": 0.1}
    intervals = {name: Interval(value=value) for name, value in metrics.items()}
    values: dict[str, Any] = {
        "created_at": datetime(2026, 8, 1, tzinfo=UTC),
        "features": tuple(FeatureUse.of(feature) for feature in FEATURES),
        "habits": "attempts",
        "currency": "EUR",
        "calibration": Knots(raw=model.calibration.raw, probability=model.calibration.probability),
        "thresholds": ThresholdChoice(review=0.2, decline=0.45, why="as an example"),
        "source": Source(id=f"simulate {HOSTILE}", content_sha256="0" * 64, rows=9_000, frauds=900),
        "split": Split(
            train=TimeRange(begin_ms=NOW_MS - 40 * DAY_MS, end_ms=NOW_MS - 20 * DAY_MS),
            validation=TimeRange(begin_ms=NOW_MS - 13 * DAY_MS, end_ms=NOW_MS - 7 * DAY_MS),
            test=TimeRange(begin_ms=NOW_MS, end_ms=NOW_MS + DAYS * DAY_MS),
            gap_ms=7 * DAY_MS,
            label_delay_ms=7 * DAY_MS,
        ),
        "parameters": dict(PARAMETERS),
        "seed": 7,
        "trees": model.booster.trees,
        "metrics": {"validation": intervals, "validation_without_user_profile": intervals, "test": intervals},
        "selection": {"said": 900, "assumed": 8_000, "unknown": 100, "control": 20},
        "comparison": Comparison(
            champion=3,
            metric="average_precision",
            candidate_value=0.5,
            champion_value=0.4,
            difference=Interval(value=0.1, low=0.05, high=0.15),
            rows=1_200,
            frauds=120,
            overlap=True,
        ),
        "parent": 3,
        "code_revision": "0123abc",
        "libraries": {"lightgbm": "4"},
        "notes": f"made for a test {HOSTILE}",
    }
    return Manifest(**{**values, **fields})


def make_version(**fields: Any) -> Version:
    """Train a small model and return all that its report is made of."""
    learned = make_judged(seed=2)
    text = fit(learned.matrix, learned.labels, FEATURES, 7, {**PARAMETERS, "num_iterations": 20, "num_threads": 1})
    model = Model(text, learned.matrix, learned.labels)
    judged = make_judged()
    weaker = np.clip(judged.scores + np.random.default_rng(3).random(judged.scores.size), 0.0, 1.0)
    judged = judged._replace(scores=model.scores(judged.matrix), champion_scores=weaker)
    return Version(make_manifest(model, **fields), judged, learned.matrix, model)
