"""A short run of the soak: see tests/reload_soak.py."""

from __future__ import annotations

from pathlib import Path

from tests.reload_soak import soak


def test_changes_under_load_neither_fail_nor_lie(tmp_path: Path) -> None:
    """Every answer is that of the versions and the revision that it names, none older than what is live everywhere."""
    result = soak(tmp_path, changes=12, workers=2, threads=3, trees=10)
    assert result["calls"] > 0
    assert (result["failures"], result["wrongs"], result["stale"]) == ({}, {}, 0)
    assert (result["workers_kept"], result["exit_code"]) == (True, 0)
