"""Pauses of the whole process for Python's cyclic garbage: what explains a slow answer when nothing else does."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from service.telemetry.distribution import LATENCY_S, Distribution

MAX_NOTES: Final = 10_000
"""Pauses that may wait to be counted; of more the oldest are forgotten. A busy worker makes some tens a second."""

_GENERATIONS: Final = ("0", "1", "2")


class Pauses(Collector):
    """Watches the collector of this process from `watch` to `leave`. Cost: a microsecond for each collection."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._begun_s = 0.0
        # Notes alone, no lock: the collector may run in the middle of anything, also of what counts them.
        self._notes: deque[tuple[int, float]] = deque(maxlen=MAX_NOTES)
        self._seconds = Distribution(
            "fraud_gc_pause_seconds", "Pauses for Python's garbage, by generation.", LATENCY_S, ["generation"]
        )
        self._parts = [self._seconds.part(generation) for generation in _GENERATIONS]

    def watch(self) -> None:
        """Begin to take note of every collection."""
        gc.callbacks.append(self._note)

    def leave(self) -> None:
        """Take note of no more."""
        gc.callbacks.remove(self._note)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield what was noted until now."""
        for _ in range(len(self._notes)):
            generation, seconds = self._notes.popleft()
            self._parts[generation].observe(seconds)
        yield from self._seconds.collect()

    def _note(self, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "start":
            self._begun_s = time.perf_counter()
        else:
            self._notes.append((info["generation"], time.perf_counter() - self._begun_s))
