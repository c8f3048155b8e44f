"""A worker: one process that serves until it is told to stop, then drains within a bound.

It is told by SIGTERM or SIGINT, or by the end of its lifeline: a pipe whose other end its supervisor
holds, so that the end of the supervisor, however it comes, is the end of its workers.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from functools import partial
from typing import Final

from service.app import App
from service.exit_codes import ExitCode
from service.heap import keep_small
from service.logs import configure
from service.memory_bound import MemoryBound
from service.settings import Settings
from service.telemetry.reports import Reports
from service.told import Told

STOP_S: Final = 5.0
"""Seconds beyond `server.drain_s` that a worker gets to keep what waits; then it ends, finished or not."""

LAST_REPORT_S: Final = 0.5
"""Seconds that the last report may take; less than what a worker has left when its stop took as long as it may."""


SWITCH_S: Final = 0.00005
"""Seconds after which a thread that runs Python gives way to one that waits, 5 milliseconds if nobody says.

The lane lets go of the interpreter for each look at the port and each record that it reads, seven times a score; while
another thread records a purchase, it would wait so long every time."""


def work(settings: Settings, index: int = 0, *, reporting: bool = False, lifeline: int | None = None) -> None:
    """Serve until told to stop, then drain; prints the port once it answers, and its metrics if `reporting`.

    `index` is its place among the workers, from 0. `lifeline` is a descriptor whose end ends it. The process ends
    within `server.drain_s` + `STOP_S` of being told, also while it starts. Beyond `server.max_memory_mb` it is as if
    told, and ends the process with FAILED. Call it in the main thread, as its last act. Raises BadSetting.
    """
    if settings.server.pin_workers:
        _pin(index)
    keep_small()
    configure(settings.log_level)
    sys.setswitchinterval(SWITCH_S)
    told = Told(lifeline)
    # From here on: to be told while it starts bounds a start that hangs, and what joins threads at the very end.
    late_s = settings.server.drain_s + STOP_S
    threading.Thread(target=_give_up, args=(told, late_s), name="give-up", daemon=True).start()
    app = App(settings)
    memory = MemoryBound(settings.server.max_memory_mb, partial(_exceed, app, told))
    memory.start()
    app.start()
    sys.stdout.write(f"listening on port {app.server.port}\n")
    sys.stdout.flush()
    reports = Reports(app.metrics.registry)
    if reporting:
        reports.start()
    told.wait()
    app.stop()
    if reporting:
        reports.stop(LAST_REPORT_S)
    if memory.exceeded:
        sys.exit(ExitCode.FAILED)


def _exceed(app: App, told: Told) -> None:
    """Count that memory is beyond its bound, and stop."""
    app.metrics.memory_exceeded.inc()
    told.tell()


def _pin(index: int) -> None:
    """Keep this thread, and those that it will start, on one processor: one interpreter, one processor's caches."""
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[index % len(processors)]})


def _give_up(told: Told, after_s: float) -> None:
    """End the process, finished or not, so long after it was told to stop."""
    told.wait()
    time.sleep(after_s)
    os._exit(ExitCode.FAILED)


def work_as_told() -> None:
    """Serve with what a supervisor tells on standard input, which stays open as the lifeline. Raises BadSetting."""
    told = json.loads(_line(sys.stdin.fileno()))
    settings = Settings(**told["settings"])
    work(settings, told["index"], reporting=told["reporting"], lifeline=sys.stdin.fileno())


def _line(descriptor: int) -> bytes:
    """Read a line without reading ahead: what follows is the lifeline's."""
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        return file.readline()
