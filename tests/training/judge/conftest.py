"""One market, served once, for all tests that judge what was served."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.judge.served import serve_market
from training.snapshot.read import Snapshot, open_snapshot


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Serve a market; returns the folder of its registry, store and snapshots."""
    folder = tmp_path_factory.mktemp("served")
    serve_market(folder)
    return folder


@pytest.fixture(scope="session")
def registry(market: Path) -> Path:
    """Give the registry of the market."""
    return market / "registry"


@pytest.fixture(scope="session")
def snapshot(market: Path) -> Snapshot:
    """Give the snapshot of the market."""
    return open_snapshot(market / "snapshots", "latest")
