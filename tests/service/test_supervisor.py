"""Several workers on one port: started, told apart, replaced when they end, and ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from service.client import FraudClient
from service.errors import BadSetting
from service.exit_codes import ExitCode
from service.registry.promotion import promote
from service.settings import Settings
from service.supervisor import reserved
from tests.registry.build import build_artifact
from tests.running import Running, running, wait_until
from tests.service.bad import purchase
from tests.tree.files import ROOT

NEVER_IN_THE_PARENT = ("cygrpc", "lmdb", "aerospike", "lightgbm")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    """Run a service of two workers with version 1 live."""
    promote(tmp_path / "registry", build_artifact(tmp_path / "registry"), "a test", "first version")
    with running(tmp_path, 2, FRAUD_SERVER__DRAIN_S="1") as started:
        wait_until(lambda: len(started.workers()) == 2)
        yield started


def replaced(service: Running, process_id: int) -> bool:
    """Return whether there are two workers, and a given one is none of them."""
    workers = service.workers()
    return len(workers) == 2 and process_id not in workers


def test_any_worker_answers_for_all(service: Running, tmp_path: Path) -> None:
    """GetLineup names both, each with what it has live; told to stop, they end as one and leave nothing behind."""
    lineup = service.lineup()
    assert [(one.lineup_revision, list(one.answer), one.reason) for one in lineup] == [(1, [1], "")] * 2
    assert service.process.pid not in {one.worker for one in lineup}
    maps = Path(f"/proc/{service.process.pid}/maps").read_text("ascii")
    assert [name for name in NEVER_IN_THE_PARENT if name in maps] == []
    assert service.stop() == ExitCode.OK
    assert list((tmp_path / "run").iterdir()) == []


def test_workers_can_be_kept_on_processors_of_their_own(tmp_path: Path) -> None:
    """Each is on one, and on another than its neighbour where there are two."""
    with running(tmp_path, 2, FRAUD_SERVER__PIN_WORKERS="true") as started:
        wait_until(lambda: len(started.workers()) == 2)
        allowed = [os.sched_getaffinity(worker) for worker in started.workers()]
    assert [len(one) for one in allowed] == [1, 1]
    assert len(set.union(*allowed)) == min(2, len(os.sched_getaffinity(0)))


def test_callers_do_not_notice_that_workers_end(service: Running) -> None:
    """One is killed and one is told to stop, under load: both are replaced, and no call fails."""
    errors: list[str] = []
    done = threading.Event()

    def ask(thread: int) -> None:
        with FraudClient(service.target, score_deadline_ms=10_000) as client:
            number = 0
            while not done.is_set():
                number += 1
                try:
                    client.score(purchase(purchase_id=f"p-{thread}-{number}"))
                except grpc.RpcError as error:
                    errors.append(str(error))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    before = service.workers()
    for process_id, how in zip(before, (signal.SIGKILL, signal.SIGTERM), strict=True):
        os.kill(process_id, how)
        wait_until(partial(replaced, service, process_id))
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not {*before, service.process.pid}.intersection(service.workers())
    assert service.log().count('"worker ended"') == 2
    assert service.stop() == ExitCode.OK


def test_workers_end_with_their_supervisor(service: Running, tmp_path: Path) -> None:
    """A supervisor that is killed leaves no orphans: its workers drain and go."""
    left = service.workers()
    service.process.kill()
    wait_until(lambda: not any(Path(f"/proc/{process_id}/cmdline").exists() for process_id in left))
    assert service.log().count('"stopped"') == 2
    assert list((tmp_path / "run").iterdir()) == []


def test_a_worker_that_does_not_end_is_killed(service: Running) -> None:
    """One that hangs does not hold up the end for longer than its bound, and the exit code tells of it."""
    stuck = service.workers()[0]
    os.kill(stuck, signal.SIGSTOP)
    assert service.stop() == ExitCode.FAILED
    assert not Path(f"/proc/{stuck}/cmdline").exists()
    assert "worker killed because it did not end" in service.log()


def test_what_is_wrong_with_the_settings_is_said_once(tmp_path: Path) -> None:
    """A store that cannot be opened ends the service at its start: one sentence, and the exit code for settings."""
    failed = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--workers", "2"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={
            **os.environ,
            "FRAUD_STORE__LMDB__PATH": "/proc/nowhere",
            "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
            "FRAUD_SERVER__RUN_PATH": str(tmp_path),
        },
    )
    assert failed.returncode == ExitCode.BAD_SETTING
    assert failed.stderr.count("error: ") == 1
    assert "/proc/nowhere" in failed.stderr


def test_settings_reach_a_worker_whole() -> None:
    """What a supervisor sends is what a worker gets: settings survive the way through JSON."""
    settings = Settings(scoring={"control_share": 0.1}, store={"lmdb": {"path": "/tmp/ü"}})
    assert Settings(**settings.model_dump(mode="json")) == settings


def test_a_port_is_held_and_nobody_listens() -> None:
    """Port 0 takes a free one, others may share it, and a connection finds nobody until they listen."""
    with reserved("127.0.0.1:0") as listen:
        host, _, port = listen.rpartition(":")
        assert host == "127.0.0.1"
        with reserved(listen) as again:
            assert again == listen
        with socket.socket() as caller, pytest.raises(ConnectionRefusedError):
            caller.connect((host, int(port)))


def test_a_port_that_cannot_be_had_is_named() -> None:
    """An address that is none, or that another program holds, is a bad setting."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for listen in (f"127.0.0.1:{other.getsockname()[1]}", "unix:/run/fraud.sock", "127.0.0.1", "192.0.2.1:0"):
            with pytest.raises(BadSetting, match=r"server\.listen"), reserved(listen):
                pass
