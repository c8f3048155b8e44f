"""The benchmark through the running service: what gRPC answers must equal what was computed offline.

The history is recorded in the order of the event file; in a test week every payment is scored with
`record`, and confirmations are recorded when they are due. Every feature and every score is compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from math import isnan
from pathlib import Path
from typing import Final, NamedTuple

from service.client import FraudClient, event_message, purchase_message
from service.core.event import Event, EventKind
from service.core.features import Feature
from service.core.windows import DAY_MS
from service.errors import StoreUnavailable
from service.pb import fraud_pb2 as pb
from service.registry.artifact import publish
from service.registry.manifest import FeatureUse, Knots, Manifest
from service.registry.promotion import promote
from training.calibrate import choose_thresholds
from training.events import Progress, about, batches, frames
from training.evidence import golden_of
from training.handbook import WEEK_DAYS, Benchmark, Options, WeekModel, learned_rows, week_rows
from training.metrics import Column
from training.replay import Matrix

BATCH_EVENTS: Final = 1000
START_TIMEOUT_S: Final = 60.0
CALL_TIMEOUT_MS: Final = 60_000
"""Neither the budget nor the deadline may degrade an answer here: equality is measured, not speed."""

_ACCEPTED: Final = frozenset({pb.RecordStatus.APPLIED, pb.RecordStatus.LATE})
_POLL_S: Final = 0.05


class Week(NamedTuple):
    """A test week as it was computed offline: its version, and row and score of each of its purchases in order."""

    first_day: date
    version: int
    matrix: Matrix
    scores: Column

    @property
    def begin_ms(self) -> int:
        """Return the first millisecond of the week."""
        return (self.first_day - date(1970, 1, 1)).days * DAY_MS


class Comparison(NamedTuple):
    """What the service was asked, and in how many places its answers differ from what was computed offline."""

    payments: int
    values: int
    differences: int
    first: str
    """The first difference in words, "" for none."""


@contextmanager
def running_service(folder: Path, registry: Path) -> Iterator[str]:
    """Run a service of our own on the embedded store and the event clock; gives its host:port.

    Raises StoreUnavailable when it does not come up.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRAUD_")}
    environment |= {
        "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
        "FRAUD_SERVER__BUDGET_MS": str(CALL_TIMEOUT_MS),
        "FRAUD_STORE__KIND": "lmdb",
        "FRAUD_STORE__LMDB__PATH": str(folder / "store"),
        "FRAUD_REGISTRY__PATH": str(registry),
        "FRAUD_INGEST__CLOCK": "event",
        "FRAUD_LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "service", "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  ours
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said.startswith("listening on port "):
                raise StoreUnavailable("the service did not start; what it logged says why")
            yield f"127.0.0.1:{said.split()[-1]}"
        finally:
            process.terminate()


def check_online(events: Path, folder: Path, benchmark: Benchmark, options: Options, progress: Progress) -> Comparison:
    """Run the weeks of a benchmark through a service of our own, whose store and registry lie in `folder`."""
    registry = folder / "registry"
    weeks = [_published(registry, events, benchmark, trained, options) for trained in benchmark.models]
    with running_service(folder, registry) as target:
        return compare(target, events, weeks, options.features, registry, progress)


def _published(registry: Path, events: Path, benchmark: Benchmark, trained: WeekModel, options: Options) -> Week:
    """Publish the version of one week."""
    rows = week_rows(benchmark.transactions, trained.first_day)
    learned = learned_rows(benchmark.transactions, trained.first_day, options.train_days)
    matrix, labels = benchmark.rows.matrix[learned], benchmark.transactions.fraud[learned]
    model = trained.model
    manifest = Manifest(
        created_at=datetime.now(UTC),
        features=tuple(FeatureUse.of(feature) for feature in options.features),
        habits="attempts",
        calibration=Knots(raw=model.calibration.raw, probability=model.calibration.probability),
        thresholds=choose_thresholds(model.scores(matrix), labels, 0.01, 0.9, 20),
        parameters=dict(options.parameters),
        seed=options.seed,
        notes=f"handbook benchmark, test week of {trained.first_day}",
    )
    positions, week = benchmark.rows.positions[rows], benchmark.rows.matrix[rows]
    source = partial(frames, events)
    golden = golden_of(model, options.features, positions, week, source, "attempts", options.seed)
    version = publish(registry, model.text, manifest, golden, "")
    return Week(trained.first_day, version, week, benchmark.scores[rows])


def compare(
    target: str, events: Path, weeks: Sequence[Week], features: Sequence[Feature], registry: Path, progress: Progress
) -> Comparison:
    """Play an event file to a service up to the end of the last week, and compare every answer.

    Each week's version is promoted in `registry`, which is the service's, when its turn comes. Raises
    StoreUnavailable when the service refuses an event or does not take a version up.
    """
    with FraudClient(target, score_deadline_ms=CALL_TIMEOUT_MS, record_deadline_ms=CALL_TIMEOUT_MS) as client:
        player = _Player(client, weeks, [feature.name for feature in features], registry)
        total, done = about(events).rows, 0
        for batch in batches(events, BATCH_EVENTS):
            progress("playing to the service", done, total)
            done += len(batch)
            for event in batch:
                player.play(event)
            if player.finished:
                break
        progress("playing to the service", total, total)
        return player.compared()


class _Player:
    """Records events and scores the payments of the weeks, in the order in which they come."""

    def __init__(self, client: FraudClient, weeks: Sequence[Week], names: Sequence[str], registry: Path) -> None:
        self._client = client
        self._coming = list(weeks)
        self._names = list(names)
        self._registry = registry
        self._week: Week | None = None
        self._row = 0
        self._waiting: list[Event] = []
        self._payments = self._values = self._differences = 0
        self._first = ""
        self.finished = False

    def play(self, event: Event) -> None:
        """Let the service see one event."""
        while self._coming and event.event_time_ms >= self._coming[0].begin_ms:
            self._begin(self._coming.pop(0))
        if self._week is not None and event.event_time_ms >= self._week.begin_ms + WEEK_DAYS * DAY_MS:
            self.finished = True
        if self.finished:
            return
        if self._week is not None and event.kind is EventKind.PURCHASE:
            self._record()
            self._score(event, self._week)
            return
        self._waiting.append(event)
        if len(self._waiting) == BATCH_EVENTS:
            self._record()

    def compared(self) -> Comparison:
        """Return what was found so far."""
        return Comparison(self._payments, self._values, self._differences, self._first)

    def _begin(self, week: Week) -> None:
        """Promote the version of a week and wait until it answers."""
        promote(self._registry, week.version, "benchmark", f"test week of {week.first_day}")
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not all(list(worker.answer) == [week.version] for worker in self._client.lineup().workers):
            if time.monotonic() > give_up_s:
                raise StoreUnavailable(f"the service did not take up version {week.version}")
            time.sleep(_POLL_S)
        self._week, self._row = week, 0

    def _record(self) -> None:
        if not self._waiting:
            return
        outcomes = self._client.record(event_message(event, with_ingest_time=True) for event in self._waiting)
        for outcome in outcomes:
            if outcome.status not in _ACCEPTED:
                status = pb.RecordStatus.Name(outcome.status)
                raise StoreUnavailable(f"{status} for event {outcome.event_id}: {outcome.field} {outcome.reason}")
        self._waiting.clear()

    def _score(self, purchase: Event, week: Week) -> None:
        answer = self._client.score(purchase_message(purchase), record=True, with_features=True)
        expected = dict(zip(self._names, week.matrix[self._row].tolist(), strict=True)) | {
            "score": float(week.scores[self._row]),
            "degraded": 0.0,
            "recorded": 1.0,
        }
        got = {feature.name: feature.value for feature in answer.features} | {
            "score": answer.score,
            "degraded": float(answer.degraded),
            "recorded": float(answer.recorded),
        }
        self._row += 1
        self._payments += 1
        self._values += len(expected)
        for name in {*expected, *got}:
            want, have = expected.get(name), got.get(name)
            if want == have or (want is not None and have is not None and isnan(want) and isnan(have)):
                continue
            self._differences += 1
            self._first = self._first or f"{purchase.event_id}: {name} is {have!r} online and {want!r} offline"
