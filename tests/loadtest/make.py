"""Tallies and results to judge."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from loadtest.mix import EMPTY, SCORE, SCORE_RECORD, Mix
from loadtest.plan import MEASURE, Plan
from loadtest.result import Result
from loadtest.search import Step
from loadtest.sla import Sla
from loadtest.tally import Key, Tally


def tally(fast: int = 0, *, slow: int = 0, slow_ms: float = 50.0, degraded: int = 0, **codes: int) -> Tally:
    """Return calls of which so many were answered within a millisecond, and so many slowly; others by their code."""
    found = Tally()
    for latency_ms, count in ((0.5, fast), (slow_ms, slow)):
        for _ in range(count):
            found.latencies.note(latency_ms / 1000)
            found.codes["OK"] += 1
    for code, count in codes.items():
        found.codes[code] += count
    found.degraded = degraded
    return found


def closed_step(in_flight: int, answered_per_s: float) -> Step:
    """Return a step of the closed loop."""
    return Step(in_flight, 0.0, answered_per_s, 1.0, 1.0, 2.0, 0, 0)


def open_step(rate: float, share: float = 1.0, *, empty_late: bool = False, confirms: bool = False) -> Step:
    """Return a step of the open loop in which such a share was answered, and the others were refused."""
    refused = round(rate * (1 - share))
    empty_p99_ms = 9.0 if empty_late else 1.0
    return Step(0, rate, rate * share, share, 1.0, 2.0, refused, refused, empty_p99_ms, empty_late, confirms)


def result(calls: Tally, empties: Tally, *, steps: tuple[Step, ...] = (), seconds: int = 60) -> Result:
    """Return a result with all calls due in its first seconds."""
    counted = {
        Key(MEASURE, 0, SCORE): calls,
        Key(MEASURE, 1, SCORE_RECORD): tally(10),
        Key(MEASURE, 0, EMPTY): empties,
    }
    return result_of(counted, steps=steps, seconds=seconds)


def result_of(counted: Mapping[Key, Tally], *, steps: tuple[Step, ...] = (), seconds: int = 60) -> Result:
    """Return a result in which so much was counted."""
    return Result(
        began_at=datetime(2026, 7, 1, 12, tzinfo=UTC),
        target="127.0.0.1:50051",
        answer=(3,),
        workers=2,
        machine="a machine",
        plan=Plan(seconds=seconds),
        mix=Mix(),
        sla=Sla(),
        steps=steps,
        rate=500.0,
        counted=counted,
        generator_cores=0.4,
        max_lag_ms=1.5,
    )
