"""Manifest and golden cases: exact on the way to disk and back, strict about what they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.core.features import FEATURES
from service.registry.golden import Golden, GoldenCase, GoldenImages, GoldenPurchase
from service.registry.manifest import (
    Baseline,
    FeatureUse,
    Histogram,
    Interval,
    Knots,
    Manifest,
    Source,
    Split,
    ThresholdChoice,
    TimeRange,
)
from tests.registry.build import make_manifest

FULL = make_manifest(
    FEATURES[:3],
    source=Source(id="s-1", content_sha256="0" * 64, rows=10, frauds=1),
    split=Split(
        train=TimeRange(begin_ms=1, end_ms=2),
        test=TimeRange(begin_ms=3, end_ms=4),
        gap_ms=1,
        label_delay_ms=1,
    ),
    parameters={"learning_rate": 0.1, "num_leaves": 31, "deterministic": True, "objective": "binary"},
    metrics={"test": {"average_precision": Interval(value=0.1 + 0.2, low=0.1, high=0.7)}},
    baseline=Baseline(
        features={"user_tenure": Histogram(edges=(0.0, 0.5, 1.0), counts=(3, 4), unknown=2)},
        score=Histogram(edges=(0.0, 1.0), counts=(9,)),
    ),
    parent=6,
    libraries={"lightgbm": "4.7.0"},
)


def test_a_manifest_reads_back_equal() -> None:
    """Every field survives the way to JSON and back with its exact value."""
    assert Manifest.model_validate_json(FULL.model_dump_json()) == FULL


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1))
def test_floats_read_back_with_the_same_bits(raw_score: float, score: float) -> None:
    """JSON keeps every finite float exactly, so golden cases can be compared exactly."""
    golden = Golden(
        cases=(
            GoldenCase(
                images=GoldenImages(user=None, seller=None, item=None, card=(1, -(2**62))),
                purchase=GoldenPurchase(
                    event_time_ms=1, user_id="u", seller_id="", item_id="", card_hash="c", amount_minor=1, quantity=1
                ),
                row=(score, None),
                raw_score=raw_score,
                score=score,
            ),
        )
    )
    assert Golden.model_validate_json(golden.model_dump_json()) == golden


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("novelty", 1, "novelty"),
        ("format", 2, "format"),
        ("features", [], "features"),
        ("features", [{"name": "a", "fingerprint": "1"}, {"name": "a", "fingerprint": "1"}], "twice"),
        ("habits", "sometimes", "habits"),
        ("version", "7", "version"),
        ("calibration", {"raw": [0.0, 1.0], "probability": [0.5, 0.5]}, "increasing"),
        ("thresholds", {"review": 0.9, "decline": 0.1, "why": ""}, "above the decline"),
        ("thresholds", {"review": 0.1, "decline": 1.1, "why": ""}, "decline"),
        ("checksums", {"model.txt": "abc"}, "checksums"),
        ("split", {"train": {"begin_ms": 2, "end_ms": 1}, "gap_ms": 0, "label_delay_ms": 0}, "ends before"),
    ],
)
def test_a_wrong_field_is_refused(field: str, value: Any, says: str) -> None:
    """A field that is unknown, or breaks its rule, is refused by name."""
    text = json.dumps({**json.loads(FULL.model_dump_json()), field: value})
    with pytest.raises(ValidationError, match=says):
        Manifest.model_validate_json(text)


def test_nan_is_not_a_number_of_a_manifest() -> None:
    """NaN is refused where a number stands; an unknown value of a row is null."""
    with pytest.raises(ValidationError, match="finite"):
        Interval(value=float("nan"))


def test_parts_that_do_not_fit_are_refused() -> None:
    """Histograms need one edge more than counts, in order; knots and thresholds are checked when made."""
    with pytest.raises(ValidationError, match="edges"):
        Histogram(edges=(0.0, 1.0), counts=(1, 2))
    with pytest.raises(ValidationError, match="edges"):
        Histogram(edges=(1.0, 0.0), counts=(1,))
    with pytest.raises(ValidationError, match="two knots"):
        Knots(raw=(0.0,), probability=(0.5,))
    with pytest.raises(ValidationError, match="above"):
        ThresholdChoice(review=0.6, decline=0.5, why="")


def test_a_feature_use_names_the_definition() -> None:
    """What a manifest keeps of a feature is its name and its fingerprint."""
    use = FeatureUse.of(FEATURES[0])
    assert (use.name, use.fingerprint) == (FEATURES[0].name, FEATURES[0].fingerprint)
