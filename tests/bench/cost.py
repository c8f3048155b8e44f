"""What a score and its parts cost in a process that does nothing else, typical and full histories.

    python -m tests.bench.cost [--calls 20000]

CPU microseconds, the least of five rounds, caches warm. These say how parts compare; in the running server each
of them costs more, because it meets colder caches: `tests.bench.bars` measures there.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.table import Table

from service.clock import EventClock
from service.core.decision import DecisionRecord
from service.core.row import row_of
from service.explainer import Explainer
from service.metrics import Metrics
from service.pb import fraud_pb2 as pb
from service.question import Question
from service.recorder import Recorder
from service.registry.watcher import Watcher
from service.scorer import Scorer
from service.served import Served
from service.settings import RegistrySettings, ScoringSettings
from service.store.lmdb import LmdbStore
from tests.bench.market import LEAVES, TREES, Fill, publish_model, request_of
from tests.bench.stores import ENTITIES, open_lmdb, purchases, small_market
from tests.make import NOW_MS

FILLS: Final[tuple[Fill, ...]] = ("typical", "worst")
_FOR_EVER_S: Final = 1e6


class Kept:
    """Takes decisions and keeps the last of them: what the decision log does with them is a part of its own."""

    def __init__(self) -> None:
        """Keep none yet."""
        self.record: DecisionRecord | None = None

    def put(self, served: Served) -> None:
        """Take it."""
        self.record = served.record


def cpu_us(work: Callable[[int], object], calls: int) -> float:
    """Return CPU microseconds a call, the least of five rounds, caches warm."""
    for n in range(min(calls, ENTITIES)):
        work(n)
    gc.collect()
    gc.disable()
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for n in range(calls):
            work(n)
        best = min(best, (time.process_time() - begun) / calls * 1e6)
    gc.enable()
    return best


def parts(store: LmdbStore, watcher: Watcher, calls: int) -> dict[str, float]:
    """Return CPU microseconds of a whole score, and of its parts."""
    lineup = watcher.lineup
    assert lineup is not None
    metrics, kept, scored = Metrics(), Kept(), purchases()
    clock, recorder = EventClock(NOW_MS), Recorder(store, 1, 1, metrics)
    scorer = Scorer(store, recorder, watcher, kept, clock, ScoringSettings(), Explainer(1, metrics))
    questions = [Question(one) for one in scored]
    requests = [request_of(one) for one in scored]
    views = [store.read((one,), 1.0)[0].images for one in scored]
    rows = [row_of(lineup.row, one, seen) for one, seen in zip(scored, views, strict=True)]
    deadline_s = time.monotonic() + _FOR_EVER_S
    answer = lineup.answer[0]
    found = {
        "whole score, from purchase to decision": cpu_us(
            lambda n: scorer.score(questions[n % ENTITIES], deadline_s), calls
        ),
        "  read of five records": cpu_us(lambda n: store.read((scored[n % ENTITIES],), 1.0), calls),
        f"  row of {len(lineup.names)} features": cpu_us(
            lambda n: row_of(lineup.row, scored[n % ENTITIES], views[n % ENTITIES]), calls
        ),
        f"  LightGBM, {TREES} x {LEAVES}": cpu_us(lambda n: answer.raw_score(rows[n % ENTITIES]), calls),
        "request parsed": cpu_us(lambda n: pb.ScoreRequest.FromString(requests[n % ENTITIES]), calls),
    }
    decision = kept.record
    assert decision is not None
    decisions = [decision] * 200
    return {**found, "decision kept, of 200 at once": cpu_us(lambda _: store.put_decisions(decisions), 20) / 200}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    costs: dict[Fill, dict[str, float]] = {}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        publish_model(folder / "registry")
        watcher = Watcher(RegistrySettings(path=folder / "registry"), "attempts", lambda: NOW_MS)
        watcher.refresh()
        for fill in FILLS:
            small_market(open_lmdb(folder / fill), fill)
            with closing(open_lmdb(folder / fill)) as store:
                costs[fill] = parts(store, watcher, options.calls)
    table = Table("CPU", *(f"{fill}, µs" for fill in FILLS), title="what a score costs by itself, on LMDB")
    for part in costs[FILLS[0]]:
        table.add_row(part, *(f"{costs[fill][part]:.1f}" for fill in FILLS))
    Console().print(table)


if __name__ == "__main__":
    main()
