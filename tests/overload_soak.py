"""Twice as many calls as the service can answer: it must answer as many as ever, in time, and refuse the rest at once.

    python -m tests.overload_soak [--seconds 60] [--times 2.0] [--store lmdb|aerospike] [--unthrottled]

The service (one worker, a model of 300 trees x 31 leaves) has the first processor to itself; the generators have the
second. Callers that throttle themselves as `FraudClient` does make the pressure; before and after they ask for half of
what can be answered, and have recovered when as much of it is answered in time as before. `--unthrottled` has h2load
send everything instead. A prober of ours sends 200 calls a second beside either, on a schedule of its own, without a
throttle, and learns codes and latencies; an empty handler is called in the same seconds. Exit codes: 0 all bars hold,
1 one does not, 2 the empty handler was late, too, so nobody knows.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from loadtest.generator import Order, Setup
from loadtest.generators import Generators, empty_handler, generators
from loadtest.latencies import Latencies
from loadtest.line import Target
from loadtest.mix import EMPTY
from loadtest.prepare import prepare
from loadtest.sla import LATE, told_errors
from loadtest.tally import Tally, total
from tests.bench.market import publish_model
from tests.bench.pressure import AFTER, BEFORE, MIX, OVER, Pushed, Throttled, Unthrottled
from tests.reload_soak import memory_kb
from tests.running import Running, running
from tests.steady_soak import store_settings

PROBE_RATE: Final = 200.0
EMPTY_RATE: Final = 100.0
CALM_S: Final = 6
"""Seconds before and after the pressure for which everybody is watched."""

GOODPUT: Final = 0.8
P99_MS: Final = 10.0
"""Twice the limit of the service level."""

GROWTH: Final = 1.10
RECOVERED: Final = 0.99
"""What of the share that was answered in time before the pressure, when the same was asked for, is answered in time in
each second once the service has recovered, and its callers."""

RECOVERED_WITHIN_S: Final = 2.0


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


def soak(folder: Path, seconds: int, times: float, store: str, *, throttled: bool) -> tuple[list[Bar], bool]:
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
        target = Target(service.target)
        found = prepare(target, MIX, int(time.time() * 1000))
        assert "problem" not in found, found
        pressure: Throttled | Unthrottled = (
            Throttled(service.port) if throttled else Unthrottled(service.target, folder)
        )
        stack.enter_context(pressure)
        setup = Setup(target=target, empty=empty, name=f"{time.time():.0f}", seed=1, mix=MIX)
        return _overload(service, setup, pressure, seconds, times)


def _overload(
    service: Running, setup: Setup, pressure: Throttled | Unthrottled, seconds: int, times: float
) -> tuple[list[Bar], bool]:
    peak = pressure.peak()
    (worker,) = service.workers()
    with generators([setup]) as prober:
        prober.follow(Order(BEFORE, rate=PROBE_RATE, empty_rate=EMPTY_RATE))
        pushing = pressure.push(peak, times, seconds, CALM_S)
        time.sleep(CALM_S)
        prober.follow(Order(OVER, rate=PROBE_RATE, empty_rate=EMPTY_RATE))
        memory = Memory(worker, seconds / 6)
        time.sleep(seconds)
        prober.follow(Order(AFTER, rate=PROBE_RATE, empty_rate=EMPTY_RATE))
        growth = memory.growth()
        time.sleep(CALM_S)
        pushed = pushing.result()
    return _bars(prober, peak, pushed, growth, times)


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


def _bars(prober: Generators, peak: float, pushed: Pushed, growth: float, times: float) -> tuple[list[Bar], bool]:
    during = prober.of_stage(OVER)
    probes = total(tally for key, tally in during.items() if key.kind != EMPTY and key.second > 0)
    empties = total(tally for key, tally in during.items() if key.kind == EMPTY and key.second > 0)
    asks = total(tally for key, tally in pushed.tallies.items() if key.stage == OVER)
    calm, after = (_scores(stage, prober, pushed) for stage in (BEFORE, AFTER))
    calm_share = share_in_time(total(tally for second, tally in calm if second))
    recovered_s = recovery_s(after, calm_share)
    recovery = " ".join(f"{share:.1%}" for share in shares_in_time(after).values())
    accepted_ms = _p99_ms(probes.latencies, asks.latencies)
    refused_ms = _p99_ms(probes.failures, asks.failures)
    share = pushed.answered_per_s / peak
    goodput = f"{pushed.answered_per_s:,.0f} of {peak:,.0f} calls/s: {share:.1%}, with {times * peak:,.0f} asked for"
    codes = f"{probes.answered / probes.calls:.1%} answered; {told_errors(probes.codes)}"
    bars = [
        Bar(
            f"goodput ≥ {GOODPUT:.0%} of the peak",
            "; ".join((goodput, *(f"{count / asks.calls:.1%} {code}" for code, count in asks.codes.most_common()))),
            share >= GOODPUT,
        ),
        Bar(f"accepted calls: p99 ≤ {P99_MS:g} ms", _told_ms(accepted_ms), max(accepted_ms.values()) <= P99_MS),
        Bar("the rest is refused or expired", codes, set(probes.codes) <= {"OK", *LATE}),
        Bar(
            f"and told so at once: p99 ≤ {P99_MS:g} ms",
            _told_ms(refused_ms) if refused_ms else "none was",
            max(refused_ms.values(), default=0.0) <= P99_MS,
        ),
        Bar(f"memory grows by less than {GROWTH - 1:.0%}", f"{growth - 1:+.1%}", growth < GROWTH),
        Bar(
            f"recovery within {RECOVERED_WITHIN_S:g} s",
            f"{recovered_s:g} s; in time by second: {recovery}; before: {calm_share:.1%}",
            recovered_s <= RECOVERED_WITHIN_S,
        ),
    ]
    return bars, empties.latencies.percentile_ms(0.99) <= P99_MS and not empties.errors


def _p99_ms(probes: Latencies, asks: Latencies) -> dict[str, float]:
    """Return what 99 % of the prober's calls did not exceed, and 99 % of the asks, of each when there were any."""
    return {who: one.percentile_ms(0.99) for who, one in (("prober", probes), ("callers", asks)) if one.count}


def _told_ms(seen_ms: Mapping[str, float]) -> str:
    return ", ".join(f"{one_ms:.2f} ms ({who})" for who, one_ms in seen_ms.items())


def _scores(stage: str, prober: Generators, pushed: Pushed) -> list[tuple[int, Tally]]:
    """Return what became of everybody's scores in each second of a stage."""
    everybody = (*prober.of_stage(stage).items(), *pushed.tallies.items())
    return [(key.second, tally) for key, tally in everybody if key.stage == stage and key.kind != EMPTY]


def share_in_time(tally: Tally) -> float:
    """Return which share of calls was answered in time; refused ones were not."""
    return tally.latencies.within(P99_MS) / tally.calls


def shares_in_time(after: Iterable[tuple[int, Tally]]) -> dict[int, float]:
    """Return which share of the calls of each second was answered in time."""
    by_second: dict[int, Tally] = {}
    for second, tally in after:
        by_second.setdefault(second, Tally()).add(tally)
    return {second: share_in_time(tally) for second, tally in sorted(by_second.items())}


def recovery_s(after: Iterable[tuple[int, Tally]], calm_share: float) -> float:
    """Return the seconds after which each second's calls are answered in time as before; infinite when never.

    `after` has the calls of each second since the pressure ended, `calm_share` is what was answered in time before it.
    """
    shares = shares_in_time(after)
    bad = [second for second, share in shares.items() if share < RECOVERED * calm_share]
    if not shares or max(shares) in bad:
        return float("inf")
    return max(bad, default=-1) + 1.0


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--times", type=float, default=2.0)
    parser.add_argument("--store", choices=["lmdb", "aerospike"], default="lmdb")
    parser.add_argument("--unthrottled", action="store_true", help="send everything, with h2load")
    options = parser.parse_args()
    throttled = not options.unthrottled
    with tempfile.TemporaryDirectory() as folder:
        bars, quiet = soak(Path(folder), options.seconds, options.times, options.store, throttled=throttled)
    who = "callers that throttle themselves" if throttled else "callers that never let up"
    title = f"{options.store}, {options.times:g} times the peak for {options.seconds} s, {who}"
    table = Table("bar", "seen", "", title=title)
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
