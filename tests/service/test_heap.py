"""The heap of a worker shrinks when what was in it is free."""

from __future__ import annotations

import subprocess
import sys

from tests.running import ROOT

_BURST = """
import os

from service.heap import keep_small
from tests.fuzz_soak import anonymous_kb
from tests.running import wait_until
from tests.service import burst

keep_small(every_s=0.05)
before_kb = anonymous_kb(os.getpid())
pieces = burst.take()
assert anonymous_kb(os.getpid()) > before_kb + 60_000
burst.free(pieces)
wait_until(lambda: anonymous_kb(os.getpid()) < before_kb + 20_000)
"""


def test_what_is_free_goes_back_to_the_system() -> None:
    """Also what lies below a piece that is in use."""
    subprocess.run([sys.executable, "-c", _BURST], check=True, cwd=ROOT, timeout=120)
