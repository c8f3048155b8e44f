"""A Dask cluster of two processes gives the rows that this process gives, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster

from service.core.features import FEATURES
from service.core.profile import Habits
from service.errors import BadSetting
from tests.parity_soak import soak
from tests.store.places import Place
from tests.training.replay.test_replay import same
from training.data import events
from training.judge.parity import parity
from training.learning.dataset import load_dataset
from training.replay.by_entity import Spread, replay_snapshot, replay_stream_by_entity
from training.replay.cluster import Cluster, LocalThreads, cluster_at
from training.replay.stream import replay_all
from training.simulate import MarketSettings, simulate
from training.snapshot.read import open_snapshot


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start a cluster of two processes and name its scheduler."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:  # type: ignore[no-untyped-call]
        yield cluster.scheduler_address


@pytest.fixture
def dask(address: str) -> Iterator[Cluster]:
    """Connect to the cluster."""
    with cluster_at(address) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a market whose rows fill more than one block."""
    path = tmp_path_factory.mktemp("market") / "events.parquet"
    simulate(MarketSettings(purchases=40_000, users=800, sellers=40), path, events.silent)
    return path


@pytest.mark.parametrize("habits", ["attempts", "settlements"])
def test_an_event_file_gives_the_same_rows(dask: Cluster, market: Path, tmp_path: Path, habits: Habits) -> None:
    """Rows that two processes computed part by part are those of one pass over the stream."""
    source = partial(events.frames, market)
    rows, _ = replay_stream_by_entity(source, FEATURES, habits, Spread(dask, 5, tmp_path))
    expected = replay_all(source, FEATURES, habits)
    assert same(rows.matrix, expected.matrix)
    assert np.array_equal(rows.positions, expected.positions)


def test_a_dataset_is_the_same(dask: Cluster, market: Path) -> None:
    """A dataset that was loaded on a cluster has the rows and the facts of one that was not."""
    one, other = (load_dataset(market, FEATURES[:9], "attempts", cluster=cluster) for cluster in (dask, None))
    assert same(one.matrix, other.matrix)
    assert np.array_equal(one.card, other.card)


def test_a_snapshot_gives_the_same_rows_and_no_difference(dask: Cluster, tmp_path: Path) -> None:
    """Rows of a snapshot are the same on a cluster as in this process, and parity holds there."""
    opened = Place("lmdb", str(tmp_path / "store")).open(max_parked=10_000)
    snapshot = soak(opened, tmp_path, 1000)
    opened.close()
    here, there = (replay_snapshot(snapshot, FEATURES, Spread(cluster, 3)).rows for cluster in (LocalThreads(), dask))
    assert same(here.matrix, there.matrix)
    found = parity(open_snapshot(tmp_path / "snapshots", "latest"), None, Spread(dask))
    assert (found.equal, found.left_out) == (True, {})


def test_nobody_at_the_address_is_one_sentence() -> None:
    """An address at which no scheduler listens is refused in words."""
    with pytest.raises(BadSetting, match="no Dask scheduler answers"), cluster_at("tcp://127.0.0.1:9"):
        pass
