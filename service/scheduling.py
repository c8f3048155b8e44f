"""Who goes first on the processor: threads whose work can wait neither interrupt those that answer, nor hold them up.

Both happen by themselves. A thread that wakes up may stop the one that runs. And one that has got the processor keeps
it until the next tick of the kernel's clock, up to 4 ms: it does not even notice that somebody wants the interpreter,
who would have to run to ask for it. docs/performance.md has what it is worth to do without.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, TypeVar

FEW: Final = 16
"""Small things, of some ten microseconds each, that are done before others get a turn."""

_NAP_S: Final = 0.00005
"""Shorter than any system sleeps: what matters is to be off the processor, and out of the interpreter, at all."""

_Item = TypeVar("_Item")


def give_way() -> None:
    """Have the calling thread wait, when it wakes up, until whoever runs on its processor is through.

    It keeps its share of the time (`SCHED_BATCH` of sched(7), which needs no privilege). Without it each purchase
    that is to be recorded stops a score in its middle, and the score then waits for the interpreter as well. Does
    nothing where the system has no such policy, or does not let us.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def pause() -> None:
    """Let others have the interpreter and the processor for a moment, about a tenth of a millisecond."""
    time.sleep(_NAP_S)


def unhurried(items: Iterable[_Item], few: int = FEW) -> Iterator[_Item]:
    """Yield items, with a pause after every few: for work of milliseconds that nobody waits for."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % few:
            pause()
