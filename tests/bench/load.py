"""How a server is loaded, and what that costs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.handlers import SCORE, SCORE_BATCH
from tests.bench.processes import Server
from tests.bench.pump import Done, Pump

CONNECTIONS: Final = 8
IN_FLIGHT: Final = 8
"""Calls at once on each connection: 64 in all, more than any of these servers needs to be always busy."""

_LEAST_REPLY_BYTES: Final = 30


class Load(NamedTuple):
    """What calls cost a server: microseconds of its CPU for each, and how many it answered in a second."""

    cpu_us: float
    calls_per_s: float


def has_h2load() -> bool:
    """Tell whether h2load is on the PATH (Debian: nghttp2-client)."""
    return shutil.which("h2load") is not None


def recorded(server: Server, body: Path, calls: int) -> Load:
    """Load a server with one recorded body by h2load; every call must succeed."""
    command = ["h2load", "-n", str(calls), "-c", str(CONNECTIONS), "-m", str(IN_FLIGHT), "-d", str(body)]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    before_s, begun_s = server.cpu_s(), time.monotonic()
    done = subprocess.run(
        [*command, *headers, f"http://127.0.0.1:{server.port}{SCORE}"], check=True, capture_output=True, text=True
    )
    elapsed_s = time.monotonic() - begun_s
    # A call that gRPC refuses succeeds for HTTP; it has no data, and a reply to a purchase has 30 bytes at least.
    data = re.search(r"\((\d+)\) data", done.stdout)
    assert data, done.stdout
    assert f"{calls} succeeded" in done.stdout, done.stdout
    assert int(data[1]) >= calls * _LEAST_REPLY_BYTES, done.stdout
    return Load((server.cpu_s() - before_s) / calls * 1e6, calls / elapsed_s)


def repeated(messages: Sequence[bytes], calls: int) -> list[bytes]:
    """Return so many messages: all of them, again and again in the same order."""
    return list(islice(cycle(messages), calls))


def different(server: Server, messages: Sequence[bytes]) -> Load:
    """Load a server with calls that all differ; every call must have a reply."""
    with Pump(server.port, CONNECTIONS) as pump:
        before_s = server.cpu_s()
        done = pump.closed(messages, IN_FLIGHT)
        cpu_s = server.cpu_s() - before_s
    assert not done.failed, f"{done.failed} calls failed"
    return Load(cpu_s / len(messages) * 1e6, len(messages) / done.elapsed_s)


def in_batches(server: Server, messages: Sequence[bytes]) -> None:
    """Make a server answer these batch requests, one at a time on each connection."""
    with Pump(server.port, CONNECTIONS, path=SCORE_BATCH) as pump:
        assert not pump.closed(messages, 1).failed


def at_rate(server: Server, messages: Sequence[bytes], calls_per_s: float) -> tuple[Done, float]:
    """Call a server at a constant rate; returns what came of it and the CPU microseconds of a call."""
    with Pump(server.port, CONNECTIONS) as pump:
        before_s = server.cpu_s()
        done = pump.open(messages, calls_per_s)
        return done, (server.cpu_s() - before_s) / len(messages) * 1e6


def replies_of(server: Server, messages: Sequence[bytes]) -> list[bytes]:
    """Return what a server says under the load of `recorded`, in no particular order."""
    with Pump(server.port, CONNECTIONS, keep=True) as pump:
        done = pump.closed(messages, IN_FLIGHT)
    assert not done.failed, f"{done.failed} calls failed"
    return done.replies
