"""What is known of purchases beyond their rows: when, how much, what they turned out to be and when that was known.

In an event file the truth stands in columns of its own. In a snapshot it is what was recorded: a confirmation
makes a fraud from when it arrived, a clearance takes it back from when it arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.event import EventKind, Settlement
from training.data.hashes import Hashes, hashes
from training.metrics import Labels
from training.replay.kernel import Integers, Reals
from training.replay.order import EventSource

Truths = npt.NDArray[np.uint8]


class Truth(IntEnum):
    """How the truth of a purchase is known."""

    ASSUMED = 0
    """Nobody said anything: honest, once its label has matured."""
    SAID = 1
    """A label arrived, of fraud or of none."""
    UNKNOWN = 2
    """It was declined and nobody said anything: its truth cannot come, and it stands for nothing."""


class Facts(NamedTuple):
    """What is known of each purchase, as columns in recorded order.

    `label` is 1 for fraud and 0 else, as all that is recorded says; `known_ms` is when the first word of it
    arrived (0 = never), `cleared_ms` when a confirmation was taken back (0 = never). `card` is a code of the
    card, or of the user where no card is named, -1 without either. `weight` is how many purchases it stands for.
    `newest_ms` is when the last event of all became known.
    """

    time_ms: Integers
    label: Labels
    known_ms: Integers
    cleared_ms: Integers
    pattern: pl.Series
    newest_ms: int
    amount_minor: Integers
    card: Integers
    truth: Truths
    weight: Reals


_FILE_COLUMNS: Final = (
    "kind",
    "event_time_ms",
    "ingest_time_ms",
    "user_id",
    "card_hash",
    "purchase_id",
    "amount_minor",
    "settlement",
    "label",
    "label_time_ms",
    "pattern",
)


def facts_of_events(source: EventSource, positions: Integers) -> Facts:
    """Return the facts of the purchases at these places of a stream; its label columns say what they were.

    Reads the stream once. Cost: some 50 bytes for each purchase, 8 for each that was declined.
    """
    newest_ms = 0
    pieces: list[pl.DataFrame] = []
    declined = [np.zeros(0, np.uint64)]
    for start, frame in _numbered(source):
        newest_ms = max(newest_ms, largest(frame["ingest_time_ms"]))
        refused = frame.filter(pl.col("settlement") == int(Settlement.DECLINED))
        declined.append(hashes(refused["purchase_id"]))
        begin, end = np.searchsorted(positions, (start, start + frame.height))
        bought = frame[positions[begin:end] - start]
        assert (bought["kind"] == EventKind.PURCHASE).all(), "rows stand at purchases"
        pieces.append(
            bought.select(
                "event_time_ms",
                "amount_minor",
                "pattern",
                card=payer(bought),
                purchase=pl.Series(hashes(bought["purchase_id"])),
                said=pl.col("label").is_not_null(),
                label=pl.col("label").fill_null(0),
                known_ms=pl.col("label_time_ms").fill_null(0),
            )
        )
    whole = pl.concat(pieces)
    said = whole["said"].to_numpy()
    unpaid = np.isin(whole["purchase"].to_numpy(), np.concatenate(declined))
    rows = positions.size
    return Facts(
        time_ms=whole["event_time_ms"].to_numpy(),
        label=whole["label"].to_numpy().astype(np.int8),
        known_ms=whole["known_ms"].to_numpy(),
        cleared_ms=np.zeros(rows, np.int64),
        pattern=whole["pattern"],
        newest_ms=newest_ms,
        amount_minor=whole["amount_minor"].to_numpy(),
        card=codes_of(whole["card"].to_numpy()),
        truth=truth_of(said, unpaid),
        weight=np.ones(rows),
    )


def truth_of(said: npt.NDArray[np.bool_], declined: npt.NDArray[np.bool_]) -> Truths:
    """Return the `Truth` of purchases of which somebody said something, or that were declined."""
    truth: Truths = np.where(said, Truth.SAID, np.where(declined, Truth.UNKNOWN, Truth.ASSUMED)).astype(np.uint8)
    return truth


def payer(purchases: pl.DataFrame) -> pl.Series:
    """Return a hash of who paid, by `card_hash` or else by `user_id`; 0 when the purchase names neither."""
    card, user = purchases["card_hash"], purchases["user_id"]
    hashed = np.where((card != "").to_numpy(), hashes(card), np.where((user != "").to_numpy(), ~hashes(user), 0))
    return pl.Series(hashed.astype(np.uint64))


def codes_of(payers: Hashes) -> Integers:
    """Return small numbers, in order of the hashes, for what `payer` gave; -1 for nobody."""
    known, codes = np.unique(payers, return_inverse=True)
    return codes.astype(np.int64) - int(known.size > 0 and known[0] == 0)


def largest(column: pl.Series) -> int:
    """Return the largest integer of a column, 0 of none."""
    found = column.max()
    return found if isinstance(found, int) else 0


def _numbered(source: EventSource) -> Iterator[tuple[int, pl.DataFrame]]:
    start = 0
    for frame in source(_FILE_COLUMNS):
        yield start, frame
        start += frame.height
