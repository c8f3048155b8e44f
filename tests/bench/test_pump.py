"""The generator of calls that differ."""

from __future__ import annotations

import threading

import grpc
import pytest

from tests.bench.pump import MAX_MESSAGE_BYTES, Pump, frame, frames
from tests.bench.serving import serving


def test_a_frame_is_read_as_it_was_written() -> None:
    """Kind, flags, stream and place of the payload come back; what is not whole yet waits."""
    whole = frame(0, 1, 7, b"abc") + frame(4, 0, 0, b"")
    assert [tuple(one) for one in frames(whole + frame(1, 4, 9, b"later")[:-1])] == [
        (0, 1, 7, 9, 12),
        (4, 0, 0, 21, 21),
    ]


MESSAGES = [b"x" * size for size in range(200)]


def test_every_message_is_sent_once_and_every_reply_comes_back() -> None:
    """Each call carries its own body, of any size, over several connections."""
    with serving(lambda request, _: request) as port, Pump(port, 3, keep=True) as pump:
        done = pump.closed(MESSAGES, 4)
    assert sorted(done.replies) == MESSAGES
    assert (done.failed, len(done.latencies_s)) == (0, len(MESSAGES))


def test_a_refused_call_is_counted_as_failed() -> None:
    """A status without a message is no reply."""

    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        if request == b"":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return request

    with serving(refuse) as port, Pump(port, 1) as pump:
        assert pump.closed([b"a", b"", b"b"], 1).failed == 1
        assert pump.closed([b"a"], 1).failed == 0


def test_calls_at_a_rate_do_not_wait_for_answers() -> None:
    """With a server that holds every call back, all of them are sent nevertheless, each due at its own instant."""
    arrived = threading.Barrier(8)

    def hold(request: bytes, _: grpc.ServicerContext) -> bytes:
        arrived.wait(30)
        return request

    with serving(hold, threads=8) as port, Pump(port, 2) as pump:
        done = pump.open([b"a"] * 8, 100)
    assert (done.failed, len(done.latencies_s)) == (0, 8)
    assert max(done.latencies_s) - min(done.latencies_s) >= 0.05  # all end together, the first was due 70 ms before


@pytest.mark.parametrize("connections", [1, 8])
def test_latencies_are_forgotten_between_runs(connections: int) -> None:
    """Each run tells of its own calls alone."""
    with serving(lambda request, _: request) as port, Pump(port, connections) as pump:
        assert [len(pump.closed([b"a"] * count).latencies_s) for count in (5, 3)] == [5, 3]


@pytest.mark.parametrize("timeout_ms", [0, 30_000])
def test_the_server_is_told_how_long_a_caller_waits(timeout_ms: int) -> None:
    """When nothing is told, it waits for ever."""

    def tell(_: bytes, context: grpc.ServicerContext) -> bytes:
        return b"30 s" if context.time_remaining() <= 30 else b"for ever"

    with serving(tell) as port, Pump(port, 1, keep=True, timeout_ms=timeout_ms) as pump:
        assert pump.closed([b"a"]).replies == [b"30 s" if timeout_ms else b"for ever"]


def test_a_message_that_no_frame_takes_is_refused() -> None:
    """The largest one goes through, a byte more is told before anything is sent."""
    with serving(lambda request, _: request) as port, Pump(port, 1) as pump:
        assert pump.closed([b"x" * MAX_MESSAGE_BYTES], 1).failed == 0
        with pytest.raises(ValueError, match="frame"):
            pump.closed([b"x" * (MAX_MESSAGE_BYTES + 1)], 1)
