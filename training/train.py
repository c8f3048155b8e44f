"""Training: from an event file to a published version; nothing goes live by it.

Replay, divide by time, fit on the first part, calibrate and set thresholds on the second, judge once on the
third, check that replay and profiles agree, publish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from service.core.features import BY_NAME, FEATURES, Feature
from service.core.profile import Habits
from service.core.windows import DAY_MS
from service.errors import BadSetting
from service.registry.artifact import publish
from service.registry.lineup_file import read_lineup
from service.registry.manifest import FeatureUse, Interval, Knots, Manifest, Source, Split, ThresholdChoice, TimeRange
from training import events
from training.calibrate import choose_thresholds
from training.dataset import Dataset, TimeSplit, load_dataset, split_by_time
from training.evidence import Rows, baseline_of, golden_of, metrics_of
from training.fit import PARAMETERS, Parameter, blanked, fit
from training.metrics import recall_by_pattern
from training.model import Model
from training.provenance import code_revision, libraries
from training.report import report_html


class TrainOptions(BaseModel):
    """What a training does; the same events and options give the same model, byte for byte."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(7, ge=0, description="Seed of everything that is random.")
    features: tuple[str, ...] = Field((), description="Names of the features, in the order of the row; none = all.")
    habits: Habits = Field("attempts", description="What habits are made of, as in the service's ingest.habits.")
    cutoff_ms: int = Field(0, ge=0, description="Nothing that became known later is used; 0 = the newest event.")
    label_delay_days: float = Field(
        7.0, gt=0.0, le=120.0, description="Purchases younger than that are left out, and as much lies between parts."
    )
    validation_share: float = Field(0.2, gt=0.0, lt=1.0, description="Share of the time that sets thresholds.")
    test_share: float = Field(0.2, ge=0.0, lt=1.0, description="Share of the time that is judged once; 0 = none.")
    blank_share: float = Field(
        0.1, ge=0.0, le=1.0, description="Share of the rows that are also learned with profiles that were not read."
    )
    review_rate: float = Field(0.02, gt=0.0, lt=1.0, description="Share of the purchases to review or decline.")
    decline_precision: float = Field(
        0.8, gt=0.0, le=1.0, description="Share of the declined purchases that must be fraud."
    )
    least_declined: int = Field(20, ge=1, description="Declined validation purchases below which nothing is declined.")
    parameters: dict[str, Parameter] = Field({}, description="LightGBM's parameters, where they differ from ours.")
    notes: str = Field("", description="For people; kept in the manifest.")


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """What came of a training. `metrics` by part of the split, then by name; `recall` by fraud pattern."""

    version: int
    registry: Path
    rows: dict[str, int]
    frauds: dict[str, int]
    metrics: dict[str, dict[str, Interval]]
    recall: dict[str, float]
    thresholds: ThresholdChoice


class _Learned(NamedTuple):
    """A model with its thresholds and the parameters that LightGBM was given."""

    model: Model
    thresholds: ThresholdChoice
    parameters: dict[str, Parameter]


def train(path: Path, registry: Path, options: TrainOptions, now: datetime, progress: events.Progress) -> TrainSummary:
    """Train on an event file and publish the version; `now` is when, for the manifest.

    Raises BadSetting, in one sentence, when file, options and registry do not fit together. Cost: about 6 s for
    100,000 purchases; memory 8 bytes for each feature of each purchase, twice.
    """
    file = events.about(path)
    source = partial(events.frames, path)
    features = _chosen(options.features)
    progress("replaying", 0, file.rows)
    dataset = load_dataset(source, features, options.habits)
    progress("replaying", file.rows, file.rows)
    split = _split(path, dataset, options)
    parts = _parts(dataset, split, options)

    progress("fitting", 0, 1)
    learned = _learn(features, parts["train"], parts["validation"], options)
    progress("fitting", 1, 1)

    progress("judging", 0, 1)
    model = learned.model
    judged = parts["test"] if "test" in parts else parts["validation"]
    scores = model.scores(judged.matrix)
    patterns = dataset.pattern[judged.places].to_list()
    recall = recall_by_pattern(patterns, judged.labels, scores >= learned.thresholds.review)
    unlearned = {name: part for name, part in parts.items() if name != "train"}
    metrics = metrics_of(model, unlearned, features, options.review_rate, options.seed)
    positions = dataset.positions[judged.places]
    golden = golden_of(model, features, positions, judged.matrix, source, options.habits, options.seed)
    lineup = read_lineup(registry)
    manifest = Manifest(
        created_at=now.astimezone(UTC),
        features=tuple(FeatureUse.of(feature) for feature in features),
        habits=options.habits,
        currency=_currency(path),
        calibration=Knots(raw=model.calibration.raw, probability=model.calibration.probability),
        thresholds=learned.thresholds,
        source=_source(file, dataset),
        split=_split_entry(split, options),
        parameters=learned.parameters,
        seed=options.seed,
        trees=model.booster.trees,
        metrics=metrics,
        baseline=baseline_of(model, parts["train"].matrix, features),
        parent=None if lineup is None else lineup.champion,
        code_revision=code_revision(),
        libraries=libraries(),
        notes=options.notes,
    )
    version = publish(registry, model.text, manifest, golden, report_html(manifest, scores, judged.labels, recall))
    progress("judging", 1, 1)
    return TrainSummary(
        version=version,
        registry=registry,
        rows={name: part.labels.size for name, part in parts.items()},
        frauds={name: int(part.labels.sum()) for name, part in parts.items()},
        metrics=metrics,
        recall=recall,
        thresholds=learned.thresholds,
    )


def _chosen(names: Sequence[str]) -> tuple[Feature, ...]:
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise BadSetting(f"feature {unknown[0]!r} is not declared; docs/features.md lists those that are")
    return tuple(BY_NAME[name] for name in names) or FEATURES


def _split(path: Path, dataset: Dataset, options: TrainOptions) -> TimeSplit:
    if not dataset.time_ms.size:
        raise BadSetting(f"event file {path}: holds no purchases")
    return split_by_time(
        int(dataset.time_ms.min()),
        options.cutoff_ms or dataset.newest_ms,
        _delay_ms(options),
        options.validation_share,
        options.test_share,
    )


def _parts(dataset: Dataset, split: TimeSplit, options: TrainOptions) -> dict[str, Rows]:
    """Return the rows of each part by its name, with the labels that were known when the next one began."""
    parts = {}
    for name, part in split._asdict().items():
        if part is None:
            continue
        places = np.flatnonzero(part.rows(dataset))
        labels = dataset.labels_as_of(part.as_of_ms, _delay_ms(options))[places]
        if not labels.any() or labels.all():
            raise BadSetting(
                f"the {name} part holds {labels.size} purchases, {int(labels.sum())} of them known to be fraud: "
                "it needs both kinds; give more history"
            )
        parts[name] = Rows(places, dataset.matrix[places], labels)
    return parts


def _learn(features: Sequence[Feature], rows: Rows, validation: Rows, options: TrainOptions) -> _Learned:
    drawn, copies = blanked(rows.matrix, features, options.blank_share, options.seed)
    parameters = {**PARAMETERS, **options.parameters}
    matrix = np.concatenate([rows.matrix, copies])
    labels = np.concatenate([rows.labels, rows.labels[drawn]])
    model = Model(fit(matrix, labels, features, options.seed, parameters), validation.matrix, validation.labels)
    thresholds = choose_thresholds(
        model.scores(validation.matrix),
        validation.labels,
        options.review_rate,
        options.decline_precision,
        options.least_declined,
    )
    return _Learned(model, thresholds, parameters)


def _delay_ms(options: TrainOptions) -> int:
    return round(options.label_delay_days * DAY_MS)


def _currency(path: Path) -> str | None:
    """Return the currency of all amounts, None when nobody said or when there are several."""
    named = events.scan(path).select(pl.col("currency").unique()).collect()["currency"].to_list()
    currencies = [currency for currency in named if currency]
    return currencies[0] if len(currencies) == 1 else None


def _source(file: events.EventFile, dataset: Dataset) -> Source:
    return Source(
        id=str(file.origin.get("made_by", file.path.name)),
        content_sha256=file.content_hash,
        rows=dataset.label.size,
        frauds=int(dataset.label.sum()),
    )


def _split_entry(split: TimeSplit, options: TrainOptions) -> Split:
    ranges = {
        name: TimeRange(begin_ms=part.begin_ms, end_ms=part.end_ms)
        for name, part in split._asdict().items()
        if part is not None
    }
    return Split(**ranges, gap_ms=_delay_ms(options), label_delay_ms=_delay_ms(options))
