"""A server of one behaviour, in this process, for tests of what calls servers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from tests.bench.handlers import SCORE


@contextmanager
def serving(behaviour: Any, threads: int = 2) -> Iterator[int]:
    """Serve a behaviour of bytes to bytes as Score; gives the port."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(behaviour)
    _, service, method = SCORE.split("/")
    services = [grpc.method_handlers_generic_handler(service, {method: handler})]
    server = grpc.server(ThreadPoolExecutor(threads), handlers=services)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
