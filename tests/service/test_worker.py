"""A worker by itself: it ends within its bound of being told, whatever it is at."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from service.exit_codes import ExitCode
from service.registry.promotion import promote
from service.store.lmdb import LmdbStore
from service.supervisor import FIRST_PAUSE_S
from tests.registry.build import build_artifact
from tests.running import Running, running, wait_until
from tests.service.conftest import settings_in
from tests.service.lone_worker import lone_worker
from tests.service.test_store_faults import locked


def test_a_worker_that_hangs_while_it_starts_ends_when_told(tmp_path: Path) -> None:
    """Its store cannot be opened, for somebody holds the lock of writers; told to stop it ends all the same."""
    settings = settings_in(tmp_path, server={"drain_s": 1})
    LmdbStore(settings.store.lmdb, "attempts", 10).close()
    with locked(settings.store.lmdb.path), lone_worker(settings) as worker:
        wait_until(lambda: opened(worker.pid, settings.store.lmdb.path))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == ExitCode.FAILED


def test_a_worker_that_drained_is_replaced_without_a_growing_pause(tmp_path: Path) -> None:
    """Told to stop again and again, as in a rolling restart, it is no crash loop: each pause is the first one."""
    promote(tmp_path / "registry", build_artifact(tmp_path / "registry"), "a test", "first version")
    with running(tmp_path, 2, FRAUD_SERVER__DRAIN_S="1") as service:
        wait_until(lambda: len(service.workers()) == 2)
        stays, goes = service.workers()
        for _ in range(2):
            os.kill(goes, signal.SIGTERM)
            goes = successor(service, stays, goes)
    ended = [json.loads(line) for line in service.log().splitlines() if '"worker ended"' in line]
    assert [one["again_in_s"] for one in ended] == [FIRST_PAUSE_S] * 2


def successor(service: Running, stays: int, goes: int) -> int:
    """Wait until another worker serves in the place of one that goes; returns its process id."""
    others: set[int] = set()

    def came() -> bool:
        # One answer must tell all: the next may be of a worker that has not heard of the new one yet.
        others.clear()
        others.update(set(service.workers()) - {stays})
        return len(others) == 1 and goes not in others

    wait_until(came)
    return others.pop()


def opened(process_id: int, store: Path) -> bool:
    """Tell whether a process has mapped a store: from then on it waits for the lock."""
    return str(store) in Path(f"/proc/{process_id}/maps").read_text(encoding="utf-8")
