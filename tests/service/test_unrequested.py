"""gRPC's core lets go of calls that nobody asks for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from service.call_log import CallLog
from service.edge import Edge
from service.edge_settings import LogSettings, ServerSettings
from service.lane import Lane
from service.metrics import Metrics
from service.server import MAX_UNREQUESTED_S, core_options
from tests.service.test_lane import PATH, code_of, method


def test_a_call_that_nobody_asked_for_in_time_is_cancelled() -> None:
    """It ends when the next one is asked for, and its caller learns so; one that came since is answered."""
    settings, metrics = ServerSettings(), Metrics()
    server = grpc.server(ThreadPoolExecutor(1), options=core_options(settings))
    lane = Lane(server, method(), settings, Edge(None, CallLog(LogSettings(), metrics), metrics, traced=False))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = channel.unary_unary(PATH)
        early = stub.future(b"early", timeout=20, wait_for_ready=True)
        grpc.channel_ready_future(channel).result(20)
        time.sleep(MAX_UNREQUESTED_S + 0.5)
        late = stub.future(b"late", timeout=20)
        lane.start()
        assert code_of(early) is grpc.StatusCode.CANCELLED
        assert late.result() == b"late"
    server.stop(5).wait()
    lane.stop()
