"""The supervisor: starts the workers that share a port, starts those that ended again, and ends them all.

It loads neither gRPC nor a store: a worker is a fresh Python process that gets its settings through its
standard input, which stays open as its lifeline. See docs/decisions/0013.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from service.errors import BadSetting
from service.exit_codes import ExitCode
from service.settings import Settings
from service.telemetry.exposition import exposed
from service.telemetry.workers import Workers
from service.told import Told

_LOG = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 0.1
"""Wait before a worker that ended is started again; doubled each time until one has lived for `STEADY_S` or drained."""

LAST_PAUSE_S: Final = 10.0
"""The longest such wait."""

STEADY_S: Final = 60.0

STOP_S: Final = 7.0
"""Seconds beyond `server.drain_s` until a worker that was told to stop is killed; by itself it takes at most 5."""

_COMMAND: Final = (sys.executable, "-m", "service", "worker")


class Supervisor:
    """Keeps `server.workers` processes serving on one port."""

    def __init__(self, settings: Settings) -> None:
        """Get what it needs; nothing runs yet."""
        self._settings = settings
        self._metrics = Workers(settings.server.workers)
        self._code = ExitCode.OK
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._places: list[threading.Thread] = []
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._served = threading.Semaphore(0)
        self._all_served = threading.Event()

    def run(self) -> ExitCode:
        """Serve until SIGTERM or SIGINT, then drain all workers at once; call it in the main thread.

        A worker that ends before all have served once ends the service with its exit code. Returns FAILED
        also when a worker had to be killed, which happens `STOP_S` after `server.drain_s`. Raises BadSetting
        when a port cannot be had.
        """
        told = Told()
        with reserved(self._settings.server.listen) as listen, exposed(self._settings, self._metrics):
            threading.Thread(target=self._begin, args=(listen, told), name="begin", daemon=True).start()
            told.wait()
            code = self._code
            return code if self._stop() or code else ExitCode.FAILED

    # --- steps ----------------------------------------------------------------------------------

    def _brief(self, index: int, listen: str) -> dict[str, object]:
        """Return what a worker is told: all share the port, and report their metrics instead of serving them."""
        values = self._settings.model_dump(mode="json")
        values["server"]["listen"] = listen
        values["metrics_port"] = 0
        return {"index": index, "settings": values, "reporting": bool(self._settings.metrics_port)}

    def _begin(self, listen: str, told: Told) -> None:
        """Start one worker, then the others: what is wrong with the settings is said once."""
        for index in range(self._settings.server.workers):
            brief = self._brief(index, listen)
            place = threading.Thread(target=self._mind, args=(index, brief, told), name=f"place-{index}")
            with self._starting:
                if self._stopping.is_set():
                    return
                self._places.append(place)
                place.start()
            if index == 0:
                self._served.acquire()
        for _ in range(self._settings.server.workers - 1):
            self._served.acquire()
        self._all_served.set()
        sys.stdout.write(f"listening on port {listen.rpartition(':')[2]}\n")
        sys.stdout.flush()

    def _mind(self, index: int, brief: dict[str, object], told: Told) -> None:
        """Keep one worker running, in a thread of its own."""
        pause_s, restarts = FIRST_PAUSE_S, 0
        while True:
            begun_s = time.monotonic()
            worker = self._start(index)
            if worker is None:
                return
            code = self._follow(index, worker, brief)
            self._metrics.ended(index)
            if self._stopping.is_set():
                return
            if not self._all_served.is_set():
                self._code = ExitCode(code) if code in set(ExitCode) and code else ExitCode.FAILED
                told.tell()
                return
            # One that drained was told to stop by somebody else, as in a rolling restart: no sign of trouble.
            if code == ExitCode.OK or time.monotonic() - begun_s > STEADY_S:
                pause_s = FIRST_PAUSE_S
            _LOG.error("worker ended", worker=worker.pid, code=code, restarts=restarts, again_in_s=pause_s)
            if self._stopping.wait(pause_s):
                return
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
            restarts += 1

    def _start(self, index: int) -> subprocess.Popen[bytes] | None:
        """Start a worker, unless all are to end."""
        # The settings come through the pipe, whole: the environment and the file are not asked again.
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("FRAUD_")}
        with self._starting:
            if self._stopping.is_set():
                return None
            worker = subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)  # noqa: S603  ourselves
            self._running[index] = worker
            return worker

    def _follow(self, index: int, worker: subprocess.Popen[bytes], brief: dict[str, object]) -> int:
        """Tell a worker what to do, listen to its reports, and return its exit code when it ends."""
        assert worker.stdin is not None
        assert worker.stdout is not None
        with suppress(BrokenPipeError):  # it ended at once, and its exit code tells why
            worker.stdin.write(json.dumps(brief).encode() + b"\n")
            worker.stdin.flush()
        if worker.stdout.readline():
            self._served.release()
        for line in worker.stdout:
            self._metrics.tell(index, line)
        code = worker.wait()
        worker.stdout.close()
        with suppress(BrokenPipeError):
            worker.stdin.close()
        return code

    def _stop(self) -> bool:
        """End all workers at once; returns whether none had to be killed and none failed at the end."""
        with self._starting:
            self._stopping.set()
        running = [worker for worker in self._running.values() if worker.poll() is None]
        for worker in running:
            worker.send_signal(signal.SIGTERM)
        by_s = time.monotonic() + self._settings.server.drain_s + STOP_S
        for place in self._places:
            place.join(max(by_s - time.monotonic(), 0.0))
        for worker in running:
            if worker.poll() is None:
                _LOG.error("worker killed because it did not end", worker=worker.pid)
                worker.kill()
        for place in self._places:
            place.join()
        codes = [worker.returncode for worker in running]
        _LOG.info("all workers ended", codes=codes)
        return not any(codes)


@contextmanager
def reserved(listen: str) -> Iterator[str]:
    """Hold a port that workers can listen on, without listening: gives `host:port`, a free one for port 0.

    A connection goes to those alone who listen. Held for as long as the service lives, the port is no
    other program's while all its workers start again. Raises BadSetting when it cannot be had.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise BadSetting(f"setting server.listen: several workers share a host:port, and {listen} is none")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        holder = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BadSetting(f"setting server.listen: {listen} is no address here: {error.strerror}") from error
    with holder:
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(address)
        except OSError as error:
            raise BadSetting(f"setting server.listen: cannot listen on {listen}: {error.strerror}") from error
        yield f"{host}:{holder.getsockname()[1]}"
