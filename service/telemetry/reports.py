"""Reports: a worker tells its supervisor what it counted, on the pipe that is its standard output."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Final

import structlog
from prometheus_client.registry import Collector

from service.telemetry.families import collected, to_line

_LOG = structlog.get_logger(__name__)

REPORT_S: Final = 1.0
"""Seconds between two reports: what was counted since the last one is lost when a worker is killed."""


class Reports:
    """A thread that tells what a registry holds, once a second, and once more at the end."""

    def __init__(self, registry: Collector) -> None:
        """Get what it tells of; nothing is told before `start`."""
        self._registry = registry
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin to tell, when what stands on the pipe first is written."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Tell a last time; a supervisor that does not read holds nothing up for longer."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(REPORT_S)
            with suppress(BrokenPipeError):  # the supervisor is gone, and the lifeline tells of it
                self._tell()

    def _tell(self) -> None:
        try:
            line = to_line(collected(self._registry))
        except Exception:  # noqa: BLE001  a report that fails must not end those after it
            _LOG.exception("metrics not told")
            return
        left = memoryview(line)
        while left:  # not through `sys.stdout`: a thread that waits in there would make the interpreter's end fail
            left = left[os.write(sys.stdout.fileno(), left) :]
