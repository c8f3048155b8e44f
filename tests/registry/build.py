"""Tiny artifacts for tests: a booster trained on random rows, with everything that a manifest wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from service.core.event import KINDS
from service.core.features import BY_NAME, FEATURES, Feature
from service.core.profile import EMPTY
from service.registry.artifact import publish
from service.registry.booster import Booster
from service.registry.golden import Golden, Moment, make_golden
from service.registry.manifest import FeatureUse, Knots, Manifest, ThresholdChoice
from tests.make import NOW_MS, filled_image, make_purchase

KNOTS = Knots(raw=(-6.0, -2.0, 0.0, 2.0, 6.0), probability=(0.01, 0.1, 0.4, 0.8, 0.99))
_ROWS = 400


class Calibrated:
    """A booster with a calibration."""

    def __init__(self, booster: Booster, knots: Knots) -> None:
        """Join them."""
        self.raw_score = booster.raw_score
        self.probability = knots.calibration().score


def random_rows(columns: int, seed: int = 0, count: int = _ROWS) -> Any:
    """Return a matrix of rows in [0, 1] with some NaN."""
    random = np.random.default_rng(seed)
    rows = random.random((count, columns))
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows


def train_model(features: Sequence[Feature], seed: int = 0, trees: int = 20, leaves: int = 7) -> str:
    """Return the text of a booster that learned something from random rows of these features."""
    import lightgbm  # noqa: PLC0415  takes a second, which processes that only publish need not spend

    rows = random_rows(len(features), seed)
    weights = np.random.default_rng(seed + 1).normal(size=len(features))
    labels = (np.nan_to_num(rows, nan=0.5) @ weights > weights.sum() / 2).astype(int)
    parameters = {
        "objective": "binary",
        "num_leaves": leaves,
        "min_data_in_leaf": 5,
        "num_threads": 1,
        "deterministic": True,
        "seed": seed,
        "verbosity": -1,
    }
    names = [feature.name for feature in features]
    text: str = lightgbm.train(parameters, lightgbm.Dataset(rows, labels, feature_name=names), trees).model_to_string()
    return text


def moments() -> list[Moment]:
    """Return purchases that meet full, empty and unreadable profiles."""
    filled = tuple(filled_image(kind, "typical") for kind in KINDS)
    empty = tuple(EMPTY[kind] for kind in KINDS)
    return [
        Moment(make_purchase("p-1", event_time_ms=NOW_MS + 1), filled),
        Moment(make_purchase("p-2", amount_minor=1, quantity=3), empty),
        Moment(make_purchase("p-3", seller_id="", item_id=""), (filled[0], None, None, None)),
    ]


def make_manifest(features: Sequence[Feature], **fields: Any) -> Manifest:
    """Return a manifest with what is required, and whatever else is named."""
    values: dict[str, Any] = {
        "created_at": datetime(2026, 7, 14, tzinfo=UTC),
        "features": tuple(FeatureUse.of(feature) for feature in features),
        "habits": "attempts",
        "currency": "EUR",
        "calibration": KNOTS,
        "thresholds": ThresholdChoice(review=0.5, decline=0.9, why="a test"),
        **fields,
    }
    return Manifest(**values)


def build_artifact(
    registry_path: Path,
    features: Sequence[Feature | str] | None = None,
    seed: int = 0,
    trees: int = 20,
    leaves: int = 7,
    change_golden: Callable[[Golden], Golden] = lambda golden: golden,
    **fields: Any,
) -> int:
    """Publish a version with these features (default: all), and return its number; nothing goes live by it.

    `fields` go into the manifest; `change_golden` may spoil the golden cases.
    """
    chosen = [BY_NAME[one] if isinstance(one, str) else one for one in features or FEATURES]
    model_text = train_model(chosen, seed, trees, leaves)
    manifest = make_manifest(chosen, seed=seed, trees=trees, **fields)
    scoring = Calibrated(Booster(model_text.encode()), manifest.calibration)
    golden = change_golden(make_golden(chosen, scoring, moments()))
    return publish(registry_path, model_text, manifest, golden, "<title>test</title>")
