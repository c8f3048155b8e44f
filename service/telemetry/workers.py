"""The metrics of all workers of a service as one, kept by who started them.

Every worker tells all that it counted, again and again, as one line; what a worker that ended had counted is
kept, so that no sum ever goes down while the service lives. See docs/decisions/0020.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.telemetry.families import WORKER, Family, collected, from_line, merged, sums

SUPERVISOR: Final = "supervisor"
"""What the label `worker` says of the process that started the workers."""


class Alone(Collector):
    """A service of one process: its metrics look like those of several."""

    def __init__(self, registry: Collector) -> None:
        """Get what it tells of."""
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield its families, with the labels that those of several workers have."""
        yield from _standing(1, {0: 0.0}, {})
        for family in merged({"0": collected(self._registry)}):
            yield family.metric()


class Workers(Collector):
    """What each worker told last, and what those that ended had counted. Thread-safe."""

    def __init__(self, count: int, now_s: Callable[[], float] = time.monotonic) -> None:
        """Expect so many workers, in places from 0 on; none has told anything yet."""
        self._count = count
        self._now_s = now_s
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)
        self._lock = threading.Lock()
        self._told: dict[int, tuple[float, bytes]] = {}
        self._ended: Counter[int] = Counter()
        self._gone: list[Family] = []

    def tell(self, worker: int, line: bytes) -> None:
        """Replace what the worker in a place told before, see `to_line`; it is read when somebody asks.

        Half a line, of a worker that was killed while it told, and what a library prints, replace nothing.
        """
        if not (line.startswith(b"[[") and line.endswith(b"]\n")):
            return
        with self._lock:
            self._told[worker] = self._now_s(), line

    def ended(self, worker: int) -> None:
        """Keep what the worker in a place had counted; its gauges go with it."""
        with self._lock:
            self._ended[worker] += 1
            _, line = self._told.pop(worker, (0.0, b""))
            self._gone = merged({"": sums(_families(line))}, self._gone)

    def collect(self) -> Iterator[Metric]:
        """Yield the families of all, and how the workers are. Cost: 5 ms for each worker."""
        with self._lock:
            told, gone, ended = sorted(self._told.items()), self._gone, dict(self._ended)
        now_s = self._now_s()
        yield from _standing(self._count, {worker: now_s - at_s for worker, (at_s, _) in told}, ended)
        families = {str(worker): _families(line) for worker, (_, line) in told}
        for family in merged({**families, SUPERVISOR: collected(self._own)}, gone):
            yield family.metric()


def _standing(count: int, ages_s: dict[int, float], ended: dict[int, int]) -> Iterator[Metric]:
    """Yield how many workers are wanted, how old what each told is, and how often each was replaced."""
    yield GaugeMetricFamily("fraud_workers", "Workers that are to serve.", value=count)
    ages = GaugeMetricFamily(
        "fraud_worker_report_age_seconds",
        "How old what this worker told is; nothing for one that has not told anything yet.",
        labels=[WORKER],
    )
    restarts = CounterMetricFamily(
        "fraud_worker_restarts", "Times that the worker in this place ended.", labels=[WORKER]
    )
    for worker, age_s in ages_s.items():
        ages.add_metric([str(worker)], age_s)
    for worker in range(count):
        restarts.add_metric([str(worker)], ended.get(worker, 0))
    yield from (ages, restarts)


def _families(line: bytes) -> Sequence[Family]:
    """Return what a line says; nothing for one that says something else, for the others are worth a scrape."""
    with suppress(ValueError):
        return from_line(line)
    return ()
