"""From indices to the rows of an event file: ids, event ids and columns, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from service.core.event import EventKind
from training.data import events
from training.simulate.aftermath import Stream, Truth
from training.simulate.fraud import PATTERNS
from training.simulate.purchases import Purchases
from training.simulate.world import Integers, World

_PURCHASE_KINDS: Final = (
    EventKind.PURCHASE,
    EventKind.PURCHASE_SETTLED,
    EventKind.FRAUD_CONFIRMED,
    EventKind.FRAUD_CLEARED,
)


@dataclass(frozen=True)
class Ids:
    """The ids of all entities by index; the last entry of each, at index -1, is "" for an absent one."""

    users: pl.Series
    sellers: pl.Series
    items: pl.Series
    cards: pl.Series
    purchases: int


def make_ids(world: World, purchases: int) -> Ids:
    """Name everything; numbers follow the time of registration, so that they do not tell thieves from others."""
    return Ids(
        _numbered("u", world.users.times_ms),
        _numbered("s", world.sellers.times_ms),
        _numbered("i", world.items.roster.times_ms),
        _hashed("c", world.cards, world.settings.seed),
        purchases,
    )


def rows(world: World, ids: Ids, purchases: Purchases, truth: Truth, stream: Stream) -> Iterator[pl.DataFrame]:
    """Yield the rows of the event file in pieces of `ROW_GROUP_ROWS`."""
    for start in range(0, len(stream.kind), events.ROW_GROUP_ROWS):
        piece = Stream(*(column[start : start + events.ROW_GROUP_ROWS] for column in stream))
        yield _piece(world, ids, purchases, truth, piece)


def _piece(world: World, ids: Ids, purchases: Purchases, truth: Truth, stream: Stream) -> pl.DataFrame:
    kind, subject = stream.kind, stream.subject
    bought = kind == EventKind.PURCHASE
    listed = kind == EventKind.ITEM_LISTED
    row = np.where(bought, subject, 0)
    goods = np.where(listed, subject, 0)

    def entity(names: pl.Series, own: EventKind, of_purchase: Integers) -> pl.Series:
        index = np.where(bought, of_purchase[row], np.where(kind == own, subject, -1))
        return _named(names, index)

    seller = np.where(listed, world.items.seller[goods], np.where(bought, purchases.seller[row], -1))
    seller = np.where(kind == EventKind.SELLER_REGISTERED, subject, seller)
    price = np.where(listed, world.items.price_minor[goods], 0)
    frame = pl.DataFrame(
        {
            "kind": kind.astype(np.uint8),
            "event_time_ms": stream.event_time_ms,
            "ingest_time_ms": stream.ingest_time_ms,
            "user_id": entity(ids.users, EventKind.USER_REGISTERED, purchases.user),
            "seller_id": _named(ids.sellers, seller),
            "item_id": entity(ids.items, EventKind.ITEM_LISTED, purchases.item),
            "card_hash": entity(ids.cards, EventKind.CARD_REPORTED, purchases.card),
            "purchase_id": _purchase_ids(ids.purchases, np.where(np.isin(kind, _PURCHASE_KINDS), subject, -1)),
            "amount_minor": np.where(bought, purchases.amount_minor[row], price),
            "quantity": np.where(bought, purchases.quantity[row], 0).astype(np.uint32),
            "settlement": stream.settlement.astype(np.uint8),
            "label": truth.label[row].astype(np.int8),
            "label_time_ms": truth.label_time_ms[row],
            "pattern": _named(_PATTERN_NAMES, np.where(bought, purchases.pattern[row], 0)),
        }
    )
    is_purchase = pl.col("kind") == int(EventKind.PURCHASE)
    return events.with_event_ids(frame).with_columns(
        currency=pl.when(is_purchase).then(pl.lit(world.settings.currency)).otherwise(pl.lit("")),
        label=pl.when(is_purchase).then("label"),
        label_time_ms=pl.when(is_purchase).then("label_time_ms"),
    )


def _named(names: pl.Series, index: Integers) -> pl.Series:
    return names.gather(np.where(index < 0, len(names) - 1, index))


def _purchase_ids(count: int, index: Integers) -> pl.Series:
    number = pl.Series("number", index + 1)
    width = _width(count)
    frame = pl.select(
        pl.when(number > 0)
        .then(pl.concat_str(pl.lit("p-"), number.cast(pl.String).str.zfill(width)))
        .otherwise(pl.lit(""))
    )
    return frame.to_series()


def _numbered(prefix: str, times_ms: Integers) -> pl.Series:
    number = np.empty(len(times_ms), np.int64)
    number[np.argsort(times_ms, kind="stable")] = np.arange(1, len(times_ms) + 1)
    width = _width(len(times_ms))
    return pl.Series([*(f"{prefix}-{one:0{width}d}" for one in number.tolist()), ""], dtype=pl.String)


def _hashed(prefix: str, count: int, seed: int) -> pl.Series:
    """Return ids that look like keyed hashes: splitmix64 of index and seed, which maps no two indices to one."""
    with np.errstate(over="ignore"):
        x = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(1 << 32)) * np.uint64(_GOLDEN)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    digits = x.astype(">u8").tobytes().hex()
    return pl.Series([*(f"{prefix}-{digits[at : at + 16]}" for at in range(0, 16 * count, 16)), ""], dtype=pl.String)


def _width(count: int) -> int:
    return max(len(str(count)), 6)


_GOLDEN: Final = 0x9E3779B97F4A7C15
_PATTERN_NAMES: Final = pl.Series(["", *(pattern.name for pattern in PATTERNS), ""])
