"""Who goes first on the processor: threads whose work can wait do not interrupt those that answer."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def give_way() -> None:
    """Have the calling thread wait, when it wakes up, until whoever runs on its processor is through.

    It keeps its share of the time (`SCHED_BATCH` of sched(7), which needs no privilege). Without it each purchase
    that is to be recorded stops a score in its middle, and the score then waits for the interpreter as well:
    docs/performance.md has what that costs. Does nothing where the system has no such policy, or does not let us.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
