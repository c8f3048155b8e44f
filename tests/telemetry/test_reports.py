"""One port for all workers: what they counted is told, also of those that ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from service.client import FraudClient
from service.exit_codes import ExitCode
from service.registry.promotion import promote
from tests.prometheus import free_port, samples, scraped
from tests.registry.build import build_artifact
from tests.running import ROOT, running, wait_until
from tests.service.bad import purchase

CALLS = 30
"""No more than `MAX_ROWS` of the observer: of more that are counted in one step it does not look at every row."""


def counted(port: int, name: str = 'fraud_call_seconds_count{code="OK",method="Score"}') -> float:
    """Return a sum over all workers, 0 for what was not told yet."""
    return samples(scraped(port)).get(name, 0.0)


def has_counted(port: int, calls: int) -> bool:
    """Return whether so many calls are told."""
    return counted(port) == calls


def restarted(port: int, times: int) -> bool:
    """Return whether workers ended so often, and all tell of themselves again."""
    told = samples(scraped(port))
    ended = sum(value for name, value in told.items() if name.startswith("fraud_worker_restarts_total"))
    return ended == times and sum(name.startswith("fraud_worker_report_age_seconds") for name in told) == 2


def started(folder: Path, workers: str, port: int) -> subprocess.CompletedProcess[str]:
    """Start another service that wants the port for its metrics; returns how that ended."""
    environment = {
        "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
        "FRAUD_SERVER__RUN_PATH": str(folder / "other"),
        "FRAUD_STORE__LMDB__PATH": str(folder / "other-store"),
        "FRAUD_REGISTRY__PATH": str(folder / "registry"),
        "FRAUD_METRICS_PORT": str(port),
    }
    return subprocess.run(
        [sys.executable, "-m", "service", "serve", "--workers", workers],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_no_count_is_lost_with_a_worker(tmp_path: Path) -> None:
    """Of one that is told to stop all calls are told, of one that is killed those it had reported; sums never fall."""
    promote(tmp_path / "registry", build_artifact(tmp_path / "registry"), "a test", "first version")
    port = free_port()
    with running(tmp_path, 2, FRAUD_METRICS_PORT=str(port), FRAUD_SERVER__DRAIN_S="1") as service:
        with FraudClient(service.target, score_deadline_ms=10_000) as client:
            for number in range(CALLS):
                client.score(purchase(purchase_id=f"p-{number}"), record=number % 5 == 0)
        first, second = service.workers()
        os.kill(first, signal.SIGTERM)
        os.kill(second, signal.SIGTERM)
        wait_until(partial(restarted, port, 2))
        assert counted(port) == CALLS
        assert counted(port, 'fraud_decisions_total{decision="APPROVE"}') == CALLS
        assert counted(port, "fraud_rows_total") == CALLS
        with FraudClient(service.target, score_deadline_ms=10_000) as client:
            for number in range(CALLS):
                client.score(purchase(purchase_id=f"q-{number}"))
        wait_until(partial(has_counted, port, 2 * CALLS))
        os.kill(service.workers()[0], signal.SIGKILL)
        wait_until(partial(restarted, port, 3))
        assert counted(port) == 2 * CALLS
        assert service.stop() == ExitCode.OK


def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path) -> None:
    """A service whose metrics cannot be had does not start, whether it has one worker or several."""
    promote(tmp_path / "registry", build_artifact(tmp_path / "registry"), "a test", "first version")
    port = free_port()
    with running(tmp_path, 1, FRAUD_METRICS_PORT=str(port)) as service:
        wait_until(partial(has_counted, port, 0))
        for workers in ("1", "2"):
            failed = started(tmp_path, workers, port)
            assert failed.returncode == ExitCode.BAD_SETTING
            assert f"error: setting metrics_port: cannot listen on 127.0.0.1:{port}" in failed.stderr
        assert service.stop() == ExitCode.OK
