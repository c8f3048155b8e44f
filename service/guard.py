"""What stands before the methods of a standard gRPC server; `Score` is on the lane, which needs none of it.

gRPC reads a call's message in a thread of its pool and waits there until it comes, so a few calls without one
hold all threads. Hence strangers are refused before their message is read, wherever what they sent along shows
that they are strangers. Our own methods ask the gate again, for they want to know who calls.

The services that gRPC brings along, health and reflection, have threads of their own, and the gate before them.
Bytes that are no message would end in INTERNAL there; on a method with streams, as reflection is one, gRPC even
keeps such a call for ever, so that a few hundred of them would fill the server and hold up its end.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from service.edge import Edge
from service.errors import FraudError
from service.status import Status

OURS: Final = "/fraud.v1."

THREADS: Final = 2
"""Threads for health and reflection together."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Behaviour = Callable[..., Any]
_MALFORMED: Final = object()
"""Stands for bytes that are no message."""


class Guard(grpc.ServerInterceptor):
    """An interceptor, which gRPC calls in the one thread that takes its calls."""

    def __init__(self, edge: Edge, refuses: Callable[[], bool]) -> None:
        """Get what it asks; calls for which `refuses` holds are those that gRPC itself is about to refuse."""
        self._edge = edge
        self._refuses = refuses
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="health")

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], _Handler | None], details: grpc.HandlerCallDetails
    ) -> _Handler | None:
        """Return the handler of a method, guarded."""
        handler = continuation(details)
        method: str = details.method
        if handler is None:
            return None
        if self._refuses():
            self._edge.shed(method)
            return handler
        gate = self._edge.gate
        if gate is not None and not gate.is_open(method):
            metadata = details.invocation_metadata
            try:
                gate.screen(metadata)
            except FraudError as error:
                return _refusing(self._edge.refused(method, error, 0.0, metadata))
        return handler if method.startswith(OURS) else _guarded(handler, method, self._edge, self._pool)


def _refusing(status: Status) -> _Handler:
    """Return a handler that ends a call without waiting for its message, whatever kind of call it is."""

    def refuse(_requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        context.abort(status.code, status.text)
        raise AssertionError("abort raises")  # pragma: no cover

    refusing: _Handler = grpc.stream_unary_rpc_method_handler(refuse)
    return refusing


def _guarded(handler: _Handler, method: str, edge: Edge, pool: ThreadPoolExecutor) -> _Handler:
    """Return a handler that asks the gate first, and reads messages that may be none."""
    for kind, make in (
        ("unary_unary", grpc.unary_unary_rpc_method_handler),
        ("unary_stream", grpc.unary_stream_rpc_method_handler),
        ("stream_unary", grpc.stream_unary_rpc_method_handler),
        ("stream_stream", grpc.stream_stream_rpc_method_handler),
    ):
        behaviour = getattr(handler, kind)
        if behaviour is not None:
            asking = _asking(behaviour, method, edge, streamed=handler.request_streaming)
            asking.experimental_thread_pool = pool  # type: ignore[attr-defined]  # what gRPC looks for
            guarded: _Handler = make(asking, _reading(handler.request_deserializer), handler.response_serializer)
            return guarded
    raise AssertionError("a handler has one behaviour")  # pragma: no cover


def _asking(behaviour: _Behaviour, method: str, edge: Edge, *, streamed: bool) -> _Behaviour:
    gate = None if edge.gate is None or edge.gate.is_open(method) else edge.gate

    @functools.wraps(behaviour)  # with the marks that tell gRPC how to run it
    def asking(request: Any, context: grpc.ServicerContext, *more: Any) -> Any:  # noqa: ANN401  any message
        if gate is not None:
            try:
                gate.admit(method, context.invocation_metadata(), context.auth_context)  # type: ignore[arg-type]
            except FraudError as error:
                status = edge.refused(method, error, 0.0, context.invocation_metadata())
                context.abort(status.code, status.text)
        if not streamed:
            _refuse_malformed(request, context)
        return behaviour(_well_formed(request, context) if streamed else request, context, *more)

    return asking


def _reading(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:  # noqa: ANN401  any message
        try:
            return data if deserializer is None else deserializer(data)
        except DecodeError:
            return _MALFORMED

    return read


def _well_formed(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    for request in requests:
        _refuse_malformed(request, context)
        yield request


def _refuse_malformed(request: object, context: grpc.ServicerContext) -> None:
    if request is _MALFORMED:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes are not the message that this method takes")
