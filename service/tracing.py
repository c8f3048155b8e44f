"""Traces of scores, made after the fact: which calls are traced, and on what bounds they leave.

A call costs nothing more than keeping its `traceparent`. What was served comes here in batches, in the thread
of the decision log; traces leave in a thread of their own. What OpenTelemetry is told stands in `service.spans`.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import groupby, islice
from typing import Final, Protocol

import structlog

from service.edge_settings import TracingSettings
from service.errors import BadSetting
from service.metrics import Metrics
from service.served import Served
from service.trace import Parent, Trace, parse_traceparent

_LOG = structlog.get_logger(__name__)

MAX_EXPORT: Final = 100
"""Traces in one message to the collector."""

CLOSE_S: Final = 1.0
"""Seconds for the thread to end once its export is made to."""


class Exporter(Protocol):
    """Takes traces away."""

    def export(self, traces: Sequence[Trace]) -> bool:
        """Send them; returns whether they arrived. May take seconds; never raises."""

    def close(self) -> None:
        """End an export that is under way, and let go of the connection. Thread-safe."""


class Tracing:
    """Chooses calls, and hands their traces to an exporter."""

    def __init__(
        self, settings: TracingSettings, exporter: Exporter, metrics: Metrics, seed: int | None = None
    ) -> None:
        """Get what it needs; `seed` is for tests, ids are random."""
        self._exporter = exporter
        self._ratio = settings.ratio
        self._follow_callers = settings.follow_callers
        self._max_per_s = settings.max_traces_per_s
        self._max_waiting = settings.max_waiting
        self._counts = metrics.traces
        self._random = random.Random(seed)  # noqa: S311  no secret
        self._second, self._in_second = 0, 0
        self._waiting: deque[Trace] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()

    def take(self, batch: Sequence[Served]) -> None:
        """Choose among what was served; never blocks, for one thread at a time.

        A caller that says it traces is followed; a call without `traceparent` is traced with the chance
        `tracing.ratio`. More than `tracing.max_traces_per_s`, or than may wait, are dropped and counted.
        Cost: 0.3 µs for a call that is not traced.
        """
        offset_s = time.time() - time.monotonic()
        chosen = []
        for (traceparent, _), calls in groupby(batch, lambda served: (served.traceparent, served.arrived_s)):
            parent = parse_traceparent(traceparent) if traceparent else None
            if self._wanted(parent):
                trace_id, parent_id = parent[:2] if parent else (self._random.getrandbits(128) or 1, 0)
                first, *more = calls
                chosen.append(Trace(trace_id, parent_id, first, 1 + len(more), offset_s))
        if chosen:
            self._put(chosen)

    def stop(self, timeout_s: float) -> None:
        """Send what waits, within a bound; the rest is dropped and counted."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)
        with self._changed:
            self._counts["dropped"].inc(len(self._waiting))
            self._waiting.clear()
        self._exporter.close()
        self._thread.join(CLOSE_S)

    # --- steps ----------------------------------------------------------------------------------

    def _wanted(self, parent: Parent | None) -> bool:
        if parent is None:
            return self._ratio > 0 and self._random.random() < self._ratio
        return parent.sampled and self._follow_callers

    def _put(self, chosen: Sequence[Trace]) -> None:
        """Let as many wait as the bounds allow."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        with self._changed:
            room = min(self._max_per_s - self._in_second, self._max_waiting - len(self._waiting))
            taken = chosen[: max(room, 0)]
            self._waiting.extend(taken)
            self._changed.notify()
        self._in_second += len(taken)
        self._counts["dropped"].inc(len(chosen) - len(taken))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                traces = [self._waiting.popleft() for _ in islice(self._waiting.copy(), MAX_EXPORT)]
            self._counts["sent" if self._exporter.export(traces) else "failed"].inc(len(traces))


def tracing_of(settings: TracingSettings, metrics: Metrics) -> Tracing | None:
    """Return the tracing that the settings ask for; None when it is off. Raises BadSetting."""
    if not settings.endpoint:
        return None
    try:
        from service.spans import OtlpExporter  # noqa: PLC0415  OpenTelemetry is an option
    except ModuleNotFoundError as error:
        raise BadSetting(f"setting tracing.endpoint: needs the extra `tracing`, which brings {error.name}") from error
    return Tracing(settings, OtlpExporter.to(settings), metrics)
