"""Distributions, calls and pauses: what goes in is told, each once."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from service.telemetry.calls import MAX_NOTES, Calls
from service.telemetry.distribution import LATENCY_S, Distribution
from service.telemetry.pauses import Pauses

EDGES = (0.1, 0.5, 2.0)

VALUES = st.lists(st.one_of(st.sampled_from((*EDGES, 0.0, 3.0)), st.floats(0.0, 10.0)), max_size=30)


def told(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of one name, by their label values."""
    families = registry.collect()
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


@given(VALUES, VALUES)
def test_it_counts_as_prometheus_does(one_by_one: list[float], at_once: list[float]) -> None:
    """Buckets are those of prometheus_client's own histogram, whichever way a value came, also at an edge."""
    registry, reference = CollectorRegistry(), CollectorRegistry()
    part = Distribution("ours", "A test.", EDGES, registry=registry).part()
    theirs = Histogram("ours", "A test.", buckets=EDGES, registry=reference)
    for value in one_by_one:
        part.observe(value)
    part.take(np.array(at_once))
    for value in (*one_by_one, *at_once):
        theirs.observe(value)
    assert told(registry, "ours_bucket") == told(reference, "ours_bucket")
    assert told(registry, "ours_count") == told(reference, "ours_count")
    assert told(registry, "ours_sum")[()] == pytest.approx(told(reference, "ours_sum")[()])


def test_a_part_is_found_again_and_dropped() -> None:
    """The same labels are the same part, and what is dropped begins anew."""
    registry = CollectorRegistry()
    distribution = Distribution("ours", "A test.", EDGES, ["version"], registry)
    distribution.part("1").observe(0.3)
    assert distribution.part("1") is distribution.part("1")
    assert told(registry, "ours_count") == {("1",): 1.0}
    distribution.drop("1")
    assert told(registry, "ours_count") == {}


def test_the_sla_has_edges() -> None:
    """How many calls were inside 5 and 20 ms is told exactly, not interpolated."""
    assert {0.005, 0.02} <= set(LATENCY_S)


def test_calls_are_told_by_method_and_code() -> None:
    """A method is known by its path or by the function that serves it; what is not known is bounded."""
    registry = CollectorRegistry()
    calls = Calls(registry)
    calls.note("/fraud.v1.FraudScoring/Score", "OK", 0.001)
    calls.note("score_batch", "INVALID_ARGUMENT", 0.002)
    for number in range(100):
        calls.note(f"/x.Y/Z{number}", f"CODE{number}", 0.003)
    assert told(registry, "fraud_call_seconds_count") == {
        ("Score", "OK"): 1.0,
        ("ScoreBatch", "INVALID_ARGUMENT"): 1.0,
        ("other", "UNKNOWN"): 100.0,
    }


def test_no_call_is_lost_under_load() -> None:
    """Threads note more calls than may wait while others count them: every one is told once."""
    registry = CollectorRegistry()
    calls = Calls(registry)
    each = 2 * MAX_NOTES

    def note() -> None:
        for _ in range(each):
            calls.note("Score", "OK", 0.001)

    threads = [threading.Thread(target=note) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        calls.digest()
    assert told(registry, "fraud_call_seconds_count") == {("Score", "OK"): 3.0 * each}


def test_pauses_are_told_while_they_are_watched() -> None:
    """A collection is a pause of its generation; after `leave` none is noted."""
    registry, pauses = CollectorRegistry(), Pauses()
    registry.register(pauses)
    gc.disable()
    pauses.watch()
    gc.collect(2)
    gc.collect(0)
    pauses.leave()
    gc.collect(2)
    gc.enable()
    assert told(registry, "fraud_gc_pause_seconds_count") == {("0",): 1.0, ("1",): 0.0, ("2",): 1.0}
