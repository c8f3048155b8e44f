"""A worker without a supervisor: told what a supervisor tells, it lives until the block ends or it ends by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from service.settings import Settings
from tests.running import ROOT


@contextmanager
def lone_worker(
    settings: Settings, *, reporting: bool = False, stdout: int | None = None, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start one; its standard input stays open, as the lifeline."""
    brief = {"settings": settings.model_dump(mode="json"), "index": 0, "reporting": reporting}
    command = [sys.executable, "-m", "service", "worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, cwd=ROOT) as worker:
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(brief).encode() + b"\n")
        worker.stdin.flush()
        yield worker
