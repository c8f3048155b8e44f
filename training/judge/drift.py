"""How far recent decisions have drifted from what a version saw when it was trained.

The population stability index of each feature and of the score, against the baseline in the manifest. It
compares distributions and needs no label: it warns weeks before the truth arrives, and it cannot say that a
model became worse, only that it works on other inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from service.core.windows import DAY_MS
from service.errors import BadSetting
from service.registry.manifest import Histogram, Manifest
from service.registry.servable import resolved
from training.data.events import Progress, silent
from training.judge.outcomes import RecordedLog, holds_purchase
from training.judge.recorded_rows import ROW_COLUMNS, RecordedRows
from training.learning.facts import largest
from training.metrics import Column, counted, stability_index
from training.snapshot.read import Snapshot
from training.snapshot.schema import MISSING_COLUMNS

RECENT_DAYS: Final = 7.0
"""A week, so that no day of the week looks like drift."""

SCORE: Final = "score"
"""Under this name the drift of the score stands among those of the features."""

_READ: Final = ("position", "event_time_ms", "scores", *ROW_COLUMNS, *MISSING_COLUMNS)


class Stability(NamedTuple):
    """The stability index of a column, what as many values of an unchanged population give on average, and how many."""

    value: float
    noise: float
    values: int


class Drift(NamedTuple):
    """What was found: by feature, and by `SCORE` where the version scored, the largest index first.

    `left_out` counts decisions whose rows lack a feature of the version, by its name.
    """

    columns: Mapping[str, Stability]
    since_ms: int
    left_out: Mapping[str, int]


def drift_of(
    snapshot: Snapshot, manifest: Manifest, registry: Path | None = None, days: float = RECENT_DAYS
) -> dict[str, float]:
    """Return the index of each feature, and of `SCORE`, over the last days of a snapshot, the largest first.

    Raises as `measure_drift` does.
    """
    since_ms = newest_decision_ms(snapshot) - int(days * DAY_MS)
    found = measure_drift(snapshot, manifest, snapshot.manifest.layouts, registry, since_ms)
    return {name: one.value for name, one in found.columns.items()}


def newest_decision_ms(log: RecordedLog) -> int:
    """Return the newest event time among the decisions, 0 for none."""
    return max((largest(piece["event_time_ms"]) for piece in log.decisions(("event_time_ms",))), default=0)


def measure_drift(
    log: RecordedLog,
    manifest: Manifest,
    layouts: Mapping[str, Sequence[str]],
    registry: Path | None,
    since_ms: int,
    progress: Progress = silent,
) -> Drift:
    """Measure the decisions for purchases from `since_ms` on against the baseline of a version.

    Every decision counts, also further ones of a purchase, but for those made when the purchase had been
    recorded: their rows are unknown throughout. Reads the decisions once, in pieces, and holds histograms.
    Raises BadArtifact when a feature of the version is not that of this release, BadSetting when the version
    has no baseline or none of the rows has its features.
    """
    if manifest.baseline is None:
        raise BadSetting(f"version {manifest.version} has no baseline to compare with: train it anew")
    features = resolved(manifest)
    reader = RecordedRows(features, layouts, registry)
    expected = {**manifest.baseline.features, SCORE: manifest.baseline.score}
    found = {name: counted(histogram.edges, np.zeros(0)) for name, histogram in expected.items()}
    rows = read = 0
    for piece in log.decisions(_READ):
        recent = piece.filter((pl.col("event_time_ms") >= since_ms) & ~holds_purchase())
        for _, matrix in reader.of(recent):
            rows += len(matrix)
            for at, feature in enumerate(features):
                if feature.name in found:
                    found[feature.name] = _added(found[feature.name], matrix[:, at])
        scores = recent.select("versions", "scores").explode("versions", "scores")
        own = scores.filter(pl.col("versions") == manifest.version)["scores"]
        found[SCORE] = _added(found[SCORE], own.to_numpy())
        read += piece.height
        progress("decisions read", read, read)
    if not rows:
        raise BadSetting(reader.refusal(manifest.version) if reader.left_out else "no decision is that recent")
    columns = {name: _index(expected[name], found[name]) for name in expected if _values(found[name])}
    ranked = dict(sorted(columns.items(), key=lambda column: -column[1].value))
    return Drift(ranked, since_ms, dict(reader.left_out))


def _added(histogram: Histogram, column: Column) -> Histogram:
    more = counted(histogram.edges, column)
    counts = tuple(one + other for one, other in zip(histogram.counts, more.counts, strict=True))
    return Histogram(edges=histogram.edges, counts=counts, unknown=histogram.unknown + more.unknown)


def _values(histogram: Histogram) -> int:
    return sum(histogram.counts) + histogram.unknown


def _index(expected: Histogram, found: Histogram) -> Stability:
    pairs = zip((*expected.counts, expected.unknown), (*found.counts, found.unknown), strict=True)
    bins = sum(bool(one or other) for one, other in pairs)
    trained, values = _values(expected), _values(found)
    noise = (bins - 1) * (1.0 / trained + 1.0 / values) if trained else np.nan
    return Stability(stability_index(expected, found), noise, values)
