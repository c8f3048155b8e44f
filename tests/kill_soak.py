"""Workers killed and told to stop under load: no error may reach a caller, no acknowledged event be lost or doubled.

    python -m tests.kill_soak [--kills 50] [--stops 10] [--store lmdb|aerospike] [--workers 2]

Callers keep to the documented client policy (`service.client`) and score and record without a pause. First one
worker after another, chosen by chance, is killed as `kill -9` does; then the workers are told to stop in turns, as
an upgrade does. Each time the service must have all its workers again. At the end every event that was acknowledged
must be there once, and every profile be what its events make it.
Prints tables; exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.bench.market import publish_model
from tests.broken import Cluster, Directory
from tests.running import Running, running, wait_until
from tests.traffic import AMISS, Rates, Traffic, count_kept, errors_of, quantile_ms

ENDS_WITHIN_S: Final = 20.0
"""Longest time until a worker that was told to stop has ended: 10 s to drain, 5 s to keep, and some."""

THERE_WITHIN_S: Final = 30.0
"""Longest time until another worker serves in its place."""

ROOM_BYTES: Final = 1 << 34
"""Room for what is written meanwhile on the embedded store: 60 ends take 100 MB and more."""

PAUSE_S: Final = 0.3
"""Longest pause, of a random length, after all workers are there again: the next end hits any moment of a start."""


class End(NamedTuple):
    """One worker that ended, and how long it took until it was gone and another served in its place."""

    how: str
    gone_s: float
    replaced_s: float


class Result(NamedTuple):
    """What came of it."""

    ends: list[End]
    calls: int
    p50_ms: float
    p99_ms: float
    degraded: int
    errors: dict[str, int]
    kept: dict[str, int]
    exit_code: int

    @property
    def missed(self) -> list[str]:
        """Return the bars that were missed, in words."""
        missed = [f"{count} callers got {error}" for error, count in self.errors.items()]
        missed += [f"{self.kept[what]} events {what}" for what in AMISS if self.kept[what]]
        slow = [end for end in self.ends if end.gone_s > ENDS_WITHIN_S or end.replaced_s > THERE_WITHIN_S]
        missed += [f"{end.how}: gone after {end.gone_s:.1f} s, replaced after {end.replaced_s:.1f} s" for end in slow]
        return missed + ([f"exit code {self.exit_code}"] if self.exit_code else [])


def end_one(service: Running, victim: int, how: signal.Signals, workers: int) -> End:
    """End a worker and wait until another serves in its place; one that does not end must show what it does."""
    begun_s = time.monotonic()
    os.kill(victim, how)
    while Path(f"/proc/{victim}/cmdline").exists():
        time.sleep(0.02)
        if time.monotonic() - begun_s > ENDS_WITHIN_S:
            os.kill(victim, signal.SIGABRT)  # the fault handler writes what each thread does into the log
            time.sleep(1.0)
    gone_s = time.monotonic() - begun_s
    wait_until(lambda: len(set(service.workers()) - {victim}) == workers, 60.0)
    return End(how.name, gone_s, time.monotonic() - begun_s)


def soak(folder: Path, store: Cluster | Directory, workers: int, kills: int, stops: int, *, seed: int = 1) -> Result:
    """End workers again and again, under load."""
    pick = random.Random(seed)
    publish_model(folder / "registry")
    with running(folder, workers, **store.environment(), PYTHONFAULTHANDLER="1") as service:
        wait_until(lambda: len(service.workers()) == workers)
        traffic = Traffic(service.target, Rates(), score_deadline_ms=2000)
        traffic.start()
        ends = []
        try:
            for number in range(kills + stops):
                ids = sorted(service.workers())
                how = signal.SIGKILL if number < kills else signal.SIGTERM
                victim = pick.choice(ids) if number < kills else ids[number % len(ids)]
                ends.append(end_one(service, victim, how, workers))
                time.sleep(pick.random() * PAUSE_S)
        finally:
            traffic.stop()
        code = service.stop()
    opened = store.open()
    kept = count_kept(opened, traffic)
    opened.close()
    scores = [one for one in traffic.calls if one.kind == "score"]
    return Result(
        ends,
        len(traffic.calls),
        quantile_ms(scores, 0.5),
        quantile_ms(scores, 0.99),
        sum(one.degraded for one in traffic.calls),
        dict(errors_of(traffic.calls)),
        kept,
        code,
    )


def table_of(ends: Sequence[End]) -> Table:
    """Return how long ends took as a table."""
    table = Table("how", "times", "gone after s", "longest", "replaced after s", "longest", title="workers that ended")
    for how in dict.fromkeys(end.how for end in ends):
        gone = [end.gone_s for end in ends if end.how == how]
        replaced = [end.replaced_s for end in ends if end.how == how]
        figures = (median(gone), max(gone), median(replaced), max(replaced))
        table.add_row(how, str(len(gone)), *(f"{one:.2f}" for one in figures))
    return table


def told_table(result: Result) -> Table:
    """Return what callers got and what became of their events as a table."""
    table = Table("what", "how many", title="calls and events")
    table.add_row("calls", str(result.calls))
    table.add_row("errors", str(sum(result.errors.values())))
    table.add_row("degraded answers", str(result.degraded))
    for what, count in result.kept.items():
        table.add_row("events in the store" if what == "events" else f"events {what}", str(count))
    return table


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--stops", type=int, default=10)
    parser.add_argument("--store", choices=("aerospike", "lmdb"), default="lmdb")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", action="store_true", help="show what the service logged")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that what it started ends with it
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = (
            Cluster(folder / "asd") if options.store == "aerospike" else Directory(folder, max_size_bytes=ROOM_BYTES)
        )
        try:
            result = soak(folder, store, options.workers, options.kills, options.stops, seed=options.seed)
        finally:
            store.stop()
            if options.log:
                sys.stderr.write((folder / "service.log").read_text(encoding="utf-8"))
    console = Console(width=130)
    console.print(table_of(result.ends))
    console.print(told_table(result))
    console.print(f"scores: p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms")
    console.print("missed: " + "; ".join(result.missed) if result.missed else "all bars held")
    sys.exit(bool(result.missed))


if __name__ == "__main__":
    main()
