"""Training publishes what it says: honest splits, the same model again, scores that rank as the model does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.compiled import compile_row
from service.core.event import KINDS, EntityKind, EventKind
from service.core.features import FEATURES
from service.core.row import row_of
from service.core.windows import DAY_MS
from service.errors import BadSetting
from service.registry.artifact import read_artifact, version_path
from service.registry.booster import Booster
from service.registry.promotion import promote
from service.registry.servable import Servable
from tests.make import NOW_MS, make_event, make_purchase, make_stream
from tests.training.oracle import frame_of, in_pieces
from training.data import events
from training.data.events import silent
from training.learning.calibrate import NEVER, calibrate, choose_thresholds
from training.learning.dataset import Dataset, load_dataset, split_by_time
from training.learning.fit import PARAMETERS, blanked, fit, without
from training.learning.options import TrainOptions
from training.learning.train import TrainSummary, train
from training.replay.profiles import moments_at
from training.replay.stream import replay_all
from training.simulate import MarketSettings, simulate

NOW = datetime(2026, 8, 1, tzinfo=UTC)
OPTIONS = TrainOptions(parameters={"num_iterations": 20}, decline_precision=0.5, least_declined=5)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a small market with much fraud."""
    path = tmp_path_factory.mktemp("market") / "events.parquet"
    simulate(MarketSettings(purchases=4_000, fraud_rate=0.05), path, silent)
    return path


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a registry that the tests of this module share."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def summary(market: Path, registry: Path) -> TrainSummary:
    """Train the first version."""
    return train(market, registry, OPTIONS, NOW, silent)


def number_of(summary: TrainSummary) -> int:
    """Return the number of the version that a training published."""
    assert summary.version is not None
    return summary.version


def test_the_same_events_and_seed_give_the_same_model(market: Path, registry: Path, summary: TrainSummary) -> None:
    """Training again with the same options writes a model file with the same bytes."""
    again = train(market, registry, OPTIONS, NOW, silent)
    files = [version_path(registry, number_of(one)) / "model.txt" for one in (summary, again)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_published_version_can_be_promoted(registry: Path, summary: TrainSummary) -> None:
    """A version passes every check of a worker: checksums, fingerprints, golden cases."""
    assert promote(registry, number_of(summary), "test", "").champion == summary.version


def test_the_manifest_says_where_the_model_comes_from(market: Path, registry: Path, summary: TrainSummary) -> None:
    """The manifest names the content that it learned from, its split with gaps, parameters and seed."""
    manifest = read_artifact(version_path(registry, number_of(summary))).manifest
    assert manifest.source is not None
    assert manifest.split is not None
    assert manifest.split.validation is not None
    assert manifest.source.content_sha256 == events.about(market).content_hash
    assert manifest.split.validation.begin_ms - manifest.split.train.end_ms == manifest.split.label_delay_ms
    assert (manifest.seed, manifest.parameters["num_iterations"], manifest.currency) == (7, 20, "EUR")


def test_scores_in_bulk_are_those_of_the_servable(market: Path, registry: Path, summary: TrainSummary) -> None:
    """A row scored alone has the bits that the same row has in a matrix."""
    servable = Servable.load(version_path(registry, number_of(summary)), "attempts")
    matrix = load_dataset(lambda columns: events.frames(market, columns), FEATURES, "attempts").matrix[:200]
    rows = matrix.tolist()
    assert [servable.score(row) for row in rows] == servable.score_many(rows)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": ("shoe_size",)}, "feature 'shoe_size' is not declared"),
        ({"label_delay_days": 30.0}, "too few to divide with 2 gaps of 30 days"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    market: Path, registry: Path, changes: dict[str, object], sentence: str
) -> None:
    """Options that do not fit the file are refused in words."""
    with pytest.raises(BadSetting, match=re.escape(sentence)):
        train(market, registry, OPTIONS.model_copy(update=changes), NOW, silent)


def test_without_frauds_nothing_is_trained(tmp_path: Path) -> None:
    """A file that holds no known fraud is refused in words."""
    path = tmp_path / "honest.parquet"
    purchases = [make_purchase(f"p-{day}", event_time_ms=NOW_MS + day * DAY_MS) for day in range(60)]
    events.write(path, [frame_of(purchases)], {})
    with pytest.raises(BadSetting, match="0 of them known to be fraud"):
        train(path, tmp_path / "registry", OPTIONS, NOW, silent)


def test_a_score_without_profiles_still_means_something(summary: TrainSummary) -> None:
    """With no profile read, the mean score stays near the share of fraud; without blanked copies it is most of 1."""
    unread = summary.metrics["validation_without_any_profile"]
    assert unread["mean_score"].value < 3 * unread["fraud_share"].value


# --- splits and labels --------------------------------------------------------------------------


@given(
    days=st.integers(40, 400),
    delay_days=st.integers(1, 8),
    shares=st.sampled_from([(0.2, 0.2), (0.5, 0.0), (0.1, 0.3)]),
)
def test_parts_lie_apart_and_end_before_the_cutoff(days: int, delay_days: int, shares: tuple[float, float]) -> None:
    """Between parts, and between the last part and the cutoff, lies one label delay, and no part knows the next."""
    delay_ms, cutoff_ms = delay_days * DAY_MS, NOW_MS + days * DAY_MS
    split = split_by_time(NOW_MS, cutoff_ms, delay_ms, *shares)
    parts = [part for part in split if part is not None]
    assert parts[0].begin_ms == NOW_MS
    assert all(later.begin_ms - earlier.end_ms == delay_ms for earlier, later in pairwise(parts))
    assert all(earlier.as_of_ms == later.begin_ms for earlier, later in pairwise(parts))
    assert (parts[-1].end_ms, parts[-1].as_of_ms) == (cutoff_ms - delay_ms, cutoff_ms)


def _labelled(**columns: list[int | None]) -> Dataset:
    """Return a dataset of purchases a day apart, with these columns of the event file."""
    count = len(next(iter(columns.values())))
    purchases = [make_purchase(f"p-{day}", event_time_ms=NOW_MS + day * DAY_MS) for day in range(count)]
    frame = events.complete(frame_of(purchases).with_columns(**{name: pl.Series(v) for name, v in columns.items()}))
    return load_dataset(in_pieces(frame, 2), FEATURES[:1], "attempts")


def test_a_fraud_counts_once_its_label_has_arrived() -> None:
    """As of a moment a purchase is fraud only when that was known by then."""
    known_ms = NOW_MS + 10 * DAY_MS
    dataset = _labelled(label=[1, 0, 1], label_time_ms=[known_ms, known_ms, known_ms + 1])
    assert dataset.labels_as_of(known_ms, DAY_MS).tolist() == [1, 0, 0]


def test_a_label_without_a_time_arrives_with_the_label_delay() -> None:
    """Where nobody said when the truth arrived, it takes the label delay."""
    dataset = _labelled(label=[1, None], label_time_ms=[None, None])
    assert dataset.labels_as_of(NOW_MS + DAY_MS - 1, DAY_MS).tolist() == [0, 0]
    assert dataset.labels_as_of(NOW_MS + DAY_MS, DAY_MS).tolist() == [1, 0]


def test_young_purchases_are_in_no_part() -> None:
    """A purchase younger than the label delay is left out, although its label has arrived."""
    dataset = _labelled(label=[1] * 40, label_time_ms=[NOW_MS + day * DAY_MS for day in range(40)])
    split = split_by_time(NOW_MS, NOW_MS + 40 * DAY_MS, 5 * DAY_MS, 0.3, 0.3)
    used = np.any([part.rows(dataset) for part in split if part is not None], axis=0)
    assert dataset.time_ms[used].max() < NOW_MS + 35 * DAY_MS


def test_rows_and_labels_stand_together() -> None:
    """The label of a row is that of its purchase, although other events stand between and repeats are left out."""
    purchase, repeat = make_purchase("p-1"), make_purchase("p-2", event_time_ms=NOW_MS + 1)
    stream = [make_event(EventKind.USER_REGISTERED), purchase, repeat, repeat, make_purchase("p-3")]
    labels = pl.Series([None, 0, 1, 1, 0], dtype=pl.Int8)
    frame = events.complete(frame_of(stream).with_columns(label=labels))
    assert load_dataset(in_pieces(frame, 2), FEATURES[:1], "attempts").label.tolist() == [0, 1, 0]


# --- fitting ------------------------------------------------------------------------------------


def test_a_monotone_feature_never_speaks_for_less() -> None:
    """More of a feature that is declared monotone never lowers the raw score."""
    feature = next(feature for feature in FEATURES if feature.monotone == 1)
    rng = np.random.default_rng(5)
    matrix = rng.random((2_000, 2))
    labels = (rng.random(2_000) < 0.3).astype(np.int8)
    other = next(one for one in FEATURES if one.monotone == 0)
    model = fit(matrix, labels, [feature, other], 1, {**PARAMETERS, "num_iterations": 30})
    steps = np.column_stack([np.linspace(0, 1, 101), np.full(101, 0.5)])
    assert (np.diff(Booster(model.encode()).raw_scores(steps)) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_blanked_row_is_what_the_service_computes_without_the_profile(kind: EntityKind) -> None:
    """Taking a profile out of a row gives the bits of the row that is computed without it."""
    source = in_pieces(frame_of(make_stream(3, 120, orderly=True)), 50)
    rows = replay_all(source, FEATURES)
    row = compile_row([feature.formula for feature in FEATURES])
    at = KINDS.index(kind)
    for replayed, moment in zip(rows.matrix, moments_at(source, rows.positions.tolist(), "attempts"), strict=True):
        images = (*moment.images[:at], None, *moment.images[at + 1 :])
        served = np.array(row_of(row, moment.purchase, images))
        assert np.array_equal(without(replayed[None], FEATURES, [kind])[0], served, equal_nan=True)


def test_blanked_copies_lack_one_profile_or_all() -> None:
    """Every copy is its row without the profile of one kind, or without any."""
    rows = np.random.default_rng(2).random((400, len(FEATURES)))
    drawn, copies = blanked(rows, FEATURES, 0.25, seed=1)
    assert 60 < drawn.size < 140
    for place, copy in zip(drawn, copies, strict=True):
        options = [without(rows[place][None], FEATURES, kinds)[0] for kinds in (*((kind,) for kind in KINDS), KINDS)]
        assert any(np.array_equal(copy, option, equal_nan=True) for option in options)


# --- calibration and thresholds -----------------------------------------------------------------


@given(seed=st.integers(0, 1000), frauds=st.integers(0, 30))
def test_calibration_is_strictly_increasing(seed: int, frauds: int) -> None:
    """Whatever rows it learns from, a higher raw score within its knots is a higher probability."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(-4, 2, 60)
    labels = (np.arange(60) < frauds).astype(np.int8)
    calibration = calibrate(raw, labels)
    shown = calibration.scores(np.linspace(raw.min(), raw.max(), 500))
    assert (np.diff(shown) > 0).all()
    assert shown[0] > 0.0
    assert shown[-1] < 1.0


def test_calibrated_scores_mean_what_they_say() -> None:
    """Rows whose odds are twice those of their raw score get that probability, on average."""
    rng = np.random.default_rng(9)
    raw = rng.normal(-3, 2, 50_000)
    labels = (rng.random(raw.size) < 1 / (1 + np.exp(-(raw + np.log(2))))).astype(np.int8)
    assert calibrate(raw, labels).scores(raw).mean() == pytest.approx(labels.mean(), abs=0.005)


def test_the_review_threshold_reviews_the_share_that_was_asked_for() -> None:
    """At and above the review threshold lies the share of validation purchases that may be reviewed."""
    scores = np.arange(1000) / 1000
    chosen = choose_thresholds(scores, np.zeros(1000, np.int8), 0.05, 0.9, 10)
    assert (scores >= chosen.review).sum() == 50


def test_the_decline_threshold_is_as_low_as_its_precision_allows() -> None:
    """Declined is the largest group of the riskiest in which enough are fraud."""
    labels = np.array([1, 1, 1, 0, 1, 0, 0, 0], np.int8)
    scores = np.linspace(0.9, 0.2, 8)
    chosen = choose_thresholds(scores, labels, 1.0, 0.75, 2)
    assert (scores >= chosen.decline).tolist() == [True] * 5 + [False] * 3


def test_a_few_lucky_purchases_decline_nobody() -> None:
    """A precision that only a handful of purchases show sets no decline threshold."""
    scores, labels = np.array([0.9, 0.5, 0.4]), np.array([1, 0, 0], np.int8)
    assert choose_thresholds(scores, labels, 0.5, 0.9, 2).decline == NEVER
