"""A process is told to stop by a signal, by a thread of its own, and by the end of its lifeline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from service.told import Told
from tests.tree.files import ROOT

_WAIT = """
import sys, threading
from service.told import Told
told = Told(0)
for _ in range(8):
    threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
print("waiting", flush=True)
told.wait()
print("told", flush=True)
"""


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[str]]:
    """Run a process whose other threads keep busy while it waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait(waiting: subprocess.Popen[str], number: signal.Signals) -> None:
    """However busy its threads are, and whichever of them the signal finds."""
    waiting.send_signal(number)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "told\n"


def test_the_end_of_the_lifeline_ends_the_wait(waiting: subprocess.Popen[str]) -> None:
    """Its other end is closed, as when the process that holds it dies."""
    assert waiting.stdin is not None
    waiting.stdin.close()
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "told\n"


def test_a_thread_ends_the_wait() -> None:
    """And once told, it stays told."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        told = Told()
        threading.Timer(0.01, told.tell).start()
        told.wait()
        told.wait()
    finally:
        os.close(signal.set_wakeup_fd(-1))
        for number, handler in before.items():
            signal.signal(number, handler)
