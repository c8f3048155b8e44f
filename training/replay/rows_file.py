"""The file of rows: what replay gives, as Parquet, for notebooks and other trainers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from service.core.event import EventKind
from service.core.features import Feature
from service.core.profile import Habits
from service.errors import BadSetting
from training.data.events import Progress, about, frames
from training.replay.by_entity import Spread, parts_for, replay_snapshot, replay_stream_by_entity
from training.replay.order import EventSource
from training.replay.stream import Matrix, Rows, replay
from training.snapshot.read import Snapshot

_COLUMNS: Final = ("purchase_id", "event_time_ms", "label", "label_time_ms", "pattern")
_SNAPSHOT_COLUMNS: Final = ("kind", "position", "purchase_id", "event_time_ms")


def write_rows(path: Path, out: Path, features: Sequence[Feature], habits: Habits, progress: Progress) -> int:
    """Write one row for each purchase of an event file and return how many.

    Columns: those of the purchase that are no input (id, time, label, pattern), then the features. Holds
    one piece of the file at a time. Raises BadSetting when a file cannot be read or written.
    """
    source = partial(frames, path)
    return _write(out, _beside(frames(path, _COLUMNS), replay(source, features, habits, progress)), features)


def write_rows_by_entity(
    source: Path | Snapshot,
    out: Path,
    features: Sequence[Feature],
    habits: Habits,
    spread: Spread,
    progress: Progress,
) -> int:
    """Write the same for an event file or a snapshot, replayed by entity.

    A snapshot has no labels in its rows (they are in its events), and its own habits. Needs 8 bytes for each
    value where the `spread` has its files.
    """
    with TemporaryDirectory(prefix="rows-", dir=spread.scratch) as folder:
        spread = spread._replace(scratch=Path(folder))
        if isinstance(source, Snapshot):
            rows, _ = replay_snapshot(source, features, spread, progress)
            return _write(out, _of_snapshot(source, rows.matrix), features)
        events: EventSource = partial(frames, source.absolute())
        spread = spread._replace(parts=spread.parts or parts_for(about(source).rows))
        rows, _ = replay_stream_by_entity(events, features, habits, spread, progress)
        return _write(out, _beside(frames(source, _COLUMNS), _in_pieces(rows, events)), features)


def _beside(pieces: Iterator[pl.DataFrame], rows: Iterator[Rows]) -> Iterator[tuple[pl.DataFrame, Matrix]]:
    """Yield the purchases of each piece with their rows."""
    done = 0
    for piece, those in zip(pieces, rows, strict=True):
        yield piece[those.positions - done], those.matrix
        done += piece.height


def _in_pieces(rows: Rows, events: EventSource) -> Iterator[Rows]:
    """Yield the rows of each piece of a stream."""
    start = begin = 0
    for piece in events(("kind",)):
        start += piece.height
        end = int(rows.positions.searchsorted(start))
        yield Rows(rows.positions[begin:end], rows.matrix[begin:end])
        begin = end


def _of_snapshot(snapshot: Snapshot, matrix: Matrix) -> Iterator[tuple[pl.DataFrame, Matrix]]:
    begin = 0
    for piece in snapshot.events(_SNAPSHOT_COLUMNS):
        bought = piece.filter(pl.col("kind") == int(EventKind.PURCHASE)).drop("kind")
        yield bought, matrix[begin : begin + bought.height]
        begin += bought.height


def _write(out: Path, pieces: Iterator[tuple[pl.DataFrame, Matrix]], features: Sequence[Feature]) -> int:
    """Write purchases beside their rows, piece by piece; what was at `out` is replaced."""
    names = [feature.name for feature in features]
    written = 0
    writer: pq.ParquetWriter | None = None
    try:
        for purchases, matrix in pieces:
            columns = pl.DataFrame(matrix, schema=names, orient="row")
            table = pl.concat([purchases, columns], how="horizontal").to_arrow()
            writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
            writer.write_table(table)
            written += purchases.height
    except OSError as error:
        raise BadSetting(f"rows file {out}: {error.strerror or error}") from error
    finally:
        if writer is not None:
            with suppress(OSError):  # the disk that refused refuses the footer, too
                writer.close()
    return written
