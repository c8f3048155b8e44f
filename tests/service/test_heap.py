"""The heap of a worker shrinks when what was in it is free."""

from __future__ import annotations

import subprocess
import sys

from tests.running import ROOT

_BURST = """
import ctypes
import os

from service.heap import keep_small
from tests.fuzz_soak import anonymous_kb
from tests.running import wait_until

keep_small(every_s=0.05)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
before_kb = anonymous_kb(os.getpid())
pieces = [libc.malloc(5000) for _ in range(20_000)]
assert anonymous_kb(os.getpid()) > before_kb + 60_000
for piece in pieces[:-1]:  # the last one keeps the end of the heap where it is
    libc.free(ctypes.c_void_p(piece))
wait_until(lambda: anonymous_kb(os.getpid()) < before_kb + 20_000)
"""


def test_what_is_free_goes_back_to_the_system() -> None:
    """Also what lies below a piece that is in use."""
    subprocess.run([sys.executable, "-c", _BURST], check=True, cwd=ROOT, timeout=120)
