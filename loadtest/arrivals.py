"""Arrivals: when calls are due, fixed before the first one is sent and whatever becomes of the others.

A closed loop waits for answers, so a server that stalls is asked less just then and its stall hardly shows:
coordinated omission. Here every latency counts from the instant at which the call was due.
"""

from __future__ import annotations

import random
from typing import Literal

Spacing = Literal["poisson", "constant"]


class Arrivals:
    """A schedule of one kind of call: an endless sequence of due instants, in seconds."""

    __slots__ = ("_constant", "_gap_s", "_random", "due_s")

    def __init__(self, rate: float, spacing: Spacing, begin_s: float, seed: int) -> None:
        """Begin at an instant; `rate` in calls a second, above 0.

        `constant` spaces calls evenly; `poisson` lets them come independently of each other, as from many
        checkouts: the same rate, with gaps and crowds.
        """
        self._gap_s = 1.0 / rate
        self._constant = spacing == "constant"
        self._random = random.Random(seed)  # noqa: S311  nothing secret
        self.due_s = begin_s
        """When the next call is due."""

    def advance(self) -> None:
        """Go on to the call after the next one."""
        self.due_s += self._gap_s if self._constant else self._random.expovariate(1.0) * self._gap_s
