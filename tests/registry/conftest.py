"""What tests of remote registries share: one object store, and a bucket for each test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.registry.bucket import Remote, environment, s3_server

_BUCKETS: Final = count(1)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that plans faults of the object store."""
    return tmp_path_factory.mktemp("plan") / "plan"


@pytest.fixture(scope="module")
def address(plan: Path) -> Iterator[str]:
    """Serve S3 for the tests of a file, and let this process reach it."""
    with s3_server(plan) as served, environment(served):
        yield served


@pytest.fixture
def remote(address: str, tmp_path: Path) -> Remote:
    """Return an empty bucket; its name is never used again, as connections to it are kept."""
    return Remote(address, f"models-{next(_BUCKETS)}", tmp_path)
