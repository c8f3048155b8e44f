"""Servers in processes of their own, on the first processor, and what they cost.

Whoever measures stands on the second one with the generator and the store (`stand_aside`), so that what is
measured has the first to itself. Every figure is CPU time of the server's process, which other work on the
machine stretches less than elapsed time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.prometheus import samples, scraped

ROOT: Final = Path(__file__).parent.parent.parent
SERVER_CPU: Final = 0
OTHER_CPU: Final = 1
_STOP_S: Final = 30


class Server(NamedTuple):
    """A process that serves, and its port."""

    process_id: int
    port: int
    metrics_port: int = 0

    def counted(self, metric: str) -> float:
        """Return a counter of a service, summed over its labels."""
        found = samples(scraped(self.metrics_port))
        return sum(value for name, value in found.items() if name.partition("{")[0] == metric)

    def cpu_s(self) -> float:
        """Return the CPU seconds that it has used, in steps of 10 ms."""
        fields = self._figures()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def page_faults(self) -> int:
        """Return how often it touched a page that it had not mapped yet, and which was in memory."""
        return int(self._figures()[7])

    def _figures(self) -> list[str]:
        """Return the fields of its line of state, from the third one on: see proc(5)."""
        return Path(f"/proc/{self.process_id}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()


def stand_aside() -> None:
    """Move this process, and whatever it starts from now on, to the second processor, if there is one."""
    if OTHER_CPU in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {OTHER_CPU})


@contextmanager
def server(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run a server on the first processor; it tells its port at the end of its first line."""
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CPU), *command],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{command} did not start"
        metrics_port = int((environment or {}).get("FRAUD_METRICS_PORT", 0))
        yield Server(process.pid, int(line.rsplit(" ", 1)[1]), metrics_port)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def empty_handler(threads: int = 4) -> list[str]:
    """Return the command of a server that does nothing."""
    return [sys.executable, "-m", "tests.bench.handlers", "empty", "--threads", str(threads)]


def bare_handler(store: str, job: Path, threads: int) -> list[str]:
    """Return the command of a server that reads and predicts, and does nothing else."""
    head = [sys.executable, "-m", "tests.bench.handlers", "bare", "--threads", str(threads)]
    return [*head, "--store", store, "--job", str(job)]


SERVICE: Final = [sys.executable, "-m", "service", "serve"]


def service_environment(folder: Path, metrics_port: int, **settings: str) -> dict[str, str]:
    """Return the settings of a service with the model of a folder: one worker, metrics and decision log on.

    Nothing may be given up or refused while the most that a core can do is measured, so the budget is wide: a
    degraded answer costs less than a whole one. `settings` are those of the store.
    """
    return {
        "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
        "FRAUD_SERVER__WORKERS": "1",
        "FRAUD_SERVER__BUDGET_MS": "5000",
        "FRAUD_SERVER__MAX_WAIT_MS": "5000",
        "FRAUD_SERVER__MAX_STANDING_WAIT_MS": "5000",
        "FRAUD_SERVER__RUN_PATH": str(folder / f"run-{metrics_port}"),
        "FRAUD_REGISTRY__PATH": str(folder / "registry"),
        "FRAUD_INGEST__CLOCK": "event",
        "FRAUD_METRICS_PORT": str(metrics_port),
        "FRAUD_LOG_LEVEL": "error",
        **settings,
    }


def lmdb_settings(path: Path, max_size_bytes: int = 1 << 34) -> dict[str, str]:
    """Return the settings that name an embedded store."""
    return {
        "FRAUD_STORE__KIND": "lmdb",
        "FRAUD_STORE__LMDB__PATH": str(path),
        "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": str(max_size_bytes),
    }


def aerospike_settings(host: str, set_prefix: str) -> dict[str, str]:
    """Return the settings that name a clustered store, with time for reads under the most load."""
    return {
        "FRAUD_STORE__KIND": "aerospike",
        "FRAUD_STORE__AEROSPIKE__HOSTS": f'["{host}"]',
        "FRAUD_STORE__AEROSPIKE__SET_PREFIX": set_prefix,
        "FRAUD_STORE__AEROSPIKE__READ_TIMEOUT_MS": "1000",
        "FRAUD_STORE__AEROSPIKE__READ_SOCKET_TIMEOUT_MS": "1000",
        "FRAUD_BREAKER__SLOW_MS": "1000",
    }
