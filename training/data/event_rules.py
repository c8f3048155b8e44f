"""The rules of the wire, over columns: what a service would refuse is found before it is asked.

A rule names a column and says in words what must hold. Findings never repeat a value, so nothing secret
is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from service.core.event import FOLLOW_UPS, RESERVED_PREFIXES, EventKind, Settlement
from service.core.limits import (
    EARLIEST_MS,
    ID_CHARACTERS,
    ID_WORDS,
    LATEST_MS,
    MAX_AMOUNT_MINOR,
    MAX_EVENT_ID_LENGTH,
    MAX_ID_LENGTH,
    MAX_QUANTITY,
    looks_like_card,
)
from training.data import events

MAX_SKEW_MS: Final = 300_000
"""How much earlier than it happened an event may be known: the clocks of two machines differ."""

MAX_FINDINGS: Final = 20
UNIQUE: Final = "must not come twice"


class Finding(NamedTuple):
    """One thing that is wrong: row number (the first is 1), column, and the rule in words."""

    row: int
    column: str
    rule: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a file: how many rows, and the first `MAX_FINDINGS` things."""

    rows: int
    bad_rows: int
    first: tuple[Finding, ...]


class Rule(NamedTuple):
    """What must hold of a column; `holds` is never null on a completed frame."""

    column: str
    words: str
    holds: pl.Expr


def problems_of(path: Path, *, numeric_ids: bool = False) -> Findings:
    """Check a whole event file: every rule on every row, the recorded order, and that event ids are unique.

    Reads it in pieces; cost: 8 bytes of memory for each row, a second for two million rows. Raises
    BadSetting when it is no event file.
    """
    hashes = [frame.get_column("event_id").hash() for frame in events.frames(path, ["event_id"])]
    ids = pl.concat([pl.Series("event_id", [], dtype=pl.UInt64), *hashes])
    repeated = ids.filter(ids.is_duplicated()).unique()
    return merged(_judged(events.frames(path), repeated, numeric_ids=numeric_ids))


def judge(frame: pl.DataFrame, *, numeric_ids: bool = False) -> pl.DataFrame:
    """Return what is wrong with the rows of a completed frame, as columns `row`, `column` and `rule`.

    `row` is 1 for the first row of the frame; there is one line for each broken rule, in order of `row`.
    `numeric_ids` allows ids other than a card's to look like card numbers.
    """
    rules = _rules(frame, numeric_ids=numeric_ids)
    broken = frame.select((~rule.holds).alias(str(at)) for at, rule in enumerate(rules))
    found = [lines(broken.get_column(str(at)), rule.column, rule.words) for at, rule in enumerate(rules)]
    return pl.concat(found).sort("row", maintain_order=True)


def merged(judged: Iterable[tuple[int, pl.DataFrame]]) -> Findings:
    """Return the findings of all pieces, given for each the number of its rows and what `judge` found there."""
    rows = bad_rows = 0
    first: list[Finding] = []
    for height, found in judged:
        bad_rows += found.get_column("row").n_unique()
        missing = MAX_FINDINGS - len(first)
        first += [Finding(rows + row, column, rule) for row, column, rule in found.head(missing).iter_rows()]
        rows += height
    return Findings(rows, bad_rows, tuple(first))


def _judged(
    pieces: Iterable[pl.DataFrame], repeated: pl.Series, *, numeric_ids: bool
) -> Iterator[tuple[int, pl.DataFrame]]:
    newest_ms = pl.Series("newest", [0])
    for frame in pieces:
        ingest = frame.get_column("ingest_time_ms")
        before = pl.concat([newest_ms, ingest]).head(frame.height)
        found = [
            judge(frame, numeric_ids=numeric_ids),
            lines(frame.get_column("event_id").hash().is_in(repeated.implode()), "event_id", UNIQUE),
            lines(ingest < before, "ingest_time_ms", "must not go back: rows stand in recorded order"),
        ]
        yield frame.height, pl.concat(found).sort("row", maintain_order=True)
        newest_ms = ingest.tail(1)


def lines(broken: pl.Series, column: str, words: str) -> pl.DataFrame:
    """Return one line, as `judge` does, for each row where the flag is set."""
    rows = broken.arg_true().cast(pl.Int64) + 1
    return pl.DataFrame({"row": rows}).with_columns(column=pl.lit(column), rule=pl.lit(words))


def _rules(frame: pl.DataFrame, *, numeric_ids: bool) -> list[Rule]:
    purchase = _is({EventKind.PURCHASE})
    return [
        Rule("kind", "must be 1 to 8", pl.col("kind").is_between(1, max(EventKind))),
        *_id_rules(),
        *_card_rules(frame, numeric_ids=numeric_ids),
        *_time_rules(),
        *_amount_rules(purchase),
        *_label_rules(purchase),
    ]


def _is(kinds: Iterable[EventKind]) -> pl.Expr:
    return pl.col("kind").is_in([int(kind) for kind in sorted(kinds)])


# Column -> kinds that must have it, kinds that may have it besides.
_OWNERS: Final = {
    "user_id": ({EventKind.USER_REGISTERED, EventKind.PURCHASE}, set[EventKind]()),
    "seller_id": ({EventKind.SELLER_REGISTERED}, {EventKind.ITEM_LISTED, EventKind.PURCHASE}),
    "item_id": ({EventKind.ITEM_LISTED}, {EventKind.PURCHASE}),
    "card_hash": ({EventKind.CARD_REPORTED}, {EventKind.PURCHASE}),
    "purchase_id": ({EventKind.PURCHASE, *FOLLOW_UPS}, set[EventKind]()),
}


def _id_rules() -> Iterator[Rule]:
    words = f"must be {{}} characters out of {ID_WORDS}"
    yield Rule("event_id", words.format(f"1 to {MAX_EVENT_ID_LENGTH}"), _matches("event_id", 1, MAX_EVENT_ID_LENGTH))
    for column, (required, allowed) in _OWNERS.items():
        given = pl.col(column) != ""
        yield Rule(column, words.format(f"1 to {MAX_ID_LENGTH}"), _matches(column, 0, MAX_ID_LENGTH))
        yield Rule(column, "must be given for this kind of event", given | ~_is(required))
        yield Rule(column, "must be empty for this kind of event", ~given | _is(required | allowed))
    bought = pl.col("kind") == int(EventKind.PURCHASE)
    same = pl.col("event_id") == pl.col("purchase_id")
    yield Rule("event_id", "must be the purchase_id of a purchase", same | ~bought)
    reserved = pl.any_horizontal(pl.col("purchase_id").str.starts_with(prefix) for prefix in RESERVED_PREFIXES)
    yield Rule("purchase_id", f"must not begin with {', '.join(RESERVED_PREFIXES)}", ~reserved)


def _matches(column: str, least: int, most: int) -> pl.Expr:
    length = pl.col(column).str.len_bytes()
    return length.is_between(least, most) & ~pl.col(column).str.contains(rf"[^{ID_CHARACTERS}]")


def _card_rules(frame: pl.DataFrame, *, numeric_ids: bool) -> Iterator[Rule]:
    """Only ids made of digits and separators are looked at one by one; in most files there are none."""
    for column in ("card_hash",) if numeric_ids else ("event_id", *_OWNERS):
        digits = (
            frame.get_column(column).unique().to_frame().filter(pl.col(column).str.contains(r"^[0-9.:/_+=@-]{12,}$"))
        )
        cards = [text for text in digits.to_series() if looks_like_card(text)]
        yield Rule(column, "must not look like a card number", ~pl.col(column).is_in(cards))


def _time_rules() -> Iterator[Rule]:
    for column in ("event_time_ms", "ingest_time_ms"):
        inside = pl.col(column).is_between(EARLIEST_MS, LATEST_MS)
        yield Rule(column, "must be milliseconds between the years 2000 and 2100", inside)
    known = pl.col("ingest_time_ms") >= pl.col("event_time_ms") - MAX_SKEW_MS
    yield Rule("ingest_time_ms", "must not lie more than five minutes before event_time_ms", known)


def _amount_rules(purchase: pl.Expr) -> Iterator[Rule]:
    amount, quantity, currency = pl.col("amount_minor"), pl.col("quantity"), pl.col("currency")
    priced = _is({EventKind.PURCHASE, EventKind.ITEM_LISTED})
    yield Rule("amount_minor", f"must be 0 to {MAX_AMOUNT_MINOR}", amount.is_between(0, MAX_AMOUNT_MINOR))
    yield Rule("amount_minor", "must be 0 for this kind of event", (amount == 0) | priced)
    yield Rule(
        "quantity", f"must be 1 to {MAX_QUANTITY} for a purchase", quantity.is_between(1, MAX_QUANTITY) | ~purchase
    )
    yield Rule("quantity", "must be 0 for this kind of event", (quantity == 0) | priced)
    yield Rule(
        "currency", "must be three capital letters for a purchase", currency.str.contains("^[A-Z]{3}$") | ~purchase
    )
    yield Rule("currency", "must be empty for this kind of event", (currency == "") | purchase)
    settled, settlement = _is({EventKind.PURCHASE_SETTLED}), pl.col("settlement")
    yield Rule("settlement", "must be 1 to 4 for a settlement", settlement.is_between(1, max(Settlement)) | ~settled)
    yield Rule("settlement", "must be 0 for this kind of event", (settlement == 0) | settled)


def _label_rules(purchase: pl.Expr) -> Iterator[Rule]:
    label, time = pl.col("label"), pl.col("label_time_ms")
    yield Rule("label", "must be 0, 1 or null", label.is_null() | label.is_in([0, 1]).fill_null(value=True))
    yield Rule("label", "must be null for this kind of event", label.is_null() | purchase)
    yield Rule("label_time_ms", "must be given with a label, and only then", label.is_null() == time.is_null())
    known = (time >= pl.col("event_time_ms")).fill_null(value=True)
    yield Rule("label_time_ms", "must not lie before event_time_ms", known)
    named = pl.col("pattern").str.contains("^[a-z_]{0,32}$")
    yield Rule(
        "pattern",
        "must be up to 32 characters out of a-z_, of a purchase",
        named & ((pl.col("pattern") == "") | purchase),
    )
