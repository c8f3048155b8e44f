"""The commands `replay` and `parity`: the same rows however they are made, an exit code that says what was found."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from service.core.features import FEATURES
from service.exit_codes import ExitCode
from tests.parity_soak import soak
from tests.store.places import Place
from tests.training.judge.test_parity import tampered
from tests.training.test_cli import Shell, shell

__all__ = ["shell"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with market, registry and snapshot of a small soak."""
    path = tmp_path_factory.mktemp("soak")
    opened = Place("lmdb", str(path / "store")).open(max_parked=10_000)
    soak(opened, path, 500)
    opened.close()
    return path


def test_an_event_file_has_the_same_rows_part_by_part(shell: Shell, folder: Path, tmp_path: Path) -> None:
    """--partitions changes how rows are computed, not what they are."""
    market, out, again = folder / "market.parquet", tmp_path / "rows.parquet", tmp_path / "again.parquet"
    shown = shell.json("replay", market, out)
    assert shown["features"] == len(FEATURES)
    assert shell.json("replay", market, again, "--partitions", 3)["rows"] == shown["rows"]
    assert pl.read_parquet(out).equals(pl.read_parquet(again))


def test_a_snapshot_becomes_rows(shell: Shell, folder: Path, tmp_path: Path) -> None:
    """--snapshot replays what was recorded: a row for each purchase, in the order of the log."""
    out = tmp_path / "rows.parquet"
    shown = shell.json("replay", "--snapshot", "latest", "--snapshots", folder / "snapshots", out)
    rows = pl.read_parquet(out)
    assert rows.height == shown["rows"] > 0
    assert rows["position"].is_sorted()
    assert rows.columns[-1] == FEATURES[-1].name


@pytest.mark.parametrize("arguments", [["rows.parquet"], ["--snapshot", "latest", "events.parquet", "rows.parquet"]])
def test_events_come_from_one_place(shell: Shell, arguments: list[str]) -> None:
    """Neither an event file nor a snapshot, or both, is a wrong call."""
    code, _, err = shell("replay", *arguments)
    assert (code, "give EVENTS and OUT, or --snapshot and OUT" in err) == (ExitCode.USAGE, True)


def test_parity_that_holds_ends_well(shell: Shell, folder: Path, tmp_path: Path) -> None:
    """Nothing differs: exit code 0, and a file for the collector that says so."""
    where = ("--snapshots", folder / "snapshots", "--registry", folder / "registry")
    shown = shell.json("parity", *where, "--metrics", tmp_path / "parity.prom")
    assert (shown["equal"], shown["left_out"]) == (True, {})
    assert 'fraud_parity_differences{feature="user_tenure"} 0.0' in (tmp_path / "parity.prom").read_text()


def test_parity_that_fails_says_so(shell: Shell, folder: Path, tmp_path: Path) -> None:
    """A served amount that was recorded otherwise: exit code 1, the features and the first purchases by name."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(amount_minor=pl.col("amount_minor") + 1)

    tampered(folder, tmp_path / "changed", "decisions", change)
    code, out, err = shell("parity", "--snapshots", tmp_path / "changed", "--registry", folder / "registry")
    assert code == ExitCode.FAILED
    assert "amount_against_user" in out
    assert "differ from their replay" in err
