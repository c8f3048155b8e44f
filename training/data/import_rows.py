"""From the columns of a file, by a mapping, to complete events in the order of the file."""

from __future__ import annotations

from typing import Final, NamedTuple

import polars as pl

from service.core.event import EventKind, Settlement
from service.core.windows import DAY_MS
from training.data import events, parse
from training.data.event_rules import UNIQUE, judge, lines
from training.data.mapping import FieldName, Mapping

_KINDS: Final = {kind.name: int(kind) for kind in EventKind}
_SETTLEMENTS: Final = {one.name: int(one) for one in Settlement if one}


class ImportedRows(NamedTuple):
    """One complete event for each row of the file, in its order.

    `found` lists the rules that rows break, as `training.data.event_rules.judge` does; `rounded` flags amounts
    that were finer than a minor unit; `tie` orders rows that are known in the same millisecond.
    """

    frame: pl.DataFrame
    found: pl.DataFrame
    rounded: pl.Series
    tie: pl.Series


def imported_rows(read: pl.DataFrame, mapping: Mapping, hash_key: bytes) -> ImportedRows:
    """Parse, complete and judge what was read. Raises BadSetting when numbers stand for times without a format."""
    given = {field: _blank_as_null(read.get_column(name)) for field, name in mapping.columns.items()}
    parsed = {field: _parsed(field, column, mapping, hash_key) for field, column in given.items()}
    frame = _completed(pl.DataFrame({field: column for field, (column, _) in parsed.items()}), mapping)
    found = [
        *(
            lines(column.is_null() & given[field].is_not_null(), field, words)
            for field, (column, words) in parsed.items()
        ),
        *_absent_amounts(frame, given),
        judge(frame, numeric_ids=mapping.numeric_ids),
        lines(~frame.get_column("event_id").is_first_distinct(), "event_id", UNIQUE),
    ]
    # One finding for each field of a row: what could not be read also breaks the rule of its range.
    first = (
        pl.concat(found).unique(["row", "column"], keep="first", maintain_order=True).sort("row", maintain_order=True)
    )
    return ImportedRows(frame, first, _rounded(given, mapping), _ties(read, mapping))


def _blank_as_null(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        return column
    return pl.select(pl.when(column.str.strip_chars() != "").then(column)).to_series().alias(column.name)


def _parsed(field: FieldName, column: pl.Series, mapping: Mapping, hash_key: bytes) -> tuple[pl.Series, str]:
    """Return the column as events have it, and what a value must be so that it can be read."""
    match field:
        case "user_id" | "seller_id" | "item_id" | "card_hash" | "purchase_id":
            key = hash_key if field in mapping.hashed else None
            return parse.ids(column, mapping.prefixes.get(field, ""), key), "must be text or a whole number"
        case "event_time_ms" | "ingest_time_ms" | "label_time_ms":
            made = parse.times_ms(column, mapping.time_format, mapping.time_zone)
            return made, f"must be a time (time_format {mapping.time_format})"
        case "amount_minor":
            return parse.scaled(column, mapping.amount_decimals).numbers, "must be a decimal number"
        case "quantity":
            numbers = parse.whole_numbers(column)
            return numbers.cast(pl.UInt32, strict=False), "must be a whole number"
        case "label":
            return parse.labels(column), "must be 1 or 0, true or false, yes or no"
        case "currency":
            return column.cast(pl.String, strict=False), "must be text"
        case "kind":
            return parse.names(column, _KINDS), f"must be one of {', '.join(_KINDS).lower()}"
        case "settlement":
            return parse.names(column, _SETTLEMENTS), f"must be one of {', '.join(_SETTLEMENTS)}"


def _completed(parsed: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Return complete events: constants where the file says nothing, event ids from the content."""
    height = parsed.height
    purchase = pl.col("kind") == int(EventKind.PURCHASE)
    if "kind" not in parsed.columns:
        parsed = parsed.with_columns(kind=pl.lit(int(EventKind.PURCHASE), dtype=pl.UInt8))
    if "purchase_id" not in parsed.columns:
        numbered = pl.concat_str(pl.lit("p-"), pl.int_range(1, height + 1).cast(pl.String))
        parsed = parsed.with_columns(purchase_id=pl.when(purchase).then(numbered).otherwise(pl.lit("")))
    nothing = {name: pl.lit(None, dtype=dtype) for name, dtype in events.SCHEMA.items() if name not in parsed.columns}
    frame = parsed.with_columns(**nothing).with_columns(
        ingest_time_ms=pl.coalesce("ingest_time_ms", "event_time_ms"),
        currency=pl.when(purchase).then(pl.col("currency").fill_null(mapping.currency)),
        quantity=pl.when(purchase).then(pl.col("quantity").fill_null(mapping.quantity)),
        label=pl.when(purchase).then("label"),
        label_time_ms=pl.when(purchase & pl.col("label").is_not_null()).then(
            pl.coalesce("label_time_ms", pl.col("event_time_ms") + round(mapping.label_delay_days * DAY_MS))
        ),
    )
    return events.with_event_ids(events.complete(frame))


def _absent_amounts(frame: pl.DataFrame, given: dict[FieldName, pl.Series]) -> list[pl.DataFrame]:
    if "amount_minor" not in given:
        return []
    purchase = frame.get_column("kind") == int(EventKind.PURCHASE)
    return [lines(given["amount_minor"].is_null() & purchase, "amount_minor", "must be given for a purchase")]


def _rounded(given: dict[FieldName, pl.Series], mapping: Mapping) -> pl.Series:
    """Return which amounts were rounded; parsing them twice costs less than carrying flags through everything."""
    amounts = given.get("amount_minor", pl.Series("amount_minor", [], dtype=pl.Int64))
    return parse.scaled(amounts, mapping.amount_decimals).rounded


def _ties(read: pl.DataFrame, mapping: Mapping) -> pl.Series:
    """Return the place of each row among those of its millisecond; numbers in text count as numbers."""
    if not mapping.order:
        return pl.int_range(read.height, eager=True)
    keys = []
    for name in mapping.order:
        column = read.get_column(name)
        numbers = parse.whole_numbers(column) if column.dtype == pl.String else column
        keys.append(column if numbers.null_count() > column.null_count() else numbers)
    by = pl.DataFrame({str(at): key for at, key in enumerate(keys)})
    order = by.select(pl.arg_sort_by(by.columns, maintain_order=True)).to_series()
    places = pl.int_range(read.height, eager=True)
    return pl.DataFrame({"row": order, "place": places}).sort("row").get_column("place")
