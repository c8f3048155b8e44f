"""A snapshot as an event file, for what takes one: `record` into another service, `train`, `replay`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from service.core.event import FOLLOW_UPS, EventKind
from training.data.events import EVENT_COLUMNS, EventFile, Progress, counted, write
from training.snapshot.read import Snapshot
from training.snapshot.schema import ENTITY_COLUMNS

_FOLLOW_UPS: Final = [int(kind) for kind in FOLLOW_UPS]
_TRUTHS: Final = {int(EventKind.FRAUD_CONFIRMED): 1, int(EventKind.FRAUD_CLEARED): 0}


def write_event_file(snapshot: Snapshot, out: Path, progress: Progress) -> EventFile:
    """Write the events of a snapshot as one event file, in the order of the log; it holds ids as the reader shows them.

    Labels are what was said last: fraud from a confirmation on, honest from its clearing on, unknown where
    nobody said anything. `ingest_time_ms` may go back a little where writers ran side by side, or where a
    follow-up waited for its purchase. Holds the labels of all purchases in memory. Raises BadSetting.
    """
    truths = _truths(snapshot)
    origin = {
        "source": "snapshot",
        "id": snapshot.manifest.id,
        "content_sha256": snapshot.manifest.content_sha256,
        "habits": snapshot.manifest.habits,
        "currency": snapshot.manifest.currency,
    }
    pieces = counted(snapshot.events(EVENT_COLUMNS), snapshot.manifest.rows_events, "writing events", progress)
    return write(out, _labelled(pieces, truths), origin)


def _truths(snapshot: Snapshot) -> pl.DataFrame:
    """Return `label` and `label_time_ms` by `purchase_id`: what was said last."""
    said = [
        piece.filter(pl.col("kind").is_in(list(_TRUTHS))).select(
            "purchase_id",
            label=pl.col("kind").replace_strict(_TRUTHS, return_dtype=pl.Int8),
            label_time_ms="ingest_time_ms",
        )
        for piece in snapshot.events(("kind", "purchase_id", "ingest_time_ms"))
    ]
    empty = pl.DataFrame(schema={"purchase_id": pl.String, "label": pl.Int8, "label_time_ms": pl.Int64})
    return pl.concat([empty, *said]).unique("purchase_id", keep="last")


def _labelled(pieces: Iterator[pl.DataFrame], truths: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the pieces with their labels; a follow-up names its purchase alone again."""
    follows = pl.col("kind").is_in(_FOLLOW_UPS)
    bought = pl.col("kind") == int(EventKind.PURCHASE)
    for piece in pieces:
        joined = piece.join(truths, on="purchase_id", how="left", maintain_order="left")
        yield joined.with_columns(
            *(pl.when(~follows).then(name).otherwise(pl.lit("")).alias(name) for name in ENTITY_COLUMNS),
            *(pl.when(bought).then(name).alias(name) for name in ("label", "label_time_ms")),
        )
