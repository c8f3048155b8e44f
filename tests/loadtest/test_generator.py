"""The generator sends what it is ordered to, and loses none of its calls from sight."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from loadtest.generator import Order, Setup
from loadtest.generators import Generators, empty_handler, generators
from loadtest.line import Target
from loadtest.mix import EMPTY, Mix
from loadtest.tally import total

READ_ONLY = Mix(users=50, record_share=0.0, event_share=0.0)


@pytest.fixture(scope="module")
def empty() -> Iterator[str]:
    """Return where an empty handler listens; it stands for the service as well, its replies are no answers to parse."""
    with empty_handler() as address:
        yield address


def setups(empty: str, target: str, count: int = 1) -> list[Setup]:
    """Return generators that send scores."""
    return [
        Setup(Target(target), empty, f"t{number}", number, deadline_ms=300, spacing="constant", mix=READ_ONLY)
        for number in range(count)
    ]


def played(sending: Generators, order: Order, seconds: float) -> None:
    """Have an order followed for a while; all of its calls have ended once the generators have."""
    sending.follow(order)
    time.sleep(seconds)
    sending.follow(Order("rest"))
    time.sleep(0.1)


def test_every_due_call_is_counted(empty: str) -> None:
    """Where nobody listens every call fails, and none is forgotten: rate times seconds, of both kinds."""
    with generators(setups(empty, "127.0.0.1:1")) as sending:
        played(sending, Order("s", rate=200.0, empty_rate=50.0), 2.0)
    counted = sending.of_stage("s")
    calls = total(tally for key, tally in counted.items() if key.kind != EMPTY)
    empties = total(tally for key, tally in counted.items() if key.kind == EMPTY)
    assert set(calls.codes) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert set(calls.words) == set(calls.codes)
    assert "Connection refused" in calls.words["UNAVAILABLE"]
    assert empties.errors == 0
    assert calls.calls == pytest.approx(4 * empties.calls, abs=4)


def test_generators_share_the_rate(empty: str) -> None:
    """Two send what one would."""
    with generators(setups(empty, "127.0.0.1:1", count=2)) as sending:
        played(sending, Order("s", rate=100.0), 2.0)
    counted = sending.of_stage("s")
    by_second = [tally.calls for key, tally in counted.items() if key.second == 0]
    assert sum(by_second) == pytest.approx(100, abs=2)


def test_latency_counts_from_when_a_call_was_due(empty: str) -> None:
    """What no server answers takes until its deadline, and is told so."""
    with generators(setups(empty, "127.0.0.1:1")) as sending:
        played(sending, Order("s", rate=50.0), 1.0)
    calls = total(sending.of_stage("s").values())
    assert calls.failures.count == calls.calls
    assert calls.latencies.count == 0
