"""What a training takes from the champion, the options and the data, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.core.event import Settlement
from service.core.features import BY_NAME
from service.registry.artifact import read_manifest, version_path, versions
from service.registry.booster import Booster
from service.registry.manifest import Comparison
from service.registry.promotion import promote
from service.registry.servable import Servable
from tests.training.learning.shop import FEATURES, OPTIONS, Shop, open_shop
from training.data import events
from training.data.events import silent
from training.learning.champion import champion_of
from training.learning.dataset import load_dataset
from training.learning.evidence import Rows
from training.learning.fit import PARAMETERS
from training.learning.learn import Lesson, fit_here, learn, stated
from training.learning.mlflow_log import log_run
from training.learning.options import TrainOptions
from training.learning.origin import origin_of
from training.learning.prepare import prepare
from training.learning.runs import read_runs
from training.learning.train import TrainSummary, train
from training.metrics import average_precision

NOW = datetime(2026, 8, 1, tzinfo=UTC)
OTHER = tuple(reversed(FEATURES[:3]))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Return a shop with two versions of different features, the second of them learned beside the first."""
    opened = open_shop(tmp_path_factory.mktemp("shop"))
    _train(opened, features=OTHER)
    promote(opened.folders.registry, 1, "test", "")
    _train(opened)
    return opened


def _train(shop: Shop, **changes: object) -> TrainSummary:
    options = OPTIONS.model_copy(update=changes)
    return train(shop.market, shop.folders.registry, options, NOW, silent, runs=shop.folders.runs)


def _comparison(shop: Shop) -> Comparison:
    comparison = read_manifest(version_path(shop.folders.registry, 2)).comparison
    assert comparison is not None
    return comparison


def test_the_same_data_and_seed_give_the_same_model_in_another_process(shop: Shop, tmp_path: Path) -> None:
    """The model file of another process has the same bytes."""
    other = Shop(tmp_path)
    other.market.symlink_to(shop.market)
    command = [sys.executable, "-m", "tests.training.learning.killer", "train", str(tmp_path), "before", "nothing"]
    subprocess.run(command, check=True)
    mine, theirs = version_path(shop.folders.registry, 2), version_path(other.folders.registry, 1)
    assert (mine / "model.txt").read_bytes() == (theirs / "model.txt").read_bytes()


def test_the_champion_is_judged_on_the_same_rows(shop: Shop) -> None:
    """Candidate and champion rank the candidate's test rows, each with its own features."""
    manifest = read_manifest(version_path(shop.folders.registry, 2))
    comparison, split = _comparison(shop), manifest.split
    assert split is not None
    assert split.test is not None
    found = []
    for version in (2, 1):
        servable = Servable.load(version_path(shop.folders.registry, version), "attempts")
        dataset = load_dataset(shop.market, servable.features, "attempts")
        inside = (dataset.time_ms >= split.test.begin_ms) & (dataset.time_ms < split.test.end_ms)
        labels = dataset.labels_as_of(dataset.newest_ms, split.label_delay_ms)[inside]
        found.append(average_precision(labels, np.array(servable.score_many(dataset.matrix[inside].tolist()))))
    assert (comparison.champion, comparison.candidate_value, comparison.champion_value) == (1, *found)
    assert comparison.difference.value == found[0] - found[1]
    assert not comparison.overlap


def test_an_experiment_leaves_a_run_and_nothing_else(shop: Shop) -> None:
    """Without publishing no version is made, and the run takes a few kilobytes, its metrics among them."""
    before = versions(shop.folders.registry)
    summary = _train(shop, publish=False)
    assert (summary.version, versions(shop.folders.registry)) == (None, before)
    [run] = [one for one in read_runs(shop.folders.runs, shop.folders.registry) if one.id == summary.run]
    assert (run.state, run.metrics) == ("finished", summary.metrics)
    kept = [path for path in (shop.folders.runs / run.id).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) < 16_000


def test_a_champion_that_cannot_be_loaded_is_not_compared_with(tmp_path: Path, shop: Shop) -> None:
    """The new version is made all the same, and its run says why there is no comparison."""
    own = Shop(tmp_path)
    own.market.symlink_to(shop.market)
    _train(own)
    promote(own.folders.registry, 1, "test", "")
    (version_path(own.folders.registry, 1) / "model.txt").write_text("broken")
    assert _train(own, publish=False).comparison is None
    assert "model.txt" in read_runs(own.folders.runs, own.folders.registry)[0].outcome


def test_purchases_whose_truth_cannot_come_are_in_no_part(tmp_path: Path, shop: Shop) -> None:
    """Declined and never labelled: they are neither learned from nor judged on, and the manifest counts them."""
    settlement = pl.col("settlement")
    frame = pl.concat(events.frames(shop.market))
    settled = frame.filter(settlement > 0)["purchase_id"].unique().sort()[:200].to_list()
    purchase = (pl.col("purchase_id").is_in(settled)) & (pl.col("label").is_not_null())
    changed = frame.with_columns(
        settlement=pl.when(pl.col("purchase_id").is_in(settled) & (settlement > 0))
        .then(int(Settlement.DECLINED))
        .otherwise(settlement),
        label=pl.when(purchase).then(None).otherwise("label"),
        label_time_ms=pl.when(purchase).then(None).otherwise("label_time_ms"),
    )
    path = tmp_path / "declined.parquet"
    events.write(path, [changed], {})
    prepared = prepare(path, origin_of(path), None, OPTIONS, silent, None, tmp_path)
    used = np.concatenate([part.places for part in prepared.parts.values()])
    assert prepared.selection()["unknown"] >= len(settled)
    assert prepared.dataset.usable[used].all()


def test_trees_stop_where_validation_gains_no_more() -> None:
    """With early stopping the model is the one that is fitted with that many trees from the start."""
    rng = np.random.default_rng(3)
    features = tuple(BY_NAME[name] for name in FEATURES)
    matrix = rng.random((900, len(features)))
    labels = (matrix[:, 0] + rng.normal(0, 0.4, 900) > 1.0).astype(np.int8)
    rows = [Rows(np.arange(450), matrix[half], labels[half]) for half in (slice(450), slice(450, 900))]
    lesson = Lesson(features, rows[0], np.arange(450), rows[1], np.ones(450, np.int64))
    options = TrainOptions(stop_after=20, parameters={"num_iterations": 300, "num_threads": 1})
    learned = learn(lesson, stated(options), options, fit_here)
    trees = int(learned.choice.parameters["num_iterations"])
    plain = TrainOptions(parameters={"num_iterations": trees, "num_threads": 1})
    assert trees < 200
    assert learned.model.text == learn(lesson, stated(plain), plain, fit_here).model.text
    assert Booster(learned.model.text.encode()).trees == trees


def test_nothing_answers_before_the_first_promotion(tmp_path: Path) -> None:
    """An empty registry has no champion to compare with."""
    assert champion_of(tmp_path, "attempts") is None


def test_a_run_is_logged_to_mlflow_when_it_is_there(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the package and a tracking URI, parameters, metrics and the run's file are logged; else nothing is."""
    registry, runs = shop.folders.registry, shop.folders.runs
    run = read_runs(runs, registry)[-1]
    assert not log_run(run, runs / run.id)
    (tmp_path / "mlflow.py").write_text(_FAKE_MLFLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "tracked.jsonl"))
    assert log_run(run, runs / run.id)
    logged = dict(json.loads(line) for line in (tmp_path / "tracked.jsonl").read_text().splitlines())
    assert logged["start_run"] == run.id
    assert logged["log_params"]["num_leaves"] == PARAMETERS["num_leaves"]
    assert logged["log_metrics"]["test.average_precision"] == run.metrics["test"]["average_precision"].value
    assert Path(logged["log_artifact"]).is_file()


_FAKE_MLFLOW = '''
"""Stands in for the package: writes down what it is told."""
import json, os
from contextlib import contextmanager

def _tell(name, value):
    with open(os.environ["MLFLOW_TRACKING_URI"], "a") as file:
        file.write(json.dumps([name, value]) + "\\n")

@contextmanager
def start_run(run_name, tags):
    _tell("start_run", run_name)
    yield

def set_experiment(name): _tell("set_experiment", name)
def log_params(values): _tell("log_params", values)
def log_metrics(values): _tell("log_metrics", values)
def log_artifact(path): _tell("log_artifact", path)
'''
