"""Backups of the embedded store: whole, taken while others write, there entirely or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from service.exit_codes import ExitCode
from service.settings import LmdbSettings
from service.store.lmdb import LmdbStore
from service.store.protocol import Submission
from tests.make import make_purchase
from tests.store.oracle import assert_whole
from tests.tree.files import ROOT


def open_store(path: Path) -> LmdbStore:
    """Open a store as the command would."""
    return LmdbStore(LmdbSettings(path=path, max_size_bytes=1 << 30), "attempts", 1000)


def back_up(path: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m service backup`."""
    named = {"FRAUD_STORE__LMDB__PATH": str(path), "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": str(1 << 30), **environment}
    return subprocess.run(
        [sys.executable, "-m", "service", "backup", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **named},
    )


def test_a_copy_taken_while_others_write_holds_all_that_was_acknowledged_before(tmp_path: Path) -> None:
    """It is a store, its profiles are what its own log makes of them, and nothing from before it is missing."""
    store, enough = open_store(tmp_path / "store"), threading.Event()
    before = [make_purchase(f"before-{number}", user_id=f"u-{number % 7}") for number in range(50)]
    store.apply([Submission(one) for one in before])

    def write() -> None:
        number = 0
        while not enough.is_set():
            store.apply([Submission(make_purchase(f"during-{number}", user_id=f"u-{number % 7}"))])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    done = back_up(tmp_path / "store", tmp_path / "copy")
    enough.set()
    writer.join()
    store.close()
    assert done.returncode == ExitCode.OK, done.stderr
    assert json.loads(done.stdout)["bytes"] == (tmp_path / "copy" / "data.mdb").stat().st_size
    copy = open_store(tmp_path / "copy")
    kept = {one.event.event_id for one in assert_whole(copy)}
    assert {one.event_id for one in before} <= kept
    copy.close()


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    """A second copy of the same name is refused, and the first stays as it is."""
    open_store(tmp_path / "store").close()
    assert back_up(tmp_path / "store", tmp_path / "copy").returncode == ExitCode.OK
    first = (tmp_path / "copy" / "data.mdb").read_bytes()
    refused = back_up(tmp_path / "store", tmp_path / "copy")
    assert (refused.returncode, (tmp_path / "copy" / "data.mdb").read_bytes()) == (ExitCode.BAD_SETTING, first)


def test_a_copy_of_nothing_is_refused(tmp_path: Path) -> None:
    """A path that is spelt wrong makes no empty store, and leaves nothing behind."""
    refused = back_up(tmp_path / "stoer", tmp_path / "copy")
    assert (refused.returncode, list(tmp_path.iterdir())) == (ExitCode.BAD_SETTING, [])


def test_a_cluster_is_told_what_to_do_instead(tmp_path: Path) -> None:
    """Aerospike has no directory to copy; the sentence names what keeps it."""
    refused = back_up(tmp_path / "store", tmp_path / "copy", FRAUD_STORE__KIND="aerospike")
    assert refused.returncode == ExitCode.BAD_SETTING
    assert "training snapshot" in refused.stderr
