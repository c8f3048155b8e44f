"""What gRPC's core does with calls by itself, as the server sets it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from service.call_log import CallLog
from service.edge import Edge
from service.edge_settings import LogSettings, ServerSettings
from service.lane import Lane
from service.metrics import Metrics
from service.server import MAX_UNREQUESTED_S, core_options
from tests.service.test_lane import PATH, code_of, method

_CROWD = 600
"""Calls begun at once by one client: more than the lane takes in hand, fewer than its connection may hold."""


@contextmanager
def served() -> Iterator[tuple[Lane[bytes], grpc.Channel]]:
    """Give a lane that was not started, on a server with the options of a real one, and a channel to it."""
    settings, metrics = ServerSettings(), Metrics()
    server = grpc.server(ThreadPoolExecutor(1), options=core_options(settings))
    lane = Lane(server, method(), settings, Edge(None, CallLog(LogSettings(), metrics), metrics, traced=False))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield lane, channel
    finally:
        server.stop(5).wait()
        lane.stop()


def test_a_call_that_nobody_asked_for_in_time_is_cancelled() -> None:
    """It ends when the next one is asked for, and its caller learns so; one that came since is answered."""
    with served() as (lane, channel):
        stub: Any = channel.unary_unary(PATH)
        early = stub.future(b"early", timeout=20, wait_for_ready=True)
        grpc.channel_ready_future(channel).result(20)
        time.sleep(MAX_UNREQUESTED_S + 0.5)
        late = stub.future(b"late", timeout=20)
        lane.start()
        assert code_of(early) is grpc.StatusCode.CANCELLED
        assert late.result() == b"late"


def test_crowds_over_one_connection_are_answered_or_refused_by_us() -> None:
    """As after a stall: gRPC turns no call away by itself (UNAVAILABLE), so every refusal is told and counted."""
    with served() as (lane, channel):
        lane.start()
        stub: Any = channel.unary_unary(PATH)
        stub(b"x", timeout=20, wait_for_ready=True)
        codes = set()
        for _ in range(5):
            codes |= {code_of(one) for one in [stub.future(b"x", timeout=20) for _ in range(_CROWD)]}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
