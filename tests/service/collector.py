"""A collector of traces, as OpenTelemetry's exporters expect one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Run one; gives its endpoint, and what it has got until now."""
    got: list[ExportTraceServiceRequest] = []

    def take(request: ExportTraceServiceRequest, _context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        got.append(request)
        return ExportTraceServiceResponse()

    method = grpc.unary_unary_rpc_method_handler(
        take, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
    )
    handler = grpc.method_handlers_generic_handler(_SERVICE, {"Export": method})
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", got
    finally:
        server.stop(0).wait()
