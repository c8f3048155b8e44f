"""What gRPC's core does with calls by itself, as the server sets it."""

from __future__ import annotations

import time
from typing import Any

import grpc

from service.edge_settings import ServerSettings
from service.server import MAX_UNREQUESTED_S, core_options
from tests.service.test_lane import code_of, method, serving

OPTIONS = core_options(ServerSettings())

CROWD = 600
"""Calls begun at once by one client: more than its connection may hold, which has some of them wait."""


def test_a_call_that_nobody_asked_for_in_time_is_cancelled() -> None:
    """It ends when the next one is asked for, and its caller learns so; one that came since is answered."""
    with serving(method(), options=OPTIONS, begin=False) as served:
        stub: Any = served.stub()
        early = stub.future(b"early", timeout=20, wait_for_ready=True)
        grpc.channel_ready_future(served.channel).result(20)
        time.sleep(MAX_UNREQUESTED_S + 0.5)
        late = stub.future(b"late", timeout=20)
        served.lane.start()
        assert code_of(early) is grpc.StatusCode.CANCELLED
        assert late.result() == b"late"


def test_crowds_over_one_connection_are_answered_or_refused_by_us() -> None:
    """As after a stall: gRPC turns no call away by itself (UNAVAILABLE), so every refusal is told and counted."""
    with serving(method(), options=OPTIONS) as served:
        served.call()
        codes = set()
        for _ in range(5):
            codes |= {code_of(one) for one in [served.later() for _ in range(CROWD)]}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
