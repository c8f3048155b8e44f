"""A service in processes of its own, as an operator starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.client import FraudClient
from service.pb import fraud_pb2 as pb

ROOT = Path(__file__).parent.parent


class Running:
    """A service that was started with several workers; what it logs goes to a file."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        """Take note of a process that listens."""
        self.process = process
        self.port = port
        self.target = f"127.0.0.1:{port}"
        self._log = log

    def lineup(self) -> list[pb.WorkerLineup]:
        """Return what every worker has live, asked of one of them over a new connection."""
        with FraudClient(self.target, record_deadline_ms=10_000) as client:
            return list(client.lineup().workers)

    def workers(self) -> list[int]:
        """Return the process ids of the workers that tell of themselves."""
        return [worker.worker for worker in self.lineup()]

    def log(self) -> str:
        """Return what it logged until now."""
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> int:
        """Stop it as a process manager would; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def running(folder: Path, workers: int = 2, **environment: str) -> Iterator[Running]:
    """Run a service that lives in a folder, with its settings given as the environment names them."""
    log = folder / "service.log"
    values = {
        "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
        "FRAUD_SERVER__BUDGET_MS": "5000",
        "FRAUD_SERVER__RUN_PATH": str(folder / "run"),
        "FRAUD_STORE__LMDB__PATH": str(folder / "store"),
        "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": str(1 << 28),
        "FRAUD_REGISTRY__PATH": str(folder / "registry"),
        "FRAUD_REGISTRY__POLL_MS": "50",
        **environment,
    }
    command = [sys.executable, "-m", "service", "serve", "--workers", str(workers)]
    with log.open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env={**os.environ, **values}
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text(encoding="utf-8")
        yield Running(process, int(line.rsplit(" ", 1)[1]), log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        process.stdout.close()


def wait_until(holds: Callable[[], bool], limit_s: float = 60.0) -> float:
    """Wait until something holds and return how many seconds that took; fails after `limit_s`."""
    begun_s = time.monotonic()
    while not holds():
        assert time.monotonic() - begun_s < limit_s, "it never came to hold"
        time.sleep(0.02)
    return time.monotonic() - begun_s
