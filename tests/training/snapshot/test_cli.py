"""The commands on snapshots: from a store to an event file, with their exit codes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from service.exit_codes import ExitCode
from tests.store.places import Place
from tests.training.snapshot.scenes import purchases, record
from tests.training.test_cli import Shell
from training.data.events import about
from training.snapshot.folder import read_manifest

COMMANDS = ("snapshot", "snapshots", "snapshots delete", "snapshots export", "snapshots restore", "verify")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path) -> Shell:
    """Return a shell on a store that holds forty purchases."""
    place = Place("lmdb", str(tmp_path / "store"))
    store = place.open()
    record(store, purchases(40, "a", days=3, amount_minor=501))
    store.close()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FRAUD_STORE__LMDB__PATH", place.where)
    monkeypatch.setenv("FRAUD_STORE__LMDB__MAX_SIZE_BYTES", str(1 << 30))
    monkeypatch.setenv("FRAUD_SNAPSHOTS", str(folder))
    return Shell(monkeypatch, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_a_worked_example(shell: Shell, command: str) -> None:
    """The last line of every help is a call that works."""
    code, out, _ = shell(*command.split(), "--help")
    assert code == ExitCode.OK
    assert f"python -m training {command}" in out.strip().splitlines()[-1]


def test_from_a_store_to_an_event_file(shell: Shell, tmp_path: Path) -> None:
    """Take a snapshot, and nothing when nothing is new; list, verify, write as an event file, delete."""
    taken = shell.json("snapshot", "--notes", "nightly")
    assert (taken["id"], taken["made"], taken["events"], taken["decisions"]) == ("s000001", True, 40, 40)
    again = shell.json("snapshot")
    assert (again["id"], again["made"], again["new_bytes"]) == ("s000001", False, 0)
    assert "nothing is new" in shell("snapshot")[1]
    [line] = shell.json("snapshots")
    assert (line["id"], line["notes"], line["bytes_new"]) == ("s000001", "nightly", taken["new_bytes"])
    assert shell.json("verify")["findings"] == []
    assert shell.json("snapshots", "export", "latest", tmp_path / "events.parquet")["events"] == 40
    assert about(tmp_path / "events.parquet").origin["id"] == "s000001"
    assert stat.S_IMODE((tmp_path / "events.parquet").stat().st_mode) == 0o600
    assert shell.json("snapshots", "delete", "s000001")["bytes"] == taken["new_bytes"]
    assert shell.json("snapshots") == []


def test_a_damaged_file_is_named(shell: Shell, folder: Path) -> None:
    """Verify ends with 1 and names the file, for people and as JSON."""
    shell.json("snapshot")
    damaged = folder / read_manifest(folder, "latest").partitions[0].path
    damaged.write_bytes(damaged.read_bytes().replace(b"PAR1", b"PAR2"))
    code, _, err = shell("verify", "latest")
    assert (code, str(damaged) in err) == (ExitCode.FAILED, True)
    code, out, _ = shell("verify", "s000001", "--json")
    assert code == ExitCode.FAILED
    assert json.loads(out)["findings"][0]["path"] == damaged.relative_to(folder).as_posix()


@pytest.mark.parametrize("command", [("snapshots", "delete", "s000009"), ("verify", "s000009"), ("verify", "latest")])
def test_what_is_not_there_is_a_bad_setting(shell: Shell, command: tuple[str, ...]) -> None:
    """A snapshot that does not exist is one sentence and exit code 4."""
    shell("snapshots")
    code, _, err = shell(*command)
    assert (code, err.count("\n")) == (ExitCode.BAD_SETTING, 1)
    assert "there is no" in err


def test_a_bad_id_is_a_sentence(shell: Shell, tmp_path: Path) -> None:
    """An id that is none names what there is."""
    shell.json("snapshot")
    code, _, err = shell("snapshots", "export", "../s000001", tmp_path / "out")
    assert code == ExitCode.BAD_SETTING
    assert "there are s000001" in err
