"""A service that exists only as what is counted of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from loadtest.mix import EMPTY, SCORE
from loadtest.plan import Plan
from loadtest.tally import Key, Tally
from tests.loadtest.make import tally

EMPTIES_PER_S: Final = 100


class Service:
    """A service that answers so many calls a second of a closed loop, and so many of those that come by themselves.

    In the open loop it answers all up to `capacity` for some seconds, and up to `lasting` for longer ones (as many, if
    not given); beyond that nine tenths of them. In stages of `stalls`, by their names, the machine stalls: the service
    refuses a third, and the empty handler is late.
    """

    def __init__(self, peak: int, capacity: int, stalls: Collection[str] = (), *, lasting: int | None = None) -> None:
        """Take note of how good it is."""
        self._peak = peak
        self._capacity = capacity
        self._lasting = capacity if lasting is None else lasting
        self._stalls = stalls

    def counted(self, stage: str) -> dict[Key, Tally]:
        """Return what is counted of a stage of the search."""
        number = float(stage.split(maxsplit=1)[0])
        longer = "longer" in stage
        calls, empties = tally(self._peak), tally(EMPTIES_PER_S)
        if "in flight" not in stage:
            due = round(number)
            refused = 0 if due <= (self._lasting if longer else self._capacity) else max(due // 10, 1)
            if stage in self._stalls:
                refused, empties = due // 3, tally(EMPTIES_PER_S - 5, slow=5)
            calls = tally(due - refused, RESOURCE_EXHAUSTED=refused)
        seconds = range(Plan().confirm_s if longer else Plan().step_s)
        return {Key(stage, second, kind): one for second in seconds for kind, one in ((SCORE, calls), (EMPTY, empties))}
