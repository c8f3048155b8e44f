"""How fast a log is read, so that serving does not feel it: by a rebuild, a transfer or an export."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Holds a reader back to so many entries a second; 0 lets it run.

    What was not used is not saved up: after a pause there is no burst longer than a page.
    """

    def __init__(
        self,
        entries_per_s: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begin now."""
        self._entry_s = 1 / entries_per_s if entries_per_s else 0.0
        self._clock = clock
        self._sleep = sleep
        self._due_s = clock()

    def spend(self, entries: int) -> None:
        """Wait until so many entries may have been read."""
        if not self._entry_s:
            return
        now_s, takes_s = self._clock(), entries * self._entry_s
        self._due_s = max(self._due_s, now_s - takes_s) + takes_s
        if self._due_s > now_s:
            self._sleep(self._due_s - now_s)
