"""Twice as many calls as the service can answer: it must answer as many as ever, in time, and refuse the rest at once.

    python -m tests.overload_soak [--seconds 60] [--times 2.0] [--store lmdb|aerospike]

The service (one worker, a model of 300 trees x 31 leaves) has the first processor to itself; the
generators have the second. h2load makes the pressure at a constant rate; a prober of ours sends 200 calls a second
beside it, on a schedule of its own, and learns codes and latencies as a caller does; an empty handler is called in
the same seconds. Exit codes: 0 all bars hold, 1 one does not, 2 the empty handler was late, too, so nobody knows.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from loadtest.generator import SCORE_METHOD, Order, Setup
from loadtest.generators import Generators, empty_handler, generators
from loadtest.line import Line, Target
from loadtest.mix import EMPTY, Asks, Mix
from loadtest.prepare import prepare
from loadtest.sla import LATE, told_errors
from loadtest.tally import Tally, total
from tests.bench.market import publish_model
from tests.reload_soak import memory_kb
from tests.running import Running, running
from tests.steady_soak import store_settings

MIX: Final = Mix(users=500, record_share=0.0, event_share=0.0)
"""Scores alone: they are what a service is bounded to answer in time."""

PROBE_RATE: Final = 200.0
EMPTY_RATE: Final = 100.0
CONNECTIONS: Final = 8
STEPS: Final = (8, 16, 24, 32, 64)
"""Calls in flight, of which the peak is the best."""

STEP_S: Final = 4
RECOVERY_S: Final = 6
GOODPUT: Final = 0.8
P99_MS: Final = 10.0
"""Twice the limit of the service level."""

GROWTH: Final = 1.10
RECOVERED_WITHIN_S: Final = 2.0
OVER, AFTER = "overload", "after"
_GRPC_HEAD_BYTES: Final = 5


class Bar(NamedTuple):
    """Something that must hold, and whether it did."""

    what: str
    seen: str
    holds: bool


@contextmanager
def on_processor(number: int) -> Iterator[None]:
    """Have whatever is started in the block run on one processor, when there are several."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number} & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Pressure:
    """Calls with one body by h2load, in numbers that a Python client cannot send."""

    def __init__(self, target: str, folder: Path) -> None:
        """Take a body and the size of its reply."""
        message = Asks(MIX, "pressure", 1).take().message
        self._body = folder / "body"
        self._body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        self._url = f"http://{target}{SCORE_METHOD}"
        line = Line(Target(target), (SCORE_METHOD,))
        line.send(SCORE_METHOD, message, time.time() + 10, None)
        self._reply_bytes = len(line.receive().message) + _GRPC_HEAD_BYTES

    def closed(self, in_flight: int, seconds: int) -> float:
        """Return the calls a second that were answered with so many under way."""
        return self._run("-m", str(in_flight // CONNECTIONS), "-D", str(seconds), seconds=seconds)

    def at_rate(self, calls_per_s: float, seconds: int) -> float:
        """Return the calls a second that were answered of so many that were sent."""
        each = str(max(round(calls_per_s / CONNECTIONS), 1))
        return self._run("-m", "1000", f"--rps={each}", "-D", str(seconds), seconds=seconds)

    def _run(self, *options: str, seconds: int) -> float:
        headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
        command = ("h2load", "-c", str(CONNECTIONS), *options, "-d", str(self._body), *headers, self._url)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        # A call that gRPC refuses succeeds for HTTP; it has no data.
        data = re.search(r"\((\d+)\) data", done.stdout)
        assert data, done.stdout
        return int(data[1]) / self._reply_bytes / seconds


def soak(folder: Path, seconds: int, times: float, store: str) -> tuple[list[Bar], bool]:
    """Return the bars, and whether the machine was quiet enough to judge them."""
    publish_model(folder / "registry")
    settings = {"FRAUD_SERVER__BUDGET_MS": "20", "FRAUD_LOG_LEVEL": "error"}
    with ExitStack() as stack:
        with on_processor(1):
            settings |= stack.enter_context(store_settings(store, folder))
        with on_processor(0):
            service = stack.enter_context(running(folder, 1, **settings))
        stack.enter_context(on_processor(1))
        empty = stack.enter_context(empty_handler())
        return _overload(service, empty, folder, seconds, times)


def _overload(service: Running, empty: str, folder: Path, seconds: int, times: float) -> tuple[list[Bar], bool]:
    target = Target(service.target)
    found = prepare(target, MIX, int(time.time() * 1000))
    assert "problem" not in found, found
    pressure = Pressure(service.target, folder)
    peak = max(pressure.closed(in_flight, STEP_S) for in_flight in STEPS)
    (worker,) = service.workers()
    setup = Setup(target=target, empty=empty, name=f"{time.time():.0f}", seed=1, mix=MIX)
    with generators([setup]) as prober:
        prober.follow(Order(OVER, rate=PROBE_RATE, empty_rate=EMPTY_RATE))
        memory = Memory(worker, seconds / 6)
        answered = pressure.at_rate(times * peak, seconds)
        prober.follow(Order(AFTER, rate=PROBE_RATE, empty_rate=EMPTY_RATE))
        growth = memory.growth()
        time.sleep(RECOVERY_S)
    return _bars(prober, peak, answered, growth, times)


class Memory:
    """A worker's own memory, once it has got used to the load and again when asked."""

    def __init__(self, process_id: int, after_s: float) -> None:
        """Look for the first time after a while."""
        self._process_id = process_id
        self._settled_kb = 0
        self._timer = threading.Timer(after_s, self._look)
        self._timer.start()

    def growth(self) -> float:
        """Return the memory of now as a multiple of that of then."""
        self._timer.join()
        return memory_kb(self._process_id)["own_kb"] / self._settled_kb

    def _look(self) -> None:
        self._settled_kb = memory_kb(self._process_id)["own_kb"]


def _bars(prober: Generators, peak: float, answered: float, growth: float, times: float) -> tuple[list[Bar], bool]:
    during = [(key, tally) for key, tally in prober.of_stage(OVER).items() if key.second > 0]
    calls = total(tally for key, tally in during if key.kind != EMPTY)
    empties = total(tally for key, tally in during if key.kind == EMPTY)
    recovered_s = recovery_s(
        [(key.second, tally) for key, tally in prober.of_stage(AFTER).items() if key.kind != EMPTY]
    )
    accepted_ms, refused_ms = calls.latencies.percentile_ms(0.99), calls.failures.percentile_ms(0.99)
    codes = f"{calls.answered / calls.calls:.1%} answered; {told_errors(calls.codes)}"
    share = answered / peak
    bars = [
        Bar(
            f"goodput ≥ {GOODPUT:.0%} of the peak",
            f"{answered:,.0f} of {peak:,.0f} calls/s: {share:.1%}, with {times * peak:,.0f} sent",
            share >= GOODPUT,
        ),
        Bar(f"accepted calls: p99 ≤ {P99_MS:g} ms", f"{accepted_ms:.2f} ms", accepted_ms <= P99_MS),
        Bar("the rest is refused or expired", codes, set(calls.codes) <= {"OK", *LATE}),
        Bar(
            f"and told so at once: p99 ≤ {P99_MS:g} ms",
            f"{refused_ms:.2f} ms" if calls.failures.count else "none was",
            not calls.failures.count or refused_ms <= P99_MS,
        ),
        Bar(f"memory grows by less than {GROWTH - 1:.0%}", f"{growth - 1:+.1%}", growth < GROWTH),
        Bar(f"recovery within {RECOVERED_WITHIN_S:g} s", f"{recovered_s:g} s", recovered_s <= RECOVERED_WITHIN_S),
    ]
    return bars, empties.latencies.percentile_ms(0.99) <= P99_MS and not empties.errors


def recovery_s(after: Sequence[tuple[int, Tally]]) -> float:
    """Return the seconds after which every call is answered in time, infinite when that never comes.

    `after` has the calls of each second since the pressure ended.
    """
    by_second: dict[int, Tally] = {}
    for second, tally in after:
        by_second.setdefault(second, Tally()).add(tally)
    bad = [
        second for second, tally in by_second.items() if tally.errors or tally.latencies.percentile_ms(0.99) > P99_MS
    ]
    if not by_second or max(by_second) in bad:
        return float("inf")
    return max(bad, default=-1) + 1.0


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--times", type=float, default=2.0)
    parser.add_argument("--store", choices=["lmdb", "aerospike"], default="lmdb")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bars, quiet = soak(Path(folder), options.seconds, options.times, options.store)
    table = Table("bar", "seen", "", title=f"{options.store}, {options.times:g} times the peak for {options.seconds} s")
    for bar in bars:
        table.add_row(bar.what, bar.seen, "[green]holds" if bar.holds else "[red]missed")
    console = Console()
    console.print(table)
    missed = not all(bar.holds for bar in bars)
    if missed and not quiet:
        console.print("void: the empty handler was late, too")
    sys.exit(2 if missed and not quiet else int(missed))


if __name__ == "__main__":
    main()
