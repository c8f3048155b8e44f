"""Fixtures of the snapshot tests: every contract test runs on each store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store.lmdb import LmdbStore
from service.store.protocol import Store
from tests.store.conftest import aerospike_host, bench, place, server, store
from tests.store.places import Place

__all__ = ["aerospike_host", "bench", "place", "server", "store"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Name a folder of snapshots that is not there yet."""
    return tmp_path / "snapshots"


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Store]:
    """Open an empty embedded store, for what is the same on every store."""
    opened = Place("lmdb", str(tmp_path / "store")).open()
    assert isinstance(opened, LmdbStore)
    yield opened
    opened.close()
