"""Ids and their pseudonyms in frames: partitions hold pseudonyms alone, readers who have the keys see ids.

An event id that follows from the event's other columns (`service.core.event.derived_id`) is not kept at
all: null stands for it, and the reader makes it anew out of ids or pseudonyms. One that the caller made up
has a pseudonym of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from service.vault import IdKind
from training.data.events import with_event_ids
from training.snapshot.vault import Vault

_KINDS: Final[Mapping[str, IdKind]] = {
    "user_id": "user",
    "seller_id": "seller",
    "item_id": "item",
    "card_hash": "card",
    "purchase_id": "purchase",
    "event_id": "event",
}
"""What the ids in a column name."""

DERIVED_FROM: Final = (
    "kind",
    "event_time_ms",
    "user_id",
    "seller_id",
    "item_id",
    "card_hash",
    "purchase_id",
    "settlement",
)
"""The columns that a derived event id is made of."""


def hidden(frame: pl.DataFrame, vault: Vault) -> pl.DataFrame:
    """Return a frame as a partition holds it: every id replaced by its pseudonym, derived event ids by null.

    The pseudonyms are durable when the vault has kept them.
    """
    if "event_id" in frame.columns:
        frame = without_derived_ids(frame)
    for column, kind in _KINDS.items():
        if column in frame.columns:
            ids = frame.get_column(column).drop_nulls().unique()
            pairs = vault.hide(kind, ids.filter(ids != ""))
            frame = _replaced(frame, column, pairs.rename({"id": "from", "pseudonym": "to"}))
    if "purchase_id" in frame.columns:
        bought = frame.select("purchase_id", "user_id").filter(
            (pl.col("purchase_id") != "") & (pl.col("user_id") != "")
        )
        # Who bought is the owner; who only asked about a purchase is, until somebody buys.
        vault.own(*bought.unique("purchase_id").get_columns(), anew="kind" in frame.columns)
    if "event_id" in frame.columns:
        about = pl.when(pl.col("purchase_id") != "").then("purchase_id").otherwise("user_id").alias("about")
        made_up = frame.select("event_id", about).filter(pl.col("event_id").is_not_null() & (pl.col("about") != ""))
        vault.own(*made_up.get_columns(), anew=True)
    return frame


def revealed(frame: pl.DataFrame, vault: Vault) -> pl.DataFrame:
    """Return a frame with the ids of those pseudonyms whose key is there; the others stay."""
    columns = [column for column in _KINDS if column in frame.columns]
    if not columns or frame.is_empty():
        return frame
    there = pl.concat([frame.get_column(column).drop_nulls().unique().rename("to") for column in columns]).unique()
    pairs = vault.reveal(there.filter(there != "")).rename({"id": "to", "pseudonym": "from"})
    for column in columns:
        frame = _replaced(frame, column, pairs)
    return frame


def without_derived_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with null for the event ids that follow from its other columns; needs `DERIVED_FROM`."""
    derived = with_event_ids(frame).get_column("event_id")
    return frame.with_columns(event_id=pl.when(pl.col("event_id") != derived).then("event_id"))


def with_derived_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame of a partition with the event ids that were left out; needs the columns `DERIVED_FROM`."""
    derived = with_event_ids(frame).get_column("event_id")
    return frame.with_columns(event_id=pl.coalesce("event_id", derived))


def _replaced(frame: pl.DataFrame, column: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with the values of a column replaced where they stand under `from`."""
    found = frame.select(column).join(pairs, left_on=column, right_on="from", how="left", maintain_order="left")
    return frame.with_columns(pl.coalesce(found.get_column("to"), frame.get_column(column)).alias(column))
