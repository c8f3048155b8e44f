"""Training: from an event file or a snapshot to a published version; nothing goes live by it.

Replay, divide by time, search on the first two parts when asked to, fit on the first, calibrate and set thresholds
on the second, judge once on the third beside the champion, check that replay and profiles agree, publish. Each
step is kept with the run, see `training.learning.runs`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from service.core.features import FEATURES
from service.errors import BadSetting
from service.registry.artifact import publish
from service.registry.manifest import (
    Comparison,
    FeatureUse,
    Interval,
    Knots,
    Manifest,
    Source,
    Split,
    ThresholdChoice,
    TimeRange,
)
from training.data.events import Progress
from training.learning.champion import champion_of, compared
from training.learning.dataset import Dataset, TimeSplit
from training.learning.evidence import baseline_of, golden_of, metrics_of
from training.learning.learn import Learned, fit_on, learn, stated
from training.learning.mlflow_log import log_run
from training.learning.options import TrainOptions
from training.learning.origin import Origin, origin_of
from training.learning.prepare import Prepared, prepare
from training.learning.provenance import code_revision, libraries
from training.learning.runs import ROWS_FOLDER, STUDY_FILE, Run, RunLog, new_run, published, resumed_run
from training.metrics import Column, recall_by_pattern
from training.replay.cluster import Cluster
from training.report import JudgedRows, report_html
from training.snapshot.read import Snapshot


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """What came of a training. `metrics` by part of the split, then by name; `recall` by fraud pattern.

    `version` is None for an experiment, `comparison` None where there was no champion to compare with.
    """

    version: int | None
    run: str
    registry: Path
    rows: Mapping[str, int]
    frauds: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, Interval]]
    recall: Mapping[str, float]
    thresholds: ThresholdChoice
    comparison: Comparison | None


def train(  # noqa: PLR0913  what a training may be asked, all by name
    source: Path | Snapshot,
    registry: Path,
    options: TrainOptions,
    now: datetime,
    progress: Progress,
    *,
    runs: Path | None = None,
    resume: str = "",
    cluster: Cluster | None = None,
) -> TrainSummary:
    """Train, and publish the version unless the options say otherwise; `now` is when, for run and manifest.

    The run is kept in `runs` (None: beside the registry). With `resume`, a run that was killed or failed goes on with
    the options that it began with and the trials that it has. On a Dask `cluster` replay and the last fit
    are spread over its workers. Raises BadSetting, in one sentence, when data, options and registry do not fit
    together. Cost: about 6 s for 100,000 purchases; memory 8 bytes for each feature of each purchase, twice.
    """
    folder = runs or runs_beside(registry)
    begun = resumed_run(folder, resume) if resume else new_run(folder, "train", options.model_dump(mode="json"), now)
    with begun as log:
        summary = train_in(log, source, registry, _options(log.run) if resume else options, progress, cluster)
    log_run(log.run, log.path)
    return summary


def runs_beside(registry: Path) -> Path:
    """Return the folder of runs that stands beside a registry."""
    return registry.parent / "runs"


def train_in(
    log: RunLog,
    source: Path | Snapshot,
    registry: Path,
    options: TrainOptions,
    progress: Progress,
    cluster: Cluster | None = None,
) -> TrainSummary:
    """Train within a run that the caller began; one that had published already only says what it gave."""
    version = published(registry).get(log.run.id)
    if version is not None:
        log.note(version=version)
        return _summary(log.run, registry)
    origin = origin_of(source)
    if log.run.source is not None and log.run.source.content_sha256 != origin.content_sha256:
        raise BadSetting(f"run {log.run.id} began with other data: {log.run.source.id}, not {origin.id}")
    champion = champion_of(registry, origin.habits or options.habits)
    parent = None if champion is None else champion.version
    log.note(step="replaying", recipe=recipe_of(origin, options), seed=options.seed, parent=parent)
    with _scratch(log.path / ROWS_FOLDER) as scratch:
        prepared = prepare(source, origin, champion, options, progress, cluster, scratch)
        log.note(
            source=_source(origin, prepared.dataset),
            rows={name: part.labels.size for name, part in prepared.parts.items()},
            frauds={name: int(part.labels.sum()) for name, part in prepared.parts.items()},
        )
        learned = _learned(log, prepared, options, progress, cluster)
        scores = _judged(log, prepared, learned, options, progress)
        if options.publish:
            log.note(step="publishing")
            log.note(version=_published(log.run, prepared, learned, scores, options, registry))
    return _summary(log.run, registry)


def recipe_of(origin: Origin, options: TrainOptions) -> str:
    """Name what decides what a training gives, 64 hex digits: on one machine, equal recipes give equal models."""
    said = options.model_dump(mode="json", exclude={"notes", "publish"})
    declared = [feature.fingerprint for feature in FEATURES]
    whole = (origin.content_sha256, said, code_revision(), libraries(), declared)
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _learned(
    log: RunLog, prepared: Prepared, options: TrainOptions, progress: Progress, cluster: Cluster | None
) -> Learned:
    """Search, when asked to, and fit."""
    lesson, choice = prepared.lesson(), stated(options)
    if options.tune:
        from training.learning.tune import tune  # noqa: PLC0415  a second to import, and most trainings do not search

        log.note(step="tuning")
        choice, trials = tune(lesson, choice, options, log.path / STUDY_FILE, progress)
        log.note(trials=trials)
    log.note(step="fitting", parameters=dict(choice.parameters))
    progress("fitting", 0, 1)
    learned = learn(lesson, choice, options, fit_on(cluster))
    progress("fitting", 1, 1)
    log.note(
        parameters=dict(learned.choice.parameters),
        sampling={
            "history_days": learned.choice.history_days,
            "honest_share": learned.choice.honest_share,
            "blank_share": options.blank_share,
        },
        thresholds=learned.thresholds,
    )
    return learned


class _Scores(NamedTuple):
    """The scores of the part that judges: the candidate's, and the champion's where it can score these rows."""

    candidate: Column
    champion: Column | None


def _judged(log: RunLog, prepared: Prepared, learned: Learned, options: TrainOptions, progress: Progress) -> _Scores:
    """Read the part that judges, once: measure, and compare with the champion."""
    log.note(step="judging")
    progress("judging", 0, 1)
    model, rows, dataset = learned.model, prepared.judging, prepared.dataset
    unlearned = {name: part for name, part in prepared.parts.items() if name != "train"}
    scores = _Scores(model.scores(rows.matrix), None)
    champion, test = prepared.champion, prepared.split.test
    if champion is not None and test is not None:
        theirs = champion.scores(dataset.matrix[rows.places], dataset.features)
        if theirs is not None:
            scores = _Scores(scores.candidate, theirs)
            log.note(comparison=compared(champion, rows, test, scores.candidate, theirs, options.seed))
    flagged = scores.candidate >= learned.thresholds.review
    log.note(
        metrics=metrics_of(model, unlearned, prepared.features, options.review_rate, options.seed),
        recall=recall_by_pattern(dataset.pattern[rows.places].to_list(), rows.labels, flagged),
        outcome="" if champion is None else champion.why,
    )
    progress("judging", 1, 1)
    return scores


def _published(
    run: Run, prepared: Prepared, learned: Learned, scores: _Scores, options: TrainOptions, registry: Path
) -> int:
    """Publish the version with its golden cases and its report."""
    model, rows, dataset = learned.model, prepared.judging, prepared.dataset
    moments = prepared.origin.moments(prepared.habits)
    golden = golden_of(model, prepared.features, dataset.positions[rows.places], rows.matrix, moments, options.seed)
    train_matrix = prepared.parts["train"].matrix
    manifest = _manifest(run, prepared, learned, options)
    judged = JudgedRows(
        matrix=rows.matrix,
        labels=rows.labels,
        scores=scores.candidate,
        weights=np.ones(rows.labels.size) if rows.weights is None else rows.weights,
        card=dataset.card[rows.places],
        amount_minor=dataset.amount_minor[rows.places],
        pattern=dataset.pattern[rows.places],
        time_ms=dataset.time_ms[rows.places],
        champion_scores=scores.champion,
        seller=prepared.origin.sellers(dataset.positions[rows.places]),
    )
    report = report_html(manifest, judged, train_matrix, model, prepared.features, costs=options.costs)
    return publish(registry, model.text, manifest, golden, report)


def _manifest(run: Run, prepared: Prepared, learned: Learned, options: TrainOptions) -> Manifest:
    model = learned.model
    return Manifest(
        created_at=run.started_at,
        features=tuple(FeatureUse.of(feature) for feature in prepared.features),
        habits=prepared.habits,
        currency=prepared.origin.currency,
        calibration=Knots(raw=model.calibration.raw, probability=model.calibration.probability),
        thresholds=learned.thresholds,
        source=run.source,
        split=_split(prepared.split, options),
        parameters=run.parameters,
        sampling=run.sampling,
        seed=options.seed,
        trees=model.booster.trees,
        metrics=run.metrics,
        baseline=baseline_of(model, prepared.parts["train"].matrix, prepared.features),
        comparison=run.comparison,
        selection=prepared.selection(),
        run=run.id,
        parent=run.parent,
        code_revision=code_revision(),
        libraries=libraries(),
        notes=options.notes,
    )


def _source(origin: Origin, dataset: Dataset) -> Source:
    return Source(
        id=origin.id,
        content_sha256=origin.content_sha256,
        rows=dataset.label.size,
        frauds=int(dataset.label.sum()),
    )


def _split(split: TimeSplit, options: TrainOptions) -> Split:
    ranges = {
        name: TimeRange(begin_ms=part.begin_ms, end_ms=part.end_ms)
        for name, part in split._asdict().items()
        if part is not None
    }
    return Split(**ranges, gap_ms=options.label_delay_ms, label_delay_ms=options.label_delay_ms)


def _summary(run: Run, registry: Path) -> TrainSummary:
    assert run.thresholds is not None, "a training that came to its end set thresholds"
    return TrainSummary(
        version=run.version,
        run=run.id,
        registry=registry,
        rows=run.rows,
        frauds=run.frauds,
        metrics=run.metrics,
        recall=run.recall,
        thresholds=run.thresholds,
        comparison=run.comparison,
    )


def _options(run: Run) -> TrainOptions:
    try:
        return TrainOptions.model_validate(run.options)
    except ValidationError as error:
        raise BadSetting(f"run {run.id} was begun by another release, with other options: begin a new one") from error


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Give an empty folder, and remove it with what is in it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
