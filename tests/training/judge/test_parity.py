"""Parity finds nothing where nothing differs, on each store, and every difference where one was made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.core.features import FEATURES
from service.store.protocol import Store
from tests.parity_soak import compared, soak
from tests.store.conftest import aerospike_host, bench, place, server, store
from tests.store.places import Place
from tests.training.replay.test_replay import same
from training.judge.parity import parity, parity_gauges
from training.replay.by_entity import Spread, replay_decisions, replay_snapshot
from training.replay.cluster import LocalThreads
from training.snapshot.read import Snapshot, open_snapshot
from training.snapshot.schema import REVISION_COLUMNS

__all__ = ["aerospike_host", "bench", "place", "server", "store"]

DECISIONS = 3000
LOCAL = Spread(LocalThreads(), parts=3)


def test_served_rows_are_those_of_their_revisions(store: Store, tmp_path: Path) -> None:
    """Under racing threads, late, repeated and early events, every row and score equals its replay."""
    found = compared(soak(store, tmp_path, DECISIONS), tmp_path)
    assert (found.equal, found.left_out) == (True, {})
    assert found.compared == found.decisions > DECISIONS // 2
    assert found.scored > found.decisions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with registry and snapshot of a small soak whose habits are made of settlements."""
    path = tmp_path_factory.mktemp("soak")
    opened = Place("lmdb", str(path / "store")).open(habits="settlements", max_parked=100_000)
    soak(opened, path, 1000, habits="settlements")
    opened.close()
    return path


@pytest.fixture
def snapshot(folder: Path) -> Snapshot:
    """Open the snapshot of that soak."""
    return open_snapshot(folder / "snapshots", "latest")


def test_habits_of_settlements_are_replayed_as_well(folder: Path, snapshot: Snapshot) -> None:
    """Where nearly every purchase is named by a settlement, nothing differs either."""
    found = compared(snapshot, folder)
    assert (found.equal, found.left_out) == (True, {})


def test_the_newest_decisions_can_be_compared_alone(folder: Path, snapshot: Snapshot) -> None:
    """A number of decisions means the last ones of the log."""
    assert compared(snapshot, folder, 100).decisions == 100


def tampered(folder: Path, to: Path, kind: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Snapshot:
    """Copy the snapshots to another folder, with every partition of a kind changed."""
    shutil.copytree(folder / "snapshots", to)
    for path in (to / "partitions" / kind).glob("*/*.parquet"):
        change(pl.read_parquet(path)).write_parquet(path)
    return open_snapshot(to, "latest")


def with_value(row: bytes, column: int, value: float) -> bytes:
    """Return a row with one value replaced."""
    values = np.frombuffer(row, "<f8").copy()
    values[column] = value
    return values.tobytes()


def test_every_changed_value_is_found(folder: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    """One feature of some rows was served otherwise: it is counted, under its name, with its purchases."""
    layout, names = next(iter(snapshot.manifest.layouts.items()))
    column = names.index("user_tenure")
    wanted = (pl.col("position") % 50 == 0) & (pl.col("row_layout") == layout)

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        spoilt = frame["row"].map_elements(lambda row: with_value(row, column, -1.0), pl.Binary)
        return frame.with_columns(row=pl.when(wanted).then(spoilt).otherwise("row"))

    expected = sum(piece.filter(wanted).height for piece in snapshot.decisions(("position", "row_layout")))
    found = parity(tampered(folder, tmp_path / "changed", "decisions", change), None, LOCAL)
    assert +found.features == {"user_tenure": expected}
    assert len(found.differences) == expected > 0
    assert {one.served for one in found.differences} == {-1.0}
    assert set(found.purchases) == {one.purchase_id for one in found.differences}


def test_a_changed_score_is_found(folder: Path, tmp_path: Path) -> None:
    """A score that the version does not give to the served row is counted under its version."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(scores=pl.col("scores").list.eval(pl.element() * 0.5))

    changed = tampered(folder, tmp_path / "changed", "decisions", change)
    found = parity(changed, folder / "registry", LOCAL)
    assert not found.equal
    assert found.features.total() == 0
    assert found.scores.total() == found.scored


def test_a_missing_update_is_said(folder: Path, tmp_path: Path) -> None:
    """Rows that read what the snapshot does not hold are counted as not comparable, not as different."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        lost = (pl.col("user_revision") == 5) & (pl.int_range(pl.len()) % 2 == 0)
        return frame.with_columns(user_revision=pl.when(lost).then(0).otherwise("user_revision"))

    found = parity(tampered(folder, tmp_path / "changed", "events", change), None, LOCAL)
    assert found.equal
    assert found.left_out["the snapshot lacks updates that a profile had seen"] == found.decisions - found.compared > 0


def test_a_changed_definition_is_not_comparable(folder: Path, tmp_path: Path) -> None:
    """Rows of a layout that no definition of today makes are left out, feature by feature, and said to be."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(row_layout=pl.lit("0123456789abcdef"))

    changed = tampered(folder, tmp_path / "changed", "decisions", change)
    found = parity(changed, None, LOCAL)
    assert found.left_out == {"the names of the row are not known": found.decisions}


def test_what_a_collector_sees(folder: Path, snapshot: Snapshot) -> None:
    """There is a gauge for each feature, zero where nothing differs."""
    gauges = {gauge.name: gauge.samples for gauge in parity_gauges(compared(snapshot, folder))}
    assert {value for _, value in gauges["fraud_parity_differences"]} == {0.0}
    assert {labels["feature"] for labels, _ in gauges["fraud_parity_differences"]} == {one.name for one in FEATURES}


def test_a_purchase_is_learned_from_as_it_was_served(snapshot: Snapshot) -> None:
    """Where nothing came between the score and the record, the row of training is the row that was served."""
    rows, sound = replay_snapshot(snapshot, FEATURES, LOCAL)
    assert sound.all()
    events = pl.concat(snapshot.events(("position", "purchase_id", "kind", *REVISION_COLUMNS)))
    bought = events.filter(pl.col("position").is_in(rows.positions.tolist())).with_row_index("trained")
    decisions = pl.concat(snapshot.decisions(("purchase_id", "recorded", *REVISION_COLUMNS))).with_row_index("served")
    next_ = [pl.col(f"{name}_right").fill_null(-1) + 1 == pl.col(name) for name in REVISION_COLUMNS]
    pairs = bought.join(decisions.filter("recorded"), on="purchase_id").filter(*next_)
    served = replay_decisions(snapshot, FEATURES, LOCAL).rows.matrix
    assert pairs.height > 100
    assert same(rows.matrix[pairs["trained"]], served[pairs["served"]])
