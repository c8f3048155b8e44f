"""Workers that are killed and told to stop under load; `tests.kill_soak` does it fifty times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import asd
from tests.broken import Cluster, Directory
from tests.kill_soak import Result, soak
from tests.traffic import AMISS


def assert_unnoticed(result: Result) -> None:
    """Check that callers noticed nothing and that all they were told is true."""
    assert result.errors == {}
    assert {what: result.kept[what] for what in AMISS} == dict.fromkeys(AMISS, 0)
    assert [end.how for end in result.ends] == ["SIGKILL", "SIGKILL", "SIGTERM"]
    assert result.exit_code == 0


def test_callers_and_an_embedded_store_do_not_notice(tmp_path: Path) -> None:
    """Two kills and a stop under scores and records: no error, each acknowledged event once, all profiles right."""
    assert_unnoticed(soak(tmp_path, Directory(tmp_path), 2, 2, 1))


def test_callers_and_a_clustered_store_do_not_notice(tmp_path: Path) -> None:
    """The same on Aerospike, where a worker that was killed leaves events half applied, and others finish them."""
    if not asd.installed():
        pytest.skip("put the Aerospike server `asd` on the PATH to run this on Aerospike")
    store = Cluster(tmp_path / "asd")
    try:
        assert_unnoticed(soak(tmp_path, store, 2, 2, 1))
    finally:
        store.stop()
