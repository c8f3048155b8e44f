"""Windows: the measured stage cut into stretches of time, of which a stall voids only the one that it fell into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from loadtest.mix import EMPTY, SCORE
from loadtest.sla import WINDOW_S, Seen
from loadtest.tally import Key, Tally


class Window(NamedTuple):
    """A stretch of the measured stage, and what was due in it."""

    begin_s: int
    end_s: int
    seen: Seen


def windows_of(counted: Mapping[Key, Tally], seconds: int) -> list[Window]:
    """Return the windows of a stage of so many seconds, in order; one in which nothing was due is left out.

    The last one takes the seconds that are no whole window, too: none is shorter than WINDOW_S but an only one.
    """
    last = max(seconds // WINDOW_S, 1) - 1
    found: defaultdict[int, Seen] = defaultdict(lambda: Seen(Tally(), Tally(), Tally()))
    for key, tally in counted.items():
        seen = found[min(key.second // WINDOW_S, last)]
        {SCORE: seen.scores, EMPTY: seen.empties}.get(key.kind, seen.durable).add(tally)
    return [
        Window(number * WINDOW_S, seconds if number == last else (number + 1) * WINDOW_S, seen)
        for number, seen in sorted(found.items())
    ]
