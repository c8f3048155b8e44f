"""Faults of the store under load: no score may fail, no acknowledged event be lost or doubled, and all heals by itself.

    python -m tests.fault_soak [--store aerospike|lmdb] [--seconds 4] [--workers 2]

A service with several workers scores and records without a pause. Its store, a real Aerospike behind a proxy, is
slowed, stalled, stopped and started again, filled, and cut off, one after the other. Degraded answers, flagged as
such, are what is wanted while it lasts; afterwards answers must be whole again without a restart. At the end every
event that was acknowledged must be there once, and every profile be what its events make it. The embedded store
has faults of its own: a full map, a quota, and a process that holds its lock; where this machine lets us mount a
disk, that is full, is read-only, and gives up for good: the kernel lets nobody write to such a disk again before all
have closed their files, so the service is restarted once it is repaired, and nothing may be lost by that.
Prints a table; exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.bench.market import publish_model
from tests.broken import Cluster, Directory, Fault
from tests.disk import Disk, NoDisk
from tests.running import running, wait_until
from tests.traffic import AMISS, Call, Rates, Traffic, count_kept, errors_of, quantile_ms

REST_S: Final = 3.0
"""Longest time after a fault until every answer is whole again."""

STRAYS: Final = 0.02
"""Share of answers that may be degraded in the seconds after a fault: a machine that others use stalls by itself."""

WITHIN_MS: Final = 100.0
"""What 99 of 100 scores are within during any fault: five times the budget, for client and service share two cores."""


class Row(NamedTuple):
    """What happened during a fault, and after it."""

    name: str
    scores: int
    failed: int
    degraded: float
    """Share of the answers."""
    p50_ms: float
    p99_ms: float
    max_ms: float
    recorded: float
    """Share of the answers to `record=true` that say so."""
    whole_again_s: float
    """Seconds after the fault from which on at most `STRAYS` of the answers were degraded; NaN after a restart."""


# --- the soak ---------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What came of it."""

    rows: list[Row]
    errors: dict[str, int]
    kept: dict[str, int]
    same_workers: bool
    exit_code: int

    @property
    def missed(self) -> list[str]:
        """Return the bars that were missed, in words."""
        missed = [f"{row.name}: {row.failed} scores failed" for row in self.rows if row.failed]
        missed += [
            f"{row.name}: answers were degraded until {row.whole_again_s:.1f} s after it"
            for row in self.rows
            if row.whole_again_s > REST_S
        ]
        missed += [f"{row.name}: p99 {row.p99_ms:.0f} ms" for row in self.rows if row.p99_ms > WITHIN_MS]
        missed += [f"{self.kept[what]} events {what}" for what in AMISS if self.kept[what]]
        missed += [] if self.same_workers else ["a worker ended"]
        return missed + ([f"exit code {self.exit_code}"] if self.exit_code else [])


def soak(folder: Path, store: Cluster | Directory, workers: int, seconds: float, rates: Rates) -> Result:
    """Do everything to a store that can be done to it, under load."""
    publish_model(folder / "registry")
    with running(folder, workers, **environment_of(store)) as service:
        wait_until(lambda: len(service.workers()) == workers)
        before = service.workers()
        if isinstance(store, Directory):
            store.workers = service.workers
        faults = store.faults(seconds)
        traffic = Traffic(service.target, rates)
        traffic.start()
        try:
            time.sleep(1.0)  # connections are made, caches warm
            rows = [row_of(fault, traffic) for fault in faults]
        finally:
            traffic.stop()
        same = before == service.workers()
        code = service.stop()
    opened = store.open()
    kept = count_kept(opened, traffic)
    opened.close()
    return Result(rows, dict(errors_of(traffic.calls)), kept, same, code)


def outlive(folder: Path, disk: Disk, workers: int, seconds: float, rates: Rates) -> Result:
    """Let the disk of a store give up under load, repair it, and start the service again where it was."""
    store = Directory(folder, disk)
    environment = environment_of(store)
    with running(folder, workers, **environment) as service:
        wait_until(lambda: len(service.workers()) == workers)
        traffic = Traffic(service.target, rates)
        traffic.start()
        try:
            time.sleep(1.0)
            row = row_of(Fault("disk gave up (EROFS), then restart", disk.gives_up, seconds), traffic)
            code = service.stop()
            disk.repair()
            with running(folder, workers, **environment, FRAUD_SERVER__LISTEN=service.target) as again:
                traffic.stop()  # which sends what was not acknowledged until it is
                code = code or again.stop()
        finally:
            traffic.stop()
    opened = store.open()
    kept = count_kept(opened, traffic)
    opened.close()
    return Result([row._replace(whole_again_s=math.nan)], dict(errors_of(traffic.calls)), kept, True, code)


def environment_of(store: Cluster | Directory) -> dict[str, str]:
    """Return the settings of a service on a store."""
    return {**store.environment(), "FRAUD_SERVER__BUDGET_MS": "20"}


def row_of(fault: Fault, traffic: Traffic) -> Row:
    """Let a fault happen, wait until all is well again, and return what callers saw."""
    before_s = time.monotonic()
    with fault.lasts():
        begun_s = time.monotonic()
        time.sleep(fault.seconds)
        ended_s = time.monotonic()
    over_s = time.monotonic()
    time.sleep(REST_S + 1.0)
    calls = [one for one in traffic.since(before_s) if one.kind in ("score", "buy")]
    during = [one for one in calls if begun_s <= one.begun_s < ended_s]
    scores = [one for one in during if one.kind == "score"]
    bought = [one for one in during if one.kind == "buy" and not one.error]
    return Row(
        fault.name,
        len(during),
        sum(bool(one.error) for one in calls),
        sum(one.degraded for one in during) / max(len(during), 1),
        quantile_ms(scores, 0.5),
        quantile_ms(scores, 0.99),
        quantile_ms(scores, 1.0),
        sum(one.recorded for one in bought) / max(len(bought), 1),
        whole_again_s([one for one in calls if one.begun_s >= over_s], over_s),
    )


def whole_again_s(calls: Sequence[Call], over_s: float) -> float:
    """Return how long after a fault answers became whole: from then on hardly any is degraded."""
    allowed = STRAYS * len(calls)
    strays = [one.begun_s for one in calls if one.degraded]
    last = len(strays) - 1 - int(allowed)
    return sorted(strays)[last] - over_s if last >= 0 else 0.0


def table_of(rows: Sequence[Row]) -> Table:
    """Return what callers saw as a table."""
    head = ("fault", "scores", "failed", "degraded", "p50 ms", "p99 ms", "max ms", "recorded", "whole again s")
    table = Table(*head, title="scores while the store was broken")
    for row in rows:
        times = (f"{one:.1f}" for one in (row.p50_ms, row.p99_ms, row.max_ms))
        shares = f"{row.degraded:.0%}", f"{row.recorded:.0%}"
        whole = "" if math.isnan(row.whole_again_s) else f"{row.whole_again_s:.1f}"
        table.add_row(row.name, str(row.scores), str(row.failed), shares[0], *times, shares[1], whole)
    return table


def run(folder: Path, kind: str, workers: int, seconds: float) -> list[Result]:
    """Do everything to a store of a kind that this machine allows."""
    if kind == "aerospike":
        store: Cluster | Directory = Cluster(folder / "asd")
        try:
            return [soak(folder, store, workers, seconds, Rates())]
        finally:
            store.stop()
    try:
        disk = Disk(folder)
    except NoDisk as why:
        Console().print(f"left out: a disk that is full, read-only or gives up: {why}")
        return [soak(folder, Directory(folder), workers, seconds, Rates())]
    try:
        healed = soak(folder, Directory(folder, disk), workers, seconds, Rates())
    finally:
        disk.stop()
    other = Disk(folder / "other")
    try:
        (folder / "other" / "registry").symlink_to(folder / "registry")
        return [healed, outlive(folder / "other", other, workers, seconds, Rates())]
    finally:
        other.stop()


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=("aerospike", "lmdb"), default="aerospike")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each fault lasts")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", action="store_true", help="show what the service logged")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that what it started ends with it
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            results = run(folder, options.store, options.workers, options.seconds)
        finally:
            if options.log:
                for log in sorted(folder.rglob("service.log")):
                    sys.stderr.write(log.read_text(encoding="utf-8"))
    console = Console(width=130)
    console.print(table_of([row for result in results for row in result.rows]))
    for result in results:
        console.print("in the store:", result.kept)
        console.print("what callers got instead of an answer:", result.errors)
    missed = [one for result in results for one in result.missed]
    console.print("missed: " + "; ".join(missed) if missed else "all bars held")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
