"""Explanations beside the calls: a thread that works them out while others are answered.

To say which features moved a score costs a hundred times the score (2.4 ms for 300 trees of 31 leaves), nearly all of
it inside LightGBM, where another thread may run. Done in place, every call behind it would wait for that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

import structlog

from service.metrics import Metrics
from service.scheduling import give_way

_LOG = structlog.get_logger(__name__)

WORTH_S: Final = 0.0002
"""Seconds from which on an explanation is worked out beside the calls: less than that is what handing it over costs."""

_JOIN_S: Final = 5.0


class Explainer:
    """Does pieces of work one after the other, of which at most `waiting` wait. Thread-safe."""

    def __init__(self, waiting: int, metrics: Metrics) -> None:
        """Begin to work."""
        self._bound = waiting
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        metrics.follow_queue("explain", self._waiting.qsize, waiting)
        self._thread = threading.Thread(target=self._run, name="explain", daemon=True)
        self._thread.start()

    def take(self, work: Callable[[], None]) -> bool:
        """Take a piece of work, which raises nothing; False when too many wait. Never waits."""
        # Threads that look at the same moment may let in one too many each: it is a bound, not a promise.
        if self._waiting.qsize() >= self._bound:
            return False
        self._waiting.put(work)
        return True

    def stop(self) -> None:
        """End once all that waits is done."""
        self._waiting.put(None)
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        give_way()
        while (work := self._waiting.get()) is not None:
            try:
                work()
            except Exception:  # noqa: BLE001  others wait
                _LOG.exception("answer not explained")
