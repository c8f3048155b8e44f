"""The lane answers calls, refuses what it must, and loses count of none."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from service.access import Gate
from service.call_log import CallLog
from service.edge import Edge
from service.edge_settings import AccessSettings, LogSettings, ServerSettings
from service.errors import BudgetSpent, InvalidInput, Violation
from service.lane import Lane, Method
from service.lane_pool import Arrival, Tell
from service.metrics import Metrics
from tests.running import wait_until

PATH = "/fraud.v1.FraudScoring/Score"


class Served(NamedTuple):
    """A server with a lane, and a channel to it."""

    server: grpc.Server
    lane: Lane[bytes]
    channel: grpc.Channel
    metrics: Metrics

    def call(self, data: bytes = b"x", timeout_s: float = 20.0) -> bytes:
        """Make one call."""
        answer: bytes = self.stub()(data, timeout=timeout_s)
        return answer

    def later(self, data: bytes = b"x", timeout_s: float = 20.0) -> Any:
        """Begin one call."""
        return self.stub().future(data, timeout=timeout_s)

    def stub(self) -> Any:
        """Return what makes calls of bytes."""
        return self.channel.unary_unary(PATH)

    def idle(self) -> bool:
        """Tell whether no call is in hand."""
        return self.lane.in_hand == 0

    def refused(self, reason: str) -> float | None:
        """Return how many calls were refused for a reason."""
        return self.metrics.registry.get_sample_value("fraud_refused_total", {"reason": reason})


def echo(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
    """Answer with what was asked."""
    del arrival, tell
    return request


def method(
    answer: Callable[[bytes, Arrival, Tell], bytes | None] = echo,
    parse: Callable[[bytes], bytes] = bytes,
    *,
    shares: bool = False,
) -> Method[bytes]:
    """Return a method of bytes."""

    def together(calls: Sequence[tuple[bytes, Arrival, Tell]]) -> list[bytes | Exception | None]:
        replies = [answer(*call) for call in calls]
        return [None if reply is None else reply + b" together" for reply in replies]

    return Method(PATH, parse, shares, answer, together)


@contextmanager
def serving(
    served: Method[bytes],
    callers: Path | None = None,
    *,
    options: Sequence[tuple[str, int]] = (("grpc.max_receive_message_length", 1 << 16),),
    begin: bool = True,
    **settings: int,
) -> Iterator[Served]:
    """Serve a method on a lane, which is left to be started without `begin`."""
    server = grpc.server(ThreadPoolExecutor(1), options=options)
    metrics = Metrics()
    gate = Gate.of(AccessSettings(callers_path=callers), 1, metrics)
    edge = Edge(gate, CallLog(LogSettings(), metrics), metrics, traced=False)
    lane = Lane(server, served, ServerSettings(**settings), edge)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    if begin:
        lane.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(server, lane, channel, metrics)
    finally:
        server.stop(5).wait()
        lane.stop()


def code_of(future: Any) -> grpc.StatusCode:
    """Return the status that a call ended with."""
    error = future.exception()
    return grpc.StatusCode.OK if error is None else error.code()


def test_every_call_gets_its_own_answer() -> None:
    """Many at once, over one connection, by turns at once and later out of another thread."""
    with ThreadPoolExecutor(2) as others:

        def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes | None:
            del arrival
            if request[-1:] in b"02468":
                others.submit(tell, request)
                return None
            return request

        with serving(method(answer), max_wait_ms=60_000) as served:
            futures = [served.later(str(n).encode()) for n in range(200)]
            assert [future.result() for future in futures] == [str(n).encode() for n in range(200)]
            wait_until(served.idle)


def test_a_reply_that_comes_later_holds_up_no_other_call() -> None:
    """Calls are answered while one waits for its reply, which may be an error, too."""
    told: list[Tell] = []

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes | None:
        del arrival
        if request == b"slow":
            told.append(tell)
            return None
        return request

    with serving(method(answer)) as served:
        slow, wrong = served.later(b"slow"), served.later(b"slow")
        assert [served.call(b"quick") for _ in range(20)] == [b"quick"] * 20
        wait_until(lambda: len(told) == 2)
        assert not slow.done()
        told[0](b"well")
        told[1](BudgetSpent("too late"))
        assert {code_of(slow), code_of(wrong)} == {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
        wait_until(served.idle)


def test_a_reply_after_the_end_is_let_go() -> None:
    """The core has shut its queue by then, and would end the process."""
    told: list[Tell] = []

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> None:
        del request, arrival
        told.append(tell)

    with serving(method(answer)) as served:
        call = served.later()
        wait_until(lambda: len(told) == 1)
        served.server.stop(0).wait()
        assert code_of(call) is grpc.StatusCode.UNAVAILABLE
    told[0](b"too late")


def test_calls_that_wait_for_the_same_share_it() -> None:
    """What waits while the one thread is busy is answered together, in groups, and everybody gets their own."""
    go_on = threading.Event()

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
        del arrival, tell
        go_on.wait(20)
        return request

    with serving(method(answer, shares=True), sharing_threads=1) as served:
        first = served.later(b"first")
        wait_until(lambda: served.lane.in_hand == 1)
        wait_until(lambda: served.lane.waiting == 0)
        others = [served.later(str(n).encode()) for n in range(12)]
        wait_until(lambda: served.lane.waiting == 12)
        go_on.set()
        assert first.result() == b"first"
        assert [future.result() for future in others] == [f"{n} together".encode() for n in range(12)]
        wait_until(served.idle)


def test_beyond_the_bound_calls_are_refused_at_once() -> None:
    """As many as are in hand wait; one more is RESOURCE_EXHAUSTED, counted, and later there is room again."""
    go_on = threading.Event()

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
        del arrival, tell
        go_on.wait(20)
        return request

    with serving(method(answer, shares=True), max_concurrent_calls=3, sharing_threads=1) as served:
        held = [served.later() for _ in range(3)]
        wait_until(lambda: served.lane.in_hand == 3)
        with pytest.raises(grpc.RpcError) as refused:
            served.call()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert served.refused("overloaded") == 1.0
        go_on.set()
        assert [code_of(future) for future in held] == [grpc.StatusCode.OK] * 3
        wait_until(served.idle)
        assert served.call()


def test_what_would_wait_too_long_is_refused() -> None:
    """Calls that take 5 ms, and may wait 50: of a hundred at once some are answered and the others refused."""
    with serving(method(slow), max_wait_ms=50) as served:
        for _ in range(40):
            served.call()  # so that it knows how long they take
        codes = codes_of(served, 100)
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert served.refused("overloaded") == codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED)


def slow(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
    """Answer after 5 ms."""
    del arrival, tell
    time.sleep(0.005)
    return request


def codes_of(served: Served, calls: int) -> list[grpc.StatusCode]:
    """Return what came of calls that are begun at once, when all of them are over."""
    codes = [code_of(future) for future in [served.later() for _ in range(calls)]]
    wait_until(served.idle)
    return codes


@pytest.mark.parametrize("shares", [False, True])
def test_crowd_that_passes_waits_and_one_that_stays_is_refused(shares: bool) -> None:  # noqa: FBT001
    """Thirty calls of 5 ms wait when there was nothing to do before; with no time to spare few may."""
    served_so = method(slow, shares=shares)
    with serving(served_so, max_wait_ms=2_000, max_standing_wait_ms=1, sharing_threads=1) as served:
        codes_of(served, 10)  # so that it knows how long they take
        wait_until(lambda: served.lane.leisure > 0.99)
        assert codes_of(served, 30) == [grpc.StatusCode.OK] * 30
        refused = 0
        with ThreadPoolExecutor(30) as callers:
            until_s = time.monotonic() + 20
            while not refused and time.monotonic() < until_s:
                codes = callers.map(lambda _: code_of(served.later()), range(300))
                refused = sum(code is grpc.StatusCode.RESOURCE_EXHAUSTED for code in codes)
        assert refused
        assert served.refused("overloaded") == refused
        wait_until(lambda: served.lane.leisure > 0.99)
        assert codes_of(served, 30) == [grpc.StatusCode.OK] * 30


def test_errors_become_statuses_and_the_loop_goes_on() -> None:
    """What an error of ours says is told, what another says is not."""

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
        del arrival, tell
        if request == b"late":
            raise BudgetSpent("too late")
        if request == b"bug":
            raise ZeroDivisionError("a secret")
        return request

    with serving(method(answer)) as served:
        late, bug = served.later(b"late").exception(), served.later(b"bug").exception()
        assert (late.code(), late.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
        assert (bug.code(), bug.details()) == (grpc.StatusCode.INTERNAL, "internal error")
        assert served.call(b"well") == b"well"
        wait_until(served.idle)


def test_bytes_that_are_no_message_are_the_callers_fault() -> None:
    """What `parse` refuses is INVALID_ARGUMENT."""

    def parse(data: bytes) -> bytes:
        raise InvalidInput([Violation("purchase", f"is {len(data)} bytes of nothing")])

    with serving(method(parse=parse)) as served:
        assert code_of(served.later()) is grpc.StatusCode.INVALID_ARGUMENT
        wait_until(served.idle)


def test_who_is_not_admitted_is_not_heard(tmp_path: Path) -> None:
    """The message of a call that was not let in is not read; of one that was, it is known who calls."""
    heard: list[tuple[bytes, str]] = []
    callers, (token,) = tmp_path / "callers.toml", ("a" * 43,)
    digest = hashlib.sha256(token.encode()).hexdigest()
    callers.write_text(f'[[caller]]\nname = "checkout"\ntoken_sha256 = "{digest}"\nroles = ["score"]\n')

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
        del tell
        heard.append((request, arrival.caller.name))
        return request

    with serving(method(answer), callers) as served:
        assert code_of(served.later(b"bad")) is grpc.StatusCode.UNAUTHENTICATED
        call = served.stub()
        assert call(b"good", timeout=20, metadata=(("authorization", f"Bearer {token}"),)) == b"good"
        assert heard == [(b"good", "checkout")]
        wait_until(served.idle)


def test_a_caller_that_goes_is_forgotten() -> None:
    """A cancelled call leaves nothing behind, whether it had been begun or not."""
    go_on = threading.Event()

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
        del arrival, tell
        go_on.wait(20)
        return request

    with serving(method(answer, shares=True), sharing_threads=1) as served:
        futures = [served.later() for _ in range(5)]
        wait_until(lambda: served.lane.in_hand == 5)
        for future in futures:
            future.cancel()
        go_on.set()
        wait_until(served.idle)
        assert served.call() == b"x"


@pytest.mark.parametrize("messages", [0, 2])
def test_a_call_with_another_number_of_messages_ends(messages: int) -> None:
    """None at all is no call, and of two the first is answered; nothing hangs."""
    with serving(method()) as served:
        call: Any = served.channel.stream_unary(PATH)
        future = call.future(iter([b"x"] * messages), timeout=20)
        assert code_of(future) is (grpc.StatusCode.OK if messages else grpc.StatusCode.CANCELLED)
        wait_until(served.idle)


def test_a_message_that_is_too_large_is_refused() -> None:
    """The core refuses it before it is ours, and the call is not counted as in hand for ever."""
    with serving(method()) as served:
        assert code_of(served.later(bytes(1 << 17))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        wait_until(served.idle)
        assert served.call() == b"x"


def test_the_deadline_of_the_caller_is_known() -> None:
    """In the clock of the service; a caller that says none waits for ever."""
    seen: list[float] = []

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
        del tell
        seen.append(arrival.deadline_s - arrival.arrived_s)
        return request

    with serving(method(answer)) as served:
        served.call(timeout_s=30)
        served.stub()(b"x")
        assert 20 < seen[0] <= 30.1
        assert seen[1] > 1e9


def test_calls_in_hand_are_finished_when_the_server_stops() -> None:
    """A call that is under way gets its answer; a later one is UNAVAILABLE."""
    go_on = threading.Event()

    def answer(request: bytes, arrival: Arrival, tell: Tell) -> bytes:
        del arrival, tell
        go_on.wait(20)
        return request

    with serving(method(answer, shares=True)) as served:
        held = served.later()
        wait_until(lambda: served.lane.in_hand == 1)
        stopped = served.server.stop(20)
        go_on.set()
        assert held.result() == b"x"
        stopped.wait()
        assert code_of(served.later()) is grpc.StatusCode.UNAVAILABLE
        assert served.idle()


def test_calls_whose_message_never_comes_do_not_fill_it() -> None:
    """Whoever begins more calls than there may be, and sends no message, holds up nobody else."""
    with serving(method(), max_concurrent_calls=10) as served:
        silent = threading.Event()

        def messages() -> Iterator[bytes]:
            silent.wait(60)
            yield b"late"

        stub: Any = served.channel.stream_unary(PATH)
        begun = [stub.future(messages()) for _ in range(10)]
        wait_until(lambda: served.lane.in_hand == 10)
        time.sleep(0.2)
        assert [served.call(b"x") for _ in range(5)] == [b"x"] * 5
        silent.set()
        codes = {code_of(one) for one in begun}
        assert codes == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        wait_until(served.idle)
