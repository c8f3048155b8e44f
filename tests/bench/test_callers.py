"""Callers that ask on a schedule and throttle themselves."""

from __future__ import annotations

import threading

import grpc

from loadtest.arrivals import Arrivals
from loadtest.tally import total
from tests.bench.callers import EXPIRED, MAX_UNDER_WAY, OK, REFUSED, THROTTLED, UNSENT, Callers, Stage
from tests.bench.pump import Connection
from tests.bench.serving import serving

PATIENT_S = 30.0


def echo(request: bytes, _: grpc.ServicerContext) -> bytes:
    """Answer with the request."""
    return request


def due(stage: Stage, number: int = 1) -> int:
    """Return how many asks a stage has; it is the `number`-th."""
    arrivals, count = Arrivals(stage.asks_per_s, "poisson", 0.0, seed=number), 0
    while arrivals.due_s < stage.seconds:
        arrivals.advance()
        count += 1
    return count


def test_every_ask_is_counted_once_in_its_stage() -> None:
    """With a server that answers all of them, all are answered."""
    stages = (Stage("a", 200, 0.3), Stage("b", 100, 0.2))
    with serving(echo) as port, Callers([Connection(port), Connection(port)], PATIENT_S) as callers:
        tallies = callers.ask([b"x", b"y"], stages)
    for number, stage in enumerate(stages, 1):
        found = total(tally for key, tally in tallies.items() if key.stage == stage.name)
        assert found.codes == {OK: due(stage, number)}
        assert found.latencies.count == found.answered


def test_an_ask_counts_in_the_second_in_which_it_was_due() -> None:
    """A stage of more than a second has a tally for each."""
    with serving(echo) as port, Callers([Connection(port)], PATIENT_S) as callers:
        tallies = callers.ask([b"x"], [Stage("a", 50, 1.5)])
    assert {key.second for key in tallies} == {0, 1}


def test_a_caller_whose_calls_are_refused_refuses_the_next_ones_itself() -> None:
    """And each ask is either sent or held back."""

    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    stage = Stage("a", 500, 1.0)
    with serving(refuse) as port, Callers([Connection(port)], PATIENT_S) as callers:
        codes = total(callers.ask([b"x"], [stage]).values()).codes
    assert set(codes) == {REFUSED, THROTTLED}
    assert codes.total() == due(stage)


def test_a_reply_after_the_deadline_is_none() -> None:
    """It counts as expired, and not as answered."""
    stage = Stage("a", 200, 0.2)
    with serving(echo) as port, Callers([Connection(port)], 0.0) as callers:
        found = total(callers.ask([b"x"], [stage]).values())
    assert found.codes == {EXPIRED: due(stage)}
    assert (found.latencies.count, found.failures.count) == (0, due(stage))


def test_calls_under_way_are_bounded_and_what_never_ends_has_expired() -> None:
    """With a server that holds all calls back, a connection takes so many and no more."""
    released = threading.Event()

    def hold(request: bytes, _: grpc.ServicerContext) -> bytes:
        released.wait(PATIENT_S)
        return request

    stage = Stage("a", 2000, 0.1)
    with serving(hold) as port, Callers([Connection(port)], PATIENT_S) as callers:
        codes = total(callers.ask([b"x"], [stage]).values()).codes
        released.set()
    assert codes == {EXPIRED: MAX_UNDER_WAY, UNSENT: due(stage) - MAX_UNDER_WAY}
