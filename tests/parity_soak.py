"""Parity under traffic: many threads score and record against each other, then every decision is replayed.

    python -m tests.parity_soak --decisions 100000 --store lmdb
    python -m tests.parity_soak --decisions 100000 --store aerospike

The traffic is a simulated market in which little stands where it should: threads overtake each other,
purchases are scored with record, scored and recorded later, scored again, or recorded before they are scored;
events come twice, late and in the wrong order; confirmations and clearances come before their purchases. In
the middle of it a challenger joins, so that rows have two layouts. Ends with 1 when any value differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl

from service.clock import EventClock
from service.core.event import Event, EventKind
from service.core.features import FEATURES
from service.core.profile import Habits
from service.decision_log import DecisionLog
from service.explainer import Explainer
from service.metrics import Metrics
from service.question import Question
from service.recorder import Recorder
from service.registry.promotion import promote, set_challengers
from service.registry.watcher import Watcher
from service.scorer import Scorer
from service.settings import RegistrySettings, ScoringSettings
from service.store.protocol import Status, Store, Submission
from tests.answers import scored_and_recorded
from tests.asd import Asd
from tests.registry.build import build_artifact
from tests.store.places import Place
from training.data import events
from training.judge.parity import Parity, parity
from training.replay.by_entity import Spread
from training.replay.cluster import LocalThreads
from training.simulate import MarketSettings, simulate
from training.snapshot.export import ExportOptions, take_snapshot
from training.snapshot.read import Snapshot, open_snapshot
from training.snapshot.schema import ENTITY_COLUMNS, REVISION_COLUMNS

THREADS: Final = 4
BATCH: Final = 40
DECISIONS_PER_PURCHASE: Final = 1.1
PATIENCE_S: Final = 60.0


class Traffic:
    """Plays a market to a store as a service would, from several threads at once."""

    def __init__(self, store: Store, registry: Path, habits: Habits) -> None:
        """Put a scorer together around a store, with one version live."""
        self._store = store
        self._registry = registry
        self._habits: Habits = habits
        for features in (None, [feature for feature in FEATURES if "24h" in feature.name]):
            build_artifact(registry, features, habits=habits)
        promote(registry, 1, "soak", "the first", habits=habits)
        self._watcher = Watcher(RegistrySettings(path=registry), habits, lambda: 0)
        metrics = Metrics()
        scoring = ScoringSettings(decision_queue=1_000_000)
        self._log = DecisionLog(store, scoring, metrics)
        self._recorder = Recorder(store, THREADS, 10 * THREADS, metrics)
        self._explainer = Explainer(THREADS, metrics)
        self._scorer = Scorer(store, self._recorder, self._watcher, self._log, EventClock(0), scoring, self._explainer)
        self._keep_lineup()

    def play(self, path: Path, seed: int) -> None:
        """Play all events of a file; returns when everything is durable."""
        batches = iter(events.batches(path, BATCH))
        half = events.about(path).rows // 2
        taken = 0
        lock = threading.Lock()
        failures: list[BaseException] = []

        def work(number: int) -> None:
            nonlocal taken
            random = Random(seed * 1000 + number)
            try:
                while True:
                    with lock:
                        batch = next(batches, None)
                        if batch is None:
                            return
                        challenged, taken = taken < half <= taken + len(batch), taken + len(batch)
                    if challenged:
                        set_challengers(self._registry, [2], "soak", "half-time", habits=self._habits)
                        self._keep_lineup()
                    self._work(random, batch)
            except BaseException as error:  # noqa: BLE001  a thread has nobody else to tell
                failures.append(error)

        self._log.start()
        workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self._explainer.stop()
        self._recorder.stop()
        assert self._log.stop(10 * PATIENCE_S) == 0, "decisions were not kept"
        if failures:
            raise failures[0]

    def _work(self, random: Random, batch: list[Event]) -> None:
        """Play a batch in a wrong order, some of it twice, as single calls and as lists."""
        batch = [*batch, *random.sample(batch, len(batch) // 10)]
        random.shuffle(batch)
        later: list[Event] = []
        for event in batch:
            if event.kind is not EventKind.PURCHASE:
                later.append(event)
                continue
            dice = random.random()
            if dice < 0.05:
                self._record([event])  # before it is scored
            if dice < 0.2:
                self._score([event], record=False)
                later.append(event)
            elif dice < 0.3:
                self._score([event, event], record=False)
                self._score([event], record=True)
            else:
                self._score([event], record=True)
            if len(later) > 8:
                self._record(later)
                later = []
        self._record(later)

    def _score(self, purchases: Sequence[Event], *, record: bool) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        questions = [Question(one, record_by_s=deadline_s) for one in purchases]
        if record:
            for question in questions:
                scored_and_recorded(self._scorer, question, deadline_s)
        elif len(questions) == 1:
            self._scorer.score(questions[0], deadline_s)
        else:
            self._scorer.score_many(questions, deadline_s)

    def _record(self, some: Sequence[Event]) -> None:
        """Record events until each of them is durable, parked or refused."""
        open_ = list(some)
        give_up_s = time.monotonic() + PATIENCE_S
        while open_:
            outcomes = self._store.apply([Submission(event) for event in open_])
            open_ = [one for one, outcome in zip(open_, outcomes, strict=True) if outcome.status is Status.RETRY]
            assert time.monotonic() < give_up_s, "the store takes no events"

    def _keep_lineup(self) -> None:
        self._watcher.refresh()
        lineup = self._watcher.lineup
        assert lineup is not None
        self._store.put_row_layout(lineup.row_layout, lineup.names)


def make_market(path: Path, decisions: int, seed: int) -> None:
    """Write the events of a small, busy market in which some things are known late and many frauds are cleared."""
    purchases = max(int(decisions / DECISIONS_PER_PURCHASE), 1000)
    market = MarketSettings(
        seed=seed,
        purchases=purchases,
        users=max(purchases // 40, 30),
        sellers=max(purchases // 250, 10),
        days=45,
        fraud_rate=0.03,
        late_rate=0.2,
        mistake_rate=0.5,
    )
    simulate(market, path, events.silent)


def soak(store: Store, folder: Path, decisions: int, seed: int = 7, habits: Habits = "attempts") -> Snapshot:
    """Play a market to an empty store until about so many decisions are kept, and take a snapshot of it."""
    make_market(folder / "market.parquet", decisions, seed)
    Traffic(store, folder / "registry", habits).play(folder / "market.parquet", seed)
    options = ExportOptions(habits, "EUR", max_events_per_s=0)
    take_snapshot(store, folder / "snapshots", options, datetime.now(UTC), events.silent)
    return open_snapshot(folder / "snapshots", "latest")


def compared(snapshot: Snapshot, folder: Path, decisions: int = 0) -> Parity:
    """Hold the decisions of a soak to their replay."""
    return parity(snapshot, folder / "registry", Spread(LocalThreads()), decisions)


def overtaken(snapshot: Snapshot) -> int:
    """Return how many updates stand in the log behind one that the same profile took later."""
    log = pl.concat(snapshot.events((*ENTITY_COLUMNS, *REVISION_COLUMNS)))
    return sum(
        log.filter(pl.col(revision) > 0).select((pl.col(revision).diff().over(entity) < 0).sum()).item()
        for entity, revision in zip(ENTITY_COLUMNS, REVISION_COLUMNS, strict=True)
    )


@contextmanager
def _store(kind: str, folder: Path, habits: Habits) -> Iterator[Store]:
    with ExitStack() as stack:
        if kind == "lmdb":
            place = Place("lmdb", str(folder / "store"))
        else:
            server = Asd(folder / "asd", data_size="4G")
            server.start()
            stack.callback(server.stop)
            place = Place("aerospike", server.host, "soak-")
        store = place.open(habits=habits, max_parked=100_000, write_timeout_ms=5000)
        stack.callback(store.close)
        yield store


def main() -> int:
    """Run a soak and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--store", choices=("lmdb", "aerospike"), default="lmdb")
    parser.add_argument("--habits", choices=("attempts", "settlements"), default="attempts")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with TemporaryDirectory(prefix="parity-soak-") as name, _store(given.store, Path(name), given.habits) as store:
        folder = Path(name)
        begun_s = time.monotonic()
        snapshot = soak(store, folder, given.decisions, given.seed, given.habits)
        played_s = time.monotonic() - begun_s
        found = compared(snapshot, folder)
        out_of_order = overtaken(snapshot)
    shown = {
        "store": given.store,
        "events": snapshot.manifest.rows_events,
        "updates_out_of_order_in_the_log": out_of_order,
        "decisions": found.decisions,
        "rows_compared": found.compared,
        "values_compared": found.values,
        "scores_compared": found.scored,
        "differing_values": found.features.total(),
        "differing_scores": found.scores.total(),
        "not_compared": dict(found.left_out),
        "seconds_of_traffic": round(played_s, 1),
        "seconds_of_parity": round(time.monotonic() - begun_s - played_s, 1),
    }
    print(json.dumps(shown, indent=1))  # noqa: T201  what it is for
    for one in found.differences[:20]:
        print(one)  # noqa: T201
    return 0 if found.equal else 1


if __name__ == "__main__":
    sys.exit(main())
