"""A worker beyond its bound of memory ends and is replaced; memory that is free is given back first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from service.exit_codes import ExitCode
from service.memory_bound import own_mb
from service.telemetry.families import from_line
from tests.fuzz_soak import anonymous_kb
from tests.running import ROOT
from tests.service.conftest import settings_in
from tests.service.lone_worker import lone_worker

_SOMETIMES_MUCH = """
import sys
import threading

from service.memory_bound import MemoryBound, own_mb
from tests.service import burst

exceeded = threading.Event()
bound = MemoryBound(own_mb() + 50, exceeded.set, look_s=0.05)
pieces = burst.take()
if sys.argv[1] == "free":
    burst.free(pieces)
bound.start()
print(exceeded.wait(2.0), bound.exceeded)
"""


def sometimes_much(what: str) -> str:
    """Take a hundred megabytes, twice the bound, free them or not, and look for two seconds."""
    command = [sys.executable, "-c", _SOMETIMES_MUCH, what]
    ran = subprocess.run(command, check=True, cwd=ROOT, timeout=120, capture_output=True, text=True)
    return ran.stdout.splitlines()[-1]


def test_memory_that_is_used_counts() -> None:
    """It is told once, and stays told."""
    assert sometimes_much("used") == "True True"


def test_memory_that_is_free_does_not_count() -> None:
    """What the allocator keeps of a burst that is over ends no worker."""
    assert sometimes_much("free") == "False False"


def test_it_is_what_the_kernel_says() -> None:
    """Anonymous memory, in megabytes."""
    own = own_mb()
    assert own is not None
    assert abs(own - (anonymous_kb(os.getpid()) >> 10)) <= 2


def test_a_worker_beyond_its_bound_drains_and_says_why(tmp_path: Path) -> None:
    """It ends with FAILED, which its supervisor takes for trouble, and its last report has counted it."""
    settings = settings_in(tmp_path, server={"drain_s": 1, "max_memory_mb": 1})
    with lone_worker(settings, reporting=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stderr is not None
        reports, log = worker.stdout.read(), worker.stderr.read()
        assert worker.wait(60) == ExitCode.FAILED
    told = [sample for family in from_line(reports.splitlines()[-1]) for sample in family.samples]
    assert [sample.value for sample in told if sample.name == "fraud_memory_exceeded_total"] == [1.0]
    said = [json.loads(line) for line in log.splitlines() if b"max_memory_mb" in line]
    assert [one["max_mb"] for one in said] == [1]
