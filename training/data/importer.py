"""The import: from a file of purchases, with or without labels, to an event file in recorded order.

Rows that break a rule are left out, counted, and listed by number, column and rule in a file of their own;
no value of them is repeated there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.event import EventKind
from service.errors import BadSetting, InvalidInput, Violation
from training.data import events
from training.data.event_rules import Finding, merged
from training.data.import_rows import imported_rows
from training.data.mapping import Mapping
from training.data.source import file_hash, read_source

_MAX_KEY_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What was imported; times in milliseconds.

    `rows` are those of the source, `rejected` of them broke a rule: `findings` tells of the first ones,
    `rejected_path` (None when there is none) of all. `frauds` counts purchases with label 1.
    """

    file: events.EventFile
    rows: int
    rejected: int
    findings: tuple[Finding, ...]
    rejected_path: Path | None
    rounded_amounts: int
    purchases: int
    frauds: int
    first_event_ms: int
    last_event_ms: int


def import_file(
    source: Path,
    mapping: Mapping,
    out: Path,
    progress: events.Progress,
    *,
    strict: bool = False,
    hash_key: bytes = b"",
) -> ImportSummary:
    """Import a file by a mapping; what was at `out` is replaced at the end.

    A label of fraud becomes a confirmation when its truth arrives. Events stand by `ingest_time_ms`; in
    the same millisecond confirmations come before purchases, then rows by the mapping's order.
    `hash_key` (1 to 64 bytes) is needed when the mapping hashes ids. Memory: the mapped columns twice.
    Cost: about 5 µs for each row. Raises BadSetting for a file or a mapping that cannot be used,
    InvalidInput when all rows are bad, or when any is and the import is `strict`: `out` stays as it was.
    """
    _check_key(mapping, hash_key)
    progress("reading rows", 0, 1)
    read = read_source(source, mapping)
    progress("reading rows", 1, 1)
    rows = read.height
    progress("checking rows", 0, rows)
    imported = imported_rows(read, mapping, hash_key)
    del read
    findings = merged([(rows, imported.found)])
    progress("checking rows", rows, rows)
    rejected_path = _write_rejected(out, imported.found)
    _refuse(source, findings.bad_rows, rows, rejected_path, strict=strict)
    bad = pl.int_range(1, rows + 1, eager=True).is_in(imported.found.get_column("row").implode())
    frame = imported.frame.filter(~bad)
    order = _recorded_order(frame, imported.tie.filter(~bad))
    pieces = events.counted(_pieces(frame, order), len(order.row), "writing events", progress)
    origin = {
        "made_by": "import",
        "source": source.name,
        "source_sha256": file_hash(source),
        "mapping": mapping.model_dump(mode="json"),
    }
    bought = frame.filter(pl.col("kind") == int(EventKind.PURCHASE)).get_column("label")
    times = frame.get_column("event_time_ms").to_numpy()
    return ImportSummary(
        file=events.write(out, pieces, origin),
        rows=rows,
        rejected=findings.bad_rows,
        findings=findings.first,
        rejected_path=rejected_path,
        rounded_amounts=int(imported.rounded.sum()),
        purchases=len(bought),
        frauds=int((bought == 1).sum()),
        first_event_ms=int(times.min()),
        last_event_ms=int(times.max()),
    )


class _Order(NamedTuple):
    """The recorded order: for each event the row that it comes from, and for confirmations their time, else -1."""

    row: npt.NDArray[np.int64]
    confirmed_ms: npt.NDArray[np.int64]


def _recorded_order(frame: pl.DataFrame, tie: pl.Series) -> _Order:
    explicit = frame.filter(pl.col("kind") == int(EventKind.FRAUD_CONFIRMED)).get_column("purchase_id")
    fraud = (frame.get_column("label") == 1).fill_null(value=False)
    confirmed = (fraud & ~frame.get_column("purchase_id").is_in(explicit.implode())).arg_true().to_numpy()
    ingest = frame.get_column("ingest_time_ms").to_numpy()
    known = frame.get_column("label_time_ms").fill_null(-1).to_numpy()[confirmed]
    # A confirmation never comes before the purchase that it names.
    known = np.maximum(known, ingest[confirmed] + 1)
    row = np.concatenate([np.arange(frame.height), confirmed])
    confirmed_ms = np.concatenate([np.full(frame.height, -1), known])
    moment = np.concatenate([ingest, known])
    order = np.lexsort((tie.to_numpy()[row], confirmed_ms < 0, moment))
    return _Order(row[order], confirmed_ms[order])


def _pieces(frame: pl.DataFrame, order: _Order) -> Iterator[pl.DataFrame]:
    """Yield the events in pieces; a confirmation is its purchase's row with another kind and only its id."""
    text = [name for name, dtype in events.SCHEMA.items() if dtype == pl.String and name != "purchase_id"]
    counts = ["amount_minor", "quantity"]
    for start in range(0, len(order.row), events.ROW_GROUP_ROWS):
        end = start + events.ROW_GROUP_ROWS
        piece = frame[order.row[start:end]].with_columns(confirmed_ms=pl.Series(order.confirmed_ms[start:end]))
        row = pl.col("confirmed_ms") < 0
        piece = piece.with_columns(
            pl.when(row).then("kind").otherwise(int(EventKind.FRAUD_CONFIRMED)).cast(pl.UInt8),
            pl.when(row).then("event_time_ms").otherwise("confirmed_ms").alias("event_time_ms"),
            pl.when(row).then("ingest_time_ms").otherwise("confirmed_ms").alias("ingest_time_ms"),
            pl.when(row).then(pl.col(text)).otherwise(pl.lit("")).name.keep(),
            pl.when(row).then(pl.col(counts)).otherwise(0).name.keep(),
            pl.when(row).then(pl.col("label", "label_time_ms")).name.keep(),
        )
        yield events.with_event_ids(piece)


def _check_key(mapping: Mapping, hash_key: bytes) -> None:
    if mapping.hashed and not 1 <= len(hash_key) <= _MAX_KEY_BYTES:
        fields = ", ".join(mapping.hashed)
        raise BadSetting(f"mapping {mapping.name}: hashes {fields}, which needs a key of 1 to {_MAX_KEY_BYTES} bytes")


def _write_rejected(out: Path, found: pl.DataFrame) -> Path | None:
    path = out.with_name(f"{out.name}.rejected.parquet")
    try:
        path.unlink(missing_ok=True)
        if found.is_empty():
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        found.write_parquet(path)
    except OSError as error:
        raise BadSetting(f"rejected rows {path}: {error.strerror or error}") from error
    return path


def _refuse(source: Path, bad: int, rows: int, rejected_path: Path | None, *, strict: bool) -> None:
    if not rows:
        raise InvalidInput([Violation(str(source), "has no rows")])
    if bad == rows or (strict and bad):
        raise InvalidInput([Violation(str(source), f"has {bad} bad rows of {rows}; {rejected_path} lists them")])
