"""Health and reflection: behind the gate, and unharmed by what is no message."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.access import Gate
from service.call_log import CallLog
from service.callers import Role, new_token
from service.edge import Edge
from service.edge_settings import AccessSettings, LogSettings
from service.guard import Guard
from service.metrics import Metrics
from tests.service.callers import make_entry, write_callers

RECORD = "/fraud.v1.EventIngest/Record"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()


@contextmanager
def guarded(gate: Gate | None) -> Iterator[grpc.Channel]:
    """Run a server with health, reflection and a method of ours; it must end at once when it is told to."""
    metrics = Metrics()
    guard = Guard(Edge(gate, CallLog(LogSettings(), metrics), metrics, traced=False), lambda: False)
    server = grpc.server(ThreadPoolExecutor(1), interceptors=[guard], maximum_concurrent_rpcs=20)
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection([health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    echo: Any = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("fraud.v1.EventIngest", {"Record": echo})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    assert server.stop(1).wait(30), "a call was kept"


def one(channel: grpc.Channel, path: str, message: bytes = b"", token: str = "") -> bytes:
    """Call a method that answers once."""
    call: Any = channel.unary_unary(path)
    answer: bytes = call(message, timeout=10, metadata=[("authorization", f"Bearer {token}")] if token else None)
    return answer


def streamed(channel: grpc.Channel, path: str, message: bytes = b"", token: str = "") -> bytes:
    """Call a method with streams for its first answer."""
    call: Any = channel.stream_stream(path)
    answers = call(iter([message]), timeout=10, metadata=[("authorization", f"Bearer {token}")] if token else None)
    answer: bytes = next(answers)
    answers.cancel()
    return answer


def code(error: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    """Return the status of a refused call."""
    found: grpc.StatusCode = error.value.code()
    return found


@pytest.fixture
def listing() -> bytes:
    """Return a question for the names of services."""
    return bytes(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())


def test_without_a_gate_everybody_is_served(listing: bytes) -> None:
    """Health, watched health and reflection answer."""
    with guarded(None) as channel:
        assert one(channel, CHECK) == SERVING
        assert streamed(channel, WATCH) == SERVING
        assert b"grpc.health.v1.Health" in streamed(channel, REFLECTION, listing)


def test_reflection_is_for_admins(tmp_path: Path, listing: bytes) -> None:
    """What can be called is told to those alone who may know; health is open."""
    path, tokens = tmp_path / "callers.toml", {}
    roles: tuple[Role, ...] = ("read", "admin")
    for role in roles:
        tokens[role] = new_token()
    write_callers(path, *(make_entry(role, tokens[role], role) for role in roles))
    gate = Gate.of(AccessSettings(callers_path=path), 1, Metrics())
    with guarded(gate) as channel:
        assert one(channel, CHECK) == SERVING
        assert b"grpc.health.v1.Health" in streamed(channel, REFLECTION, listing, tokens["admin"])
        with pytest.raises(grpc.RpcError) as nobody:
            streamed(channel, REFLECTION, listing)
        with pytest.raises(grpc.RpcError) as reader:
            streamed(channel, REFLECTION, listing, tokens["read"])
    assert (code(nobody), code(reader)) == (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def test_health_can_be_closed(tmp_path: Path) -> None:
    """Closed health asks for `read`, also of those who watch."""
    path, token = tmp_path / "callers.toml", new_token()
    write_callers(path, make_entry("probe", token, "read"))
    gate = Gate.of(AccessSettings(callers_path=path, open=()), 1, Metrics())
    with guarded(gate) as channel:
        assert one(channel, CHECK, token=token) == SERVING
        assert streamed(channel, WATCH, token=token) == SERVING
        with pytest.raises(grpc.RpcError) as checked:
            one(channel, CHECK)
        with pytest.raises(grpc.RpcError) as watched:
            streamed(channel, WATCH)
    assert (code(checked), code(watched)) == (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAUTHENTICATED)


@pytest.mark.parametrize("path", [CHECK, WATCH, REFLECTION])
def test_what_is_no_message_is_refused_and_leaves_nothing_behind(path: str) -> None:
    """More of them than the server takes at once do not fill it: it goes on, and ends when it is told to."""
    with guarded(None) as channel:
        for _ in range(60):
            with pytest.raises(grpc.RpcError) as refused:
                (one if path == CHECK else streamed)(channel, path, b"\xff\xff")
            assert code(refused) is grpc.StatusCode.INVALID_ARGUMENT
        assert one(channel, CHECK) == SERVING


def begin(channel: grpc.Channel, path: str, over: threading.Event, token: str = "") -> Any:
    """Begin a call whose message does not come until somebody says so."""

    def messages() -> Iterator[bytes]:
        over.wait(60)
        yield b""

    stub: Any = channel.stream_unary(path)
    return stub.future(messages(), timeout=60, metadata=[("authorization", f"Bearer {token}")] if token else None)


def test_a_stranger_is_refused_before_its_message_comes(tmp_path: Path) -> None:
    """Calls of strangers that never send a message hold no thread, also not with a token that is none."""
    path, token = tmp_path / "callers.toml", new_token()
    write_callers(path, make_entry("pipeline", token, "record"))
    gate, over = Gate.of(AccessSettings(callers_path=path), 1, Metrics()), threading.Event()
    with guarded(gate) as channel:
        begun = [begin(channel, RECORD, over, token) for token in ["", "fraud_wrong"] * 5]
        codes = {call.exception().code() for call in begun}
        assert codes == {grpc.StatusCode.UNAUTHENTICATED}
        assert one(channel, RECORD, b"event", token) == b"event"
        over.set()


def test_health_without_a_message_holds_up_no_method_of_ours() -> None:
    """Who may ask for health, which is everybody, can hold the threads of health alone."""
    over = threading.Event()
    with guarded(None) as channel:
        begun = [begin(channel, CHECK, over) for _ in range(5)]
        assert one(channel, RECORD, b"event") == b"event"
        over.set()
        assert [call.result() for call in begun] == [SERVING] * 5
