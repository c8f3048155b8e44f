"""The benchmark through the running service: what gRPC answers must equal what was computed offline.

The history is recorded in the order of the event file; in a test week every payment is scored with
`record`, and confirmations are recorded when they are due. Every feature and every score is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from math import isnan
from pathlib import Path
from typing import Final, NamedTuple

from service.client import FraudClient, purchase_message
from service.core.event import Event, EventKind
from service.core.features import Feature
from service.core.windows import DAY_MS
from service.registry.artifact import publish
from service.registry.manifest import FeatureUse, Knots, Manifest
from service.registry.promotion import promote
from training.benchmark.handbook import WEEK_DAYS, Benchmark, Options, WeekModel, learned_rows, week_rows
from training.data.events import Progress, about, batches
from training.learning.calibrate import choose_thresholds
from training.learning.evidence import golden_of
from training.learning.origin import origin_of
from training.live import BATCH_EVENTS, answered, record, running_service, wait_followed
from training.metrics import Column
from training.replay.stream import Matrix

CALL_TIMEOUT_MS: Final = 60_000


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


def check_online(events: Path, folder: Path, benchmark: Benchmark, options: Options, progress: Progress) -> Comparison:
    """Run the weeks of a benchmark through a service of our own, whose store and registry lie in `folder`."""
    registry = folder / "registry"
    weeks = [_published(registry, events, benchmark, trained, options) for trained in benchmark.models]
    # Neither the budget nor the deadline may degrade an answer here: equality is measured, not speed.
    with running_service(folder, registry, SERVER__BUDGET_MS=str(CALL_TIMEOUT_MS), LOG_LEVEL="error") as target:
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
    moments = origin_of(events).moments("attempts")
    golden = golden_of(model, options.features, positions, week, moments, options.seed)
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
        wait_followed(self._client, week.version)
        self._week, self._row = week, 0

    def _record(self) -> None:
        if self._waiting:
            record(self._client, self._waiting)
        self._waiting.clear()

    def _score(self, purchase: Event, week: Week) -> None:
        with answered():
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
