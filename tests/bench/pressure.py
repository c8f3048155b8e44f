"""More calls than a service can answer: by callers that throttle themselves, or by some that never let up.

Each measures the peak by its own means of sending: what it gets under pressure is compared with what it can get.
"""

from __future__ import annotations

import gc
import re
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple, Self

from loadtest.generator import SCORE_METHOD
from loadtest.line import Line, Target
from loadtest.mix import Asks, Mix
from loadtest.tally import Key, Tally, total
from tests.bench.callers import Callers, Stage
from tests.bench.pump import Connection, Pump, grpc_message

MIX: Final = Mix(users=500, record_share=0.0, event_share=0.0)
"""Scores alone: they are what a service is bounded to answer in time."""

BEFORE, OVER, AFTER = "before", "overload", "after"
CONNECTIONS: Final = 8
STEPS: Final = (8, 16, 24, 32, 64)
"""Calls in flight of a closed loop, of which the best is its peak."""

SHARES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Rates of an open loop, of the closed loop's peak, of which the one that most is answered at gives the peak."""

STEP_S: Final = 4
MESSAGES: Final = 20_000
"""Different calls that the throttled callers send, again and again."""

DEADLINE_MS: Final = 50
"""How long they wait for an answer: what `FraudClient` does by itself."""

CALM: Final = 0.5
"""What they ask for before and afterwards, as a share of the peak."""


class Pushed(NamedTuple):
    """What came of the pressure."""

    answered_per_s: float
    """Calls that were answered while it was made."""
    tallies: dict[Key, Tally]
    """What became of what its callers asked, before, during and after it; empty when they do not tell."""


class Throttled:
    """Callers that ask on a schedule and throttle themselves, as `FraudClient` does. In a process of their own."""

    def __init__(self, port: int) -> None:
        """Start the process on the processor of this one."""
        self._port = port
        self._pool = ProcessPoolExecutor(1, get_context("spawn"))

    def __enter__(self) -> Self:
        """Do nothing: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._pool.shutdown()

    def peak(self) -> float:
        """Return the most calls a second that are answered in time, whatever these callers ask for.

        They ask on a schedule here as there. A closed loop, in which there is always work at hand and never a crowd,
        gets more answered, and only says where to look.
        """
        return self._pool.submit(peak_of, self._port).result()

    def push(self, peak: float, times: float, seconds: int, calm_s: int) -> Future[Pushed]:
        """Ask for so many times the peak; for `calm_s` before and afterwards for what can be answered."""
        stages = (
            Stage(BEFORE, CALM * peak, calm_s),
            Stage(OVER, times * peak, seconds),
            Stage(AFTER, CALM * peak, calm_s),
        )
        return self._pool.submit(pushed, self._port, stages)


@cache
def calls() -> list[bytes]:
    """Return calls that all differ; they are made once, before anything is measured, and no collector looks at them."""
    asks = Asks(MIX, "pressure", 1)
    messages = [asks.take().message for _ in range(MESSAGES)]
    gc.collect()
    gc.freeze()
    return messages


def peak_of(port: int) -> float:
    """Return the calls a second that were answered in time at the best of several rates."""
    closed = closed_peak_of(port)
    return max(pushed(port, [Stage(OVER, share * closed, STEP_S)]).answered_per_s for share in SHARES)


def closed_peak_of(port: int) -> float:
    """Return the calls a second that were answered at the best number of calls in flight."""
    messages, rate = calls(), 0.0
    with Pump(port, CONNECTIONS, timeout_ms=DEADLINE_MS) as pump:
        for in_flight in STEPS:
            some = list(islice(cycle(messages), round(max(rate, MESSAGES / STEP_S) * STEP_S)))
            done = pump.closed(some, in_flight // CONNECTIONS)
            rate = max(rate, (len(some) - done.failed) / done.elapsed_s)
    return rate


def pushed(port: int, stages: Sequence[Stage]) -> Pushed:
    """Return what came of asking stage after stage."""
    connections = [Connection(port, timeout_ms=DEADLINE_MS) for _ in range(CONNECTIONS)]
    with Callers(connections, DEADLINE_MS / 1000) as callers:
        tallies = callers.ask(calls(), stages)
    answered = total(tally for key, tally in tallies.items() if key.stage == OVER).answered
    return Pushed(answered / sum(stage.seconds for stage in stages if stage.name == OVER), tallies)


class Unthrottled:
    """Calls with one body by h2load, which sends whatever becomes of them."""

    def __init__(self, target: str, folder: Path) -> None:
        """Take a body and the size of its reply."""
        message = Asks(MIX, "pressure", 1).take().message
        self._body = folder / "body"
        self._body.write_bytes(grpc_message(message))
        self._url = f"http://{target}{SCORE_METHOD}"
        line = Line(Target(target), (SCORE_METHOD,))
        line.send(SCORE_METHOD, message, time.time() + 10, None)
        self._reply_bytes = len(grpc_message(line.receive().message))
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        """Do nothing: nothing runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread."""
        self._pool.shutdown()

    def peak(self) -> float:
        """Return the most calls a second that are answered, of h2load's in a closed loop."""
        return max(
            self._run("-m", str(in_flight // CONNECTIONS), "-D", str(STEP_S), seconds=STEP_S) for in_flight in STEPS
        )

    def push(self, peak: float, times: float, seconds: int, calm_s: int) -> Future[Pushed]:
        """Send so many times the peak, and nothing before and afterwards."""
        each = str(max(round(times * peak / CONNECTIONS), 1))
        options = ("-m", "1000", f"--rps={each}", "-D", str(seconds))

        def push() -> Pushed:
            time.sleep(calm_s)
            return Pushed(self._run(*options, seconds=seconds), {})

        return self._pool.submit(push)

    def _run(self, *options: str, seconds: int) -> float:
        """Return the calls a second that were answered."""
        headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
        command = ("h2load", "-c", str(CONNECTIONS), *options, "-d", str(self._body), *headers, self._url)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        # A call that gRPC refuses succeeds for HTTP; it has no data.
        data = re.search(r"\((\d+)\) data", done.stdout)
        assert data, done.stdout
        return int(data[1]) / self._reply_bytes / seconds
