"""`python -m service rebuild`: what is printed, how it ends, and that directories are exchanged or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.core.event import EntityKey, EntityKind
from service.exit_codes import ExitCode
from service.store.protocol import Replacement, Status, Store, Submission
from tests.make import make_image, make_purchase, make_stream
from tests.store.oracle import assert_whole, settle, whole_log
from tests.store.places import Place
from tests.tree.files import ROOT

USER = EntityKey(EntityKind.USER, "u-1")


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """Open a store for a while: a process opens a directory once."""
    store = Place("lmdb", str(path)).open()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a store with a history."""
    path = tmp_path / "store"
    with opened(path) as store:
        settle(store, [Submission(event) for event in make_stream(5, 80)])
    return path


def updates_of(store: Store, key: EntityKey) -> int:
    """Return how many updates the log has of an entity."""
    return sum(key in dict(one.revisions) for one in whole_log(store))


def start(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command on a store."""
    return subprocess.Popen(
        [sys.executable, "-m", "service", "rebuild", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "FRAUD_STORE__LMDB__PATH": str(path), "FRAUD_STORE__KIND": "lmdb"},
    )


def rebuild(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command on a store."""
    with start(path, *arguments) as process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def document(path: Path, *arguments: str) -> dict[str, Any]:
    """Run the command and return what it prints for machines."""
    ended = rebuild(path, "--json", *arguments)
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer | {"code": ended.returncode}


def damage(path: Path) -> None:
    """Make a profile say something else."""
    with opened(path) as store:
        image = store.profile(USER)
        assert store.replace_images([Replacement(USER, image[1], (*image[:4], image[4] + 1, *image[5:]))]) == [True]


def test_a_store_that_is_right_is_said_to_be(path: Path) -> None:
    """Every profile is named as the same, and the exit code is 0."""
    for arguments in ((), ("--verify",)):
        answer = document(path, *arguments)
        assert answer["code"] == ExitCode.OK
        assert answer["profiles"]["same"] == sum(answer["profiles"].values())
        assert answer["named"] == {}


def test_damage_is_named_and_then_repaired(path: Path) -> None:
    """`--verify` exits 1 and names the entity; without it the profile is put right."""
    damage(path)
    verified = document(path, "--verify")
    assert (verified["code"], verified["named"]) == (ExitCode.FAILED, {"different": ["user u-1"]})
    shown = rebuild(path, "--verify")
    assert shown.returncode == ExitCode.FAILED
    assert "different: user u-1" in shown.stderr
    repaired = document(path)
    assert (repaired["code"], repaired["named"]) == (ExitCode.OK, {"repaired": ["user u-1"]})
    with opened(path) as store:
        assert_whole(store)


def test_events_go_on_while_a_store_is_rebuilt(path: Path) -> None:
    """Another process rebuilds, of which whoever records notices nothing; every profile is whole afterwards."""
    damage(path)
    with opened(path) as store, start(path, "--json", "--max-memory-mb", "1") as process:
        recorded = 0
        while process.poll() is None:
            outcomes = settle(store, [Submission(make_purchase(f"next-{recorded}", user_id=f"u-{recorded % 3}"))])
            assert outcomes[0].status is Status.APPLIED
            recorded += 1
        assert process.returncode == ExitCode.OK
        assert recorded
        assert_whole(store)


def test_a_rebuild_that_is_killed_is_run_again(path: Path, tmp_path: Path) -> None:
    """Killed while it carries logs into a fresh place, it goes on from there; nothing was exchanged before."""
    fresh = tmp_path / "fresh"
    with opened(path) as store:
        settle(store, [Submission(make_purchase(f"more-{number}")) for number in range(3000)])
        log = whole_log(store)
    with start(path, "--into", str(fresh), "--switch", "--max-events-per-s", "1000") as process:
        while not (fresh / "data.mdb").exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(1.5)
        process.kill()
    with opened(path) as store:
        assert whole_log(store) == log
    assert document(path, "--into", str(fresh), "--switch")["code"] == ExitCode.OK
    with opened(path) as store:
        assert assert_whole(store) == log


def test_a_doubtful_store_is_rebuilt_beside_and_exchanged(path: Path, tmp_path: Path) -> None:
    """The rebuilt store takes the name of the other in one step, which is kept under the fresh one's."""
    with opened(path) as store:
        old = make_image(USER, make_purchase())
        assert store.replace_images([Replacement(USER, store.profile(USER)[1], old)]) == [True]
    assert document(path)["code"] == ExitCode.FAILED
    fresh = tmp_path / "fresh"
    first = rebuild(path, "--into", str(fresh))
    assert (first.returncode, "run this again with --switch" in first.stderr) == (ExitCode.OK, True)
    with opened(path) as store:
        assert store.profile(USER) == old
        store.apply([Submission(make_purchase("meanwhile"))])
    second = document(path, "--into", str(fresh), "--switch")
    assert (second["code"], second["carried"]["events"]) == (ExitCode.OK, 1)
    # The damaged profile gave a revision anew: all its updates are there, and it is named.
    assert second["named"] == {"patched": ["user u-1"]}
    with opened(path) as store:
        assert store.profile(USER)[1] == updates_of(store, USER)
    with opened(fresh) as store:
        assert store.profile(USER)[1] == old[1] + 1


def test_nothing_is_exchanged_under_a_running_service(path: Path, tmp_path: Path) -> None:
    """`--switch` refuses, in a sentence, while another process has the store open."""
    with opened(path) as store:
        store.newest_event_ms()
        ended = rebuild(path, "--into", str(tmp_path / "fresh"), "--switch")
    assert ended.returncode == ExitCode.BAD_SETTING
    assert f"stop the service first, process {os.getpid()}" in ended.stderr
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--switch",), "--switch exchanges two directories: it needs --into"),
        (("--into", "fresh", "--verify"), "leave out --into"),
        (("--into-prefix", "fresh-"), "use --into"),
        (("--into", "fresh", "--into-prefix", "fresh-"), "use --into-prefix alone"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    """One sentence says what to ask for instead."""
    ended = rebuild(path, *arguments)
    assert ended.returncode == ExitCode.BAD_SETTING
    assert sentence in ended.stderr


def test_a_store_is_not_rebuilt_into_itself(path: Path) -> None:
    """The same directory under another name is still the same."""
    ended = rebuild(path, "--into", str(path / ".." / path.name))
    assert ended.returncode == ExitCode.BAD_SETTING
    assert "is the store itself" in ended.stderr
