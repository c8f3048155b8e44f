"""Retraining comes to one end, however often it is killed, and says what came of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.registry.artifact import version_path, versions
from service.registry.lineup_file import read_lineup
from service.registry.promotion import set_canary
from service.registry.servable import Servable
from tests.training.learning.shop import OPTIONS, Shop, open_shop
from training.data.events import silent
from training.learning.bulk import score_source
from training.learning.dataset import load_dataset
from training.learning.retrain import Outcome, Retrained, RetrainOptions, retrain
from training.learning.runs import read_runs, sole_run
from training.learning.train import train
from training.snapshot.read import open_snapshot

NOW = datetime(2026, 8, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a shop whose whole market is recorded; tests work on copies."""
    shop = open_shop(tmp_path_factory.mktemp("shop"))
    shop.record()
    return shop.folder


@pytest.fixture
def shop(recorded: Path, tmp_path: Path) -> Shop:
    """Return a shop of the test's own."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    return Shop(tmp_path)


def _retrain(shop: Shop, now: datetime = NOW, **options: Any) -> Retrained:
    wanted = RetrainOptions(**{"train": OPTIONS, "max_events_per_s": 0, **options})
    return retrain(shop.settings, shop.folders, wanted, now, silent)


def _killed(shop: Shop, what: str, when: str, pattern: str) -> None:
    command = [sys.executable, "-m", "tests.training.learning.killer", what, str(shop.folder), when, pattern]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


def _all_whole(shop: Shop) -> None:
    """Check that every version that is listed loads, and that what is live is one of them."""
    registry = shop.folders.registry
    for version in versions(registry):
        Servable.load(version_path(registry, version), "attempts")
    lineup = read_lineup(registry)
    assert lineup is None or lineup.champion in versions(registry)


@pytest.mark.parametrize(
    ("when", "pattern"),
    [
        ("before", "runs/20*-00"),
        ("before", "registry/versions/*"),
        ("after", "registry/versions/*"),
        ("before", "registry/lineup.json"),
        ("after", "registry/lineup.json"),
    ],
)
def test_a_job_that_was_killed_is_finished_by_the_next(shop: Shop, when: str, pattern: str) -> None:
    """Nothing half-done is listed or live; the next job ends with one version, which answers."""
    _killed(shop, "retrain", when, pattern)
    _all_whole(shop)
    assert {run.state for run in read_runs(shop.folders.runs, shop.folders.registry)} <= {"killed"}
    done = _retrain(shop)
    assert (done.outcome, done.version, versions(shop.folders.registry)) == (Outcome.PROMOTED, 1, [1])
    [run] = read_runs(shop.folders.runs, shop.folders.registry)
    assert (run.state, run.version) == ("finished", 1)
    lineup = read_lineup(shop.folders.registry)
    assert lineup is not None
    assert (lineup.champion, lineup.revision) == (1, 1)


def test_a_training_that_was_killed_goes_on(shop: Shop) -> None:
    """Killed when its version was published and not noted, it is listed with it; resumed, it makes no other."""
    _killed(shop, "train", "after", "registry/versions/*")
    _all_whole(shop)
    registry, runs = shop.folders.registry, shop.folders.runs
    [run] = read_runs(runs, registry)
    assert (run.state, run.version) == ("killed", 1)
    assert train(shop.market, registry, OPTIONS, NOW, silent, runs=runs, resume=run.id).version == 1
    assert versions(registry) == [1]


def test_the_same_data_are_not_learned_from_twice(shop: Shop) -> None:
    """Without anything new there is nothing to do; with more there is, and only what is better is promoted."""
    assert _retrain(shop).outcome is Outcome.PROMOTED
    again = _retrain(shop)
    assert (again.outcome, versions(shop.folders.registry)) == (Outcome.NOTHING_TO_DO, [1])
    other = _retrain(shop, train=OPTIONS.model_copy(update={"seed": 8}), margin=0.9)
    assert (other.outcome, other.version) == (Outcome.NOT_PROMOTED, 2)
    assert "not better than the champion" in other.why
    lineup = read_lineup(shop.folders.registry)
    assert lineup is not None
    assert lineup.champion == 1


def test_age_decides_when_it_is_asked(shop: Shop) -> None:
    """A champion younger than the limit is left alone, without even a snapshot; an older one is not."""
    _retrain(shop)
    later = {"train": OPTIONS.model_copy(update={"seed": 8}), "only_if_older_than_days": 7.0}
    young = _retrain(shop, NOW + timedelta(days=6), **later)
    assert (young.outcome, young.snapshot) == (Outcome.NOTHING_TO_DO, None)
    assert _retrain(shop, NOW + timedelta(days=8), **later).version == 2


def test_two_cannot_retrain_at_once(shop: Shop) -> None:
    """Who comes second is told so, and does nothing."""
    with sole_run(shop.folders.runs, "retrain") as free:
        assert free
        assert _retrain(shop).outcome is Outcome.BUSY
    assert versions(shop.folders.registry) == []


def test_an_experiment_on_what_answers_is_not_ended(shop: Shop) -> None:
    """While a canary answers, a better version is published and not promoted: that would end it."""
    _retrain(shop)
    train(shop.market, shop.folders.registry, OPTIONS, NOW, silent)
    set_canary(shop.folders.registry, 2, 0.1, "test", "try it")
    done = _retrain(shop, train=OPTIONS.model_copy(update={"seed": 8}), margin=-1.0)
    assert (done.outcome, done.version) == (Outcome.NOT_PROMOTED, 3)
    assert "canary" in done.why


def test_bulk_scores_are_those_of_the_service(shop: Shop) -> None:
    """Scored one by one, the rows of a snapshot get the bits that scoring in bulk wrote, and the same decisions."""
    _retrain(shop)
    servable = Servable.load(version_path(shop.folders.registry, 1), "attempts")
    snapshot = open_snapshot(shop.folders.snapshots, "latest")
    out = shop.folder / "scores.parquet"
    scored = score_source(snapshot, servable, out, silent)
    dataset = load_dataset(snapshot, servable.features, "attempts")
    table = pl.read_parquet(out)
    rows = dataset.matrix[:300].tolist()
    assert table["raw_score"][:300].to_list() == [servable.raw_score(row) for row in rows]
    assert table["score"][:300].to_list() == [servable.score(row) for row in rows]
    strict = (table["score"] >= servable.thresholds.review).to_numpy()
    assert np.array_equal(strict, (table["decision"] != "APPROVE").to_numpy())
    assert (scored.rows, table.height) == (2_000, 2_000)
    assert table["purchase_id"].n_unique() == 2_000
