"""The file of rows: what replay gives, as Parquet, for notebooks and other trainers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from service.core.features import Feature
from service.core.profile import Habits
from service.errors import BadSetting
from training.events import Progress, about, frames
from training.replay import replay

_COLUMNS = ("purchase_id", "event_time_ms", "label", "label_time_ms", "pattern")


def write_rows(path: Path, out: Path, features: Sequence[Feature], habits: Habits, progress: Progress) -> int:
    """Write one row for each purchase of an event file and return how many.

    Columns: those of the purchase that are no input (id, time, label, pattern), then the features. Holds
    one piece of the file at a time. Raises BadSetting when a file cannot be read or written.
    """
    total, done, written = about(path).rows, 0, 0
    names = [feature.name for feature in features]
    writer: pq.ParquetWriter | None = None
    try:
        for rows, piece in zip(replay(partial(frames, path), features, habits), frames(path, _COLUMNS), strict=True):
            matrix = pl.DataFrame(rows.matrix, schema=names, orient="row")
            table = pl.concat([piece[rows.positions - done], matrix], how="horizontal").to_arrow()
            writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
            writer.write_table(table)
            written += rows.positions.size
            done += piece.height
            progress("replaying", done, total)
    except OSError as error:
        raise BadSetting(f"rows file {out}: {error.strerror or error}") from error
    finally:
        if writer is not None:
            writer.close()
    return written
