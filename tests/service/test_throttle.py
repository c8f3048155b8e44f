"""The client's throttle: it sends what is taken in and a little more, and all of it again soon after."""

from __future__ import annotations

from random import Random

import grpc
import pytest

from service.client import FraudClient, Throttled
from service.pb import fraud_pb2 as pb
from service.throttle import HALF_LIFE_S, RUN, RUN_S, SLACK, Throttle


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


class Shop:
    """Asks for calls at a steady rate of a service that takes in so many a second."""

    def __init__(self, capacity: float) -> None:
        """Begin."""
        self.clock = Hands()
        self.throttle = Throttle(self.clock)
        self._random = Random(1)
        self._capacity = capacity

    def run(self, rate: float, seconds: float) -> tuple[float, float]:
        """Return how many calls a second were sent, and taken in."""
        sent = taken = 0
        room = 0.0
        for _ in range(round(rate * seconds)):
            self.clock.now_s += 1 / rate
            room = min(room + self._capacity / rate, 5.0)
            if self.throttle.refuses(self._random.random()):
                continue
            takes = room >= 1.0
            room -= takes
            self.throttle.ended(taken=takes)
            sent += 1
            taken += takes
        return sent / seconds, taken / seconds


def test_nothing_is_held_back_while_nothing_is_refused() -> None:
    """Also with failures of another kind: those are not refusals."""
    throttle = Throttle(Hands())
    for _ in range(1000):
        assert not throttle.refuses(0.0)
        throttle.ended(taken=True)


def test_of_twice_as_much_as_can_be_answered_a_little_more_is_sent() -> None:
    """So that the service spends its time on answers, and all that it can answer are asked for."""
    shop = Shop(capacity=500)
    shop.run(1000, 10)
    sent, taken = shop.run(1000, 10)
    assert taken > 0.95 * 500
    assert sent < 1.1 * SLACK * 500


def test_afterwards_everything_is_sent_again() -> None:
    """Within a few half-lives of a rate that can be answered."""
    shop = Shop(capacity=500)
    shop.run(1000, 10)
    shop.run(400, 4 * HALF_LIFE_S)
    sent, taken = shop.run(400, 5)
    assert sent > 0.98 * 400
    assert taken > 0.98 * 400


@pytest.mark.parametrize("rate", [400, 4000])
def test_with_room_for_all_a_client_that_was_held_back_forgets_it_within_a_second(rate: float) -> None:
    """As soon as a run of calls was taken in: what it refused itself says nothing about the service."""
    shop = Shop(capacity=1.25 * rate)
    shop.run(2.5 * rate, 10)
    shop.run(rate, 1)
    assert shop.run(rate, 5) == (rate, rate)


def test_a_run_that_takes_no_time_is_none() -> None:
    """A service without room takes in the calls of one turn of its queue one after the other."""
    clock = Hands()
    throttle = Throttle(clock)
    for _ in range(1000):
        throttle.ended(taken=False)
    for _ in range(2 * RUN):
        throttle.ended(taken=True)
    assert throttle.refuses(0.5)
    clock.now_s = RUN_S
    throttle.ended(taken=True)
    assert not throttle.refuses(0.0)


def test_one_refusal_stops_nobody() -> None:
    """A single call that is refused leaves the next one a good chance."""
    throttle = Throttle(Hands())
    throttle.ended(taken=False)
    assert not throttle.refuses(0.1)


def test_a_call_that_is_not_sent_says_so() -> None:
    """It is an RpcError like any other, with the code that the service would answer."""
    with FraudClient("127.0.0.1:1", score_deadline_ms=50) as client:
        error = Throttled()
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "not sent" in error.details()
        with pytest.raises(grpc.RpcError) as failed:
            client.score(pb.Purchase(purchase_id="p-1", user_id="u-1"))
        assert not isinstance(failed.value, Throttled)  # nobody is there, which is no refusal
