"""Fixtures of the store tests: every contract test runs on each store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.store.protocol import Store
from tests import asd
from tests.store.places import Place


class Bench:
    """Opens the store under test, again and again on the same data, and closes what is still open at the end."""

    def __init__(self, place: Place) -> None:
        """Open nothing yet."""
        self.place = place
        self._opened: list[Store] = []

    def open(self, **settings: Any) -> Store:
        """Open the store; close it before it is opened again."""
        store = self.place.open(**settings)
        self._opened.append(store)
        return store

    def close(self) -> None:
        """Close everything."""
        for store in self._opened:
            store.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[asd.Asd]:
    """Start a scratch Aerospike server that tests may stall."""
    if not asd.installed():
        pytest.skip("put the Aerospike server `asd` on the PATH to run this on Aerospike")
    process = asd.Asd(tmp_path_factory.mktemp("asd"))
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def aerospike_host(request: pytest.FixtureRequest) -> str:
    """Name the server of FRAUD_TEST_AEROSPIKE (host:port), else a scratch one."""
    named = os.environ.get("FRAUD_TEST_AEROSPIKE")
    if named:
        return named
    if not asd.installed():
        pytest.skip("set FRAUD_TEST_AEROSPIKE=host:port, or put `asd` on the PATH, to run this on Aerospike")
    started: asd.Asd = request.getfixturevalue("server")
    return started.host


@pytest.fixture(params=["lmdb", "aerospike"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Give an empty place of each kind."""
    if request.param == "lmdb":
        return Place("lmdb", str(tmp_path / "store"))
    return Place("aerospike", request.getfixturevalue("aerospike_host"), f"t{uuid.uuid4().hex[:12]}-")


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    """Give a way to open the store with settings of the test's own, and to open it again."""
    made = Bench(place)
    yield made
    made.close()


@pytest.fixture
def store(bench: Bench) -> Store:
    """Open an empty store."""
    return bench.open()
