"""The event file: what happened, in recorded order, as one Parquet file.

Rows stand in the order in which a service gets them: by `ingest_time_ms`, a purchase before its
follow-ups. The first thirteen columns are those of `service.core.event.Event`. The last three are never
inputs: `label` and `label_time_ms` say what a purchase turned out to be and when that was known (null:
nobody knows), `pattern` names the simulated fraud for reports.

The file carries what it was made from and a hash of its content, so that a model can name what it saw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from service.core.event import Event, EventKind, Settlement
from service.errors import BadSetting
from training.data.content_hash import ContentHash
from training.data.whole_file import whole_file

SCHEMA_VERSION: Final = 1

SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "event_id": pl.String(),
    "kind": pl.UInt8(),
    "event_time_ms": pl.Int64(),
    "ingest_time_ms": pl.Int64(),
    "user_id": pl.String(),
    "seller_id": pl.String(),
    "item_id": pl.String(),
    "card_hash": pl.String(),
    "purchase_id": pl.String(),
    "amount_minor": pl.Int64(),
    "currency": pl.String(),
    "quantity": pl.UInt32(),
    "settlement": pl.UInt8(),
    "label": pl.Int8(),
    "label_time_ms": pl.Int64(),
    "pattern": pl.String(),
}
"""Every column with its type, in order; `label` and `label_time_ms` alone may be null."""

EVENT_COLUMNS: Final = tuple(SCHEMA)[:13]
"""The columns that make an `Event`, in the order of its fields."""

NULLABLE: Final = frozenset({"label", "label_time_ms"})

ROW_GROUP_ROWS: Final = 1 << 17
"""Rows that are held at once while a file is written or read."""

Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)`: called after each piece of work, with `done` of `total` rows."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody how far it got: the `Progress` of whoever does not ask."""


_METADATA_KEY: Final = b"fraud.events"
_KINDS: Final = {int(kind): kind for kind in EventKind}
_SETTLEMENTS: Final = {int(settlement): settlement for settlement in Settlement}


@dataclass(frozen=True, slots=True)
class EventFile:
    """What an event file says of itself.

    `content_hash` is the SHA-256 of the columns (64 hex digits): equal content, equal hash, whatever the
    compression or the size of the pieces in which it was written. `origin` says what it was made from:
    the seed and settings of a simulation, or name and SHA-256 of an imported file.
    """

    path: Path
    rows: int
    content_hash: str
    origin: Mapping[str, Any]


def complete(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with exactly the columns of `SCHEMA`; absent ones become zero, "" or null.

    Raises polars' InvalidOperationError when a value does not fit its column's type.
    """
    columns = []
    for name, dtype in SCHEMA.items():
        if name in frame.columns:
            column = pl.col(name).cast(dtype)
            columns.append(column if name in NULLABLE else column.fill_null(_zero(name)))
        else:
            columns.append(pl.lit(_zero(name), dtype=dtype).alias(name))
    return frame.select(columns)


def with_event_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a complete frame with the event ids that `service.core.event.derived_id` gives."""
    kind = pl.col("kind")
    body = (
        pl.when(pl.col("purchase_id") != "")
        .then("purchase_id")
        .when(kind == int(EventKind.SELLER_REGISTERED))
        .then("seller_id")
        .when(kind == int(EventKind.ITEM_LISTED))
        .then("item_id")
        .otherwise(pl.concat_str("user_id", "card_hash"))
    )
    reported = pl.concat_str(pl.lit(":"), pl.col("event_time_ms").cast(pl.String))
    settled = pl.col("settlement").replace_strict(_SETTLED_SUFFIX, default="", return_dtype=pl.String)
    suffix = pl.when(kind == int(EventKind.CARD_REPORTED)).then(reported).otherwise(settled)
    prefix = kind.replace_strict(_PREFIXES, default="", return_dtype=pl.String)
    return frame.with_columns(event_id=pl.concat_str(prefix, body, suffix))


def write(path: Path, frames: Iterable[pl.DataFrame], origin: Mapping[str, Any]) -> EventFile:
    """Write the frames, in their order, as one event file; what was at `path` is replaced at the end.

    Absent columns are completed. Holds one frame at a time. Raises BadSetting when the disk refuses.
    """
    content = ContentHash(f"events {SCHEMA_VERSION}", tuple(SCHEMA))
    rows = 0
    with (
        whole_file(path, f"event file {path}") as partial,
        pq.ParquetWriter(partial, _ARROW_SCHEMA, compression="zstd", use_dictionary=_DICTIONARY) as writer,
    ):
        for frame in frames:
            whole = complete(frame)
            rows += whole.height
            content.add(whole)
            writer.write_table(_arrow(whole), row_group_size=ROW_GROUP_ROWS)
        file = EventFile(path, rows, content.hexdigest(), origin)
        writer.add_key_value_metadata({_METADATA_KEY: _metadata(file)})
    return file


def about(path: Path) -> EventFile:
    """Return what a file says of itself; reads the footer only. Raises BadSetting when it is no event file."""
    with _open(path) as parquet:
        metadata = json.loads((parquet.metadata.metadata or {}).get(_METADATA_KEY, b"{}"))
        if metadata.get("schema_version") != SCHEMA_VERSION:
            raise BadSetting(
                f"event file {path}: schema version {metadata.get('schema_version')} is not {SCHEMA_VERSION}; "
                "make it anew with `python -m training simulate` or `import`"
            )
        return EventFile(path, parquet.metadata.num_rows, metadata["content_hash"], metadata["origin"])


def scan(path: Path) -> pl.LazyFrame:
    """Return the columns lazily, in recorded order. Raises BadSetting when it is no event file."""
    about(path)
    return pl.scan_parquet(path)


def frames(path: Path, columns: Sequence[str] = tuple(SCHEMA)) -> Iterator[pl.DataFrame]:
    """Yield the file in pieces of up to `ROW_GROUP_ROWS` rows. Raises BadSetting when it is no event file."""
    about(path)
    with _open(path) as parquet:
        for groups in _row_groups(parquet):
            for batch in parquet.iter_batches(ROW_GROUP_ROWS, groups, list(columns)):
                yield pl.DataFrame(pa.Table.from_batches([batch])).select(columns)


def batches(path: Path, size: int = 1000) -> Iterator[list[Event]]:
    """Yield the file as events, `size` at a time, in recorded order; some 400,000 a second.

    Raises BadSetting when it is no event file, ValueError when a number names no kind or settlement:
    files from elsewhere go through `training.data.event_rules.problems_of` first.
    """
    for frame in frames(path, EVENT_COLUMNS):
        events = events_of(frame)
        for start in range(0, len(events), size):
            yield events[start : start + size]


def events_of(frame: pl.DataFrame) -> list[Event]:
    """Return the rows of a frame as events."""
    columns = {name: frame.get_column(name).to_list() for name in EVENT_COLUMNS}
    try:
        columns["kind"] = [_KINDS[number] for number in columns["kind"]]
        columns["settlement"] = [_SETTLEMENTS[number] for number in columns["settlement"]]
    except KeyError as error:
        raise ValueError("a kind or settlement is not one that this release knows") from error
    return list(map(Event, *columns.values()))


def frame_of(recorded: Sequence[Event]) -> pl.DataFrame:
    """Return events as a complete frame, without labels: the inverse of `events_of`."""
    columns = zip(*map(attrgetter(*EVENT_COLUMNS), recorded), strict=True) if recorded else ((),) * len(EVENT_COLUMNS)
    named = zip(EVENT_COLUMNS, columns, strict=True)
    return complete(pl.DataFrame({name: pl.Series(column, dtype=SCHEMA[name]) for name, column in named}))


def counted(pieces: Iterable[pl.DataFrame], total: int, what: str, progress: Progress) -> Iterator[pl.DataFrame]:
    """Yield the pieces and tell how far they got."""
    done = 0
    progress(what, done, total)
    for piece in pieces:
        yield piece
        done += piece.height
        progress(what, done, total)


_PREFIXES: Final = {
    int(kind): prefix
    for kind, prefix in (
        (EventKind.USER_REGISTERED, "registered:user:"),
        (EventKind.SELLER_REGISTERED, "registered:seller:"),
        (EventKind.ITEM_LISTED, "listed:"),
        (EventKind.PURCHASE_SETTLED, "settled:"),
        (EventKind.CARD_REPORTED, "reported:"),
        (EventKind.FRAUD_CONFIRMED, "fraud:"),
        (EventKind.FRAUD_CLEARED, "cleared:"),
    )
}
"""What a derived event id begins with, by kind."""

_SETTLED_SUFFIX: Final = {int(one): f":{one.name}" for one in Settlement if one}


def _zero(name: str) -> str | int | None:
    if name in NULLABLE:
        return None
    return "" if SCHEMA[name] == pl.String else 0


def _metadata(file: EventFile) -> bytes:
    return json.dumps(
        {"schema_version": SCHEMA_VERSION, "content_hash": file.content_hash, "origin": dict(file.origin)}
    ).encode()


def _arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_ARROW_SCHEMA)


def _row_groups(parquet: pq.ParquetFile) -> Iterator[list[int]]:
    """Yield the row groups, as many at a time as make a piece: Arrow holds what it has read of them until the last."""
    groups: list[int] = []
    rows = 0
    for group in range(parquet.num_row_groups):
        groups.append(group)
        rows += parquet.metadata.row_group(group).num_rows
        if rows >= ROW_GROUP_ROWS:
            yield groups
            groups, rows = [], 0
    if groups:
        yield groups


def _open(path: Path) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        reason = getattr(error, "strerror", None) or "is not a Parquet file"
        raise BadSetting(f"event file {path}: {reason}") from error
    missing = [name for name in SCHEMA if name not in parquet.schema_arrow.names]
    if missing:
        parquet.close()
        raise BadSetting(
            f"event file {path}: has no column {missing[0]}; bring your own data with `python -m training import`"
        )
    return parquet


_ARROW_TYPES: Final = {
    pl.String(): pa.string(),
    pl.UInt8(): pa.uint8(),
    pl.UInt32(): pa.uint32(),
    pl.Int8(): pa.int8(),
    pl.Int64(): pa.int64(),
}
_ARROW_SCHEMA: Final = pa.schema(
    [pa.field(name, _ARROW_TYPES[dtype], nullable=name in NULLABLE) for name, dtype in SCHEMA.items()]
)
# Ids of events and purchases hardly repeat: a dictionary of them only costs.
_DICTIONARY: Final = [name for name in SCHEMA if name not in {"event_id", "purchase_id"}]
