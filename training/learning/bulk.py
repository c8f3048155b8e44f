"""Scoring in bulk: what a version says of every purchase of a snapshot or an event file.

Rows are those of replay, as of right before each purchase; model, calibration and thresholds are those of the
service, called as the service loads them. So a score has the bits that the service gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from service.core.decision import Decision
from service.errors import BadSetting
from service.registry.servable import Servable
from training.data.events import Progress
from training.data.whole_file import whole_file
from training.learning.dataset import Dataset, load_dataset
from training.learning.origin import Origin, origin_of
from training.replay.cluster import Cluster
from training.replay.stream import Matrix
from training.snapshot.read import Snapshot

BLOCK_ROWS: Final = 1 << 16
"""Rows that are scored at once."""

SCHEMA: Final = pa.schema(
    [
        pa.field("purchase_id", pa.string(), nullable=False),
        pa.field("event_time_ms", pa.int64(), nullable=False),
        pa.field("raw_score", pa.float64(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("model_version", pa.int32(), nullable=False),
    ]
)
"""The columns of a file of scores: one row for each purchase, in recorded order."""


class Scored(NamedTuple):
    """What was written: how many purchases, and how many of them would be reviewed or declined."""

    rows: int
    reviewed: int
    declined: int


def score_source(
    source: Path | Snapshot, servable: Servable, out: Path, progress: Progress, cluster: Cluster | None = None
) -> Scored:
    """Score every purchase of a source and write the scores; what was at `out` is replaced at the end.

    Rows are kept in a file beside `out` meanwhile, 8 bytes for each feature of each purchase. Raises BadSetting
    when the source was recorded with other habits than the version learned from, or a file cannot be used.
    """
    origin = origin_of(source)
    habits = servable.manifest.habits
    if origin.habits not in {None, habits}:
        raise BadSetting(
            f"{origin.name} has habits of {origin.habits}, and version {servable.version} learned from {habits}"
        )
    with (
        whole_file(out, f"file of scores {out}") as partial,
        TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch,
    ):
        dataset = load_dataset(
            source, servable.features, habits, cluster=cluster, scratch=Path(scratch), progress=progress
        )
        return _write(partial, _scores(origin, dataset, servable), dataset.label.size, progress)


def _write(path: Path, frames: Iterator[pl.DataFrame], total: int, progress: Progress) -> Scored:
    counts = dict.fromkeys((one.name for one in Decision), 0)
    progress("scoring", 0, total)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for frame in frames:
            for name, count in frame["decision"].value_counts().iter_rows():
                counts[name] += count
            writer.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(SCHEMA))
            progress("scoring", sum(counts.values()), total)
    return Scored(sum(counts.values()), counts[Decision.REVIEW.name], counts[Decision.DECLINE.name])


def _scores(origin: Origin, dataset: Dataset, servable: Servable) -> Iterator[pl.DataFrame]:
    begin = 0
    for piece in origin.purchases(dataset.positions, ("purchase_id", "event_time_ms")):
        for purchases in piece.iter_slices(BLOCK_ROWS):
            yield _scored(purchases, dataset.matrix[begin : begin + purchases.height], servable)
            begin += purchases.height


def _scored(purchases: pl.DataFrame, matrix: Matrix, servable: Servable) -> pl.DataFrame:
    raw_scores = servable.booster.raw_scores(np.ascontiguousarray(matrix))
    scores = servable.calibration.scores(raw_scores)
    strict = np.searchsorted(servable.thresholds, scores, side="right")
    names = np.array([one.name for one in sorted(Decision)])
    return purchases.with_columns(
        raw_score=pl.Series(raw_scores),
        score=pl.Series(scores),
        decision=pl.Series(names[strict]),
        model_version=pl.lit(servable.version, pl.Int32),
    ).select(SCHEMA.names)
