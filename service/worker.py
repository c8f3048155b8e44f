"""A worker: one process that serves until it is told to stop, then drains within a bound.

It is told by SIGTERM or SIGINT, or by the end of its lifeline: a pipe whose other end its supervisor
holds, so that the end of the supervisor, however it comes, is the end of its workers.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Final

from service.app import App
from service.exit_codes import ExitCode
from service.logs import configure
from service.settings import Settings
from service.told import Told

STOP_S: Final = 5.0
"""Seconds beyond `server.drain_s` that a worker gets to keep what waits; then it ends, finished or not."""


def work(settings: Settings, *, restarts: int = 0, lifeline: int | None = None) -> None:
    """Serve until told to stop, then drain; prints the port once it answers.

    `restarts` tells how often this worker's predecessors ended, `lifeline` is a descriptor whose end ends it. It
    ends within `server.drain_s` + `STOP_S` of being told. Call it in the main thread. Raises BadSetting.
    """
    configure(settings.log_level)
    told = Told(lifeline)
    app = App(settings)
    app.metrics.worker_restarts.inc(restarts)
    app.start()
    sys.stdout.write(f"listening on port {app.server.port}\n")
    sys.stdout.flush()
    told.wait()
    give_up = threading.Timer(settings.server.drain_s + STOP_S, os._exit, (ExitCode.FAILED,))
    give_up.daemon = True
    give_up.start()
    app.stop()
    give_up.cancel()


def work_as_told() -> None:
    """Serve with what a supervisor tells on standard input, which stays open as the lifeline. Raises BadSetting."""
    told = json.loads(_line(sys.stdin.fileno()))
    work(Settings(**told["settings"]), restarts=told["restarts"], lifeline=sys.stdin.fileno())


def _line(descriptor: int) -> bytes:
    """Read a line without reading ahead: what follows is the lifeline's."""
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        return file.readline()
