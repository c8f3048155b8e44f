"""What the embedded store keeps on disk: databases, keys and values.

    profiles      kind (one byte) + id            the image, little-endian int64
    events        event id                        EventRecord, with revisions
    log           sequence                        event id
    parked        event id                        EventRecord, without revisions
    waiting       purchase id + 0 + event id      nothing: who waits for which purchase
    decision_log  sequence                        DecisionRecord
    decisions     purchase id + 0 + ~sequence     nothing: decisions of a purchase, newest first
    layouts       row layout                      names, one to a line
    meta          name                            int64
    listings      kind (one byte) + id            an entry of the lists, JSON
    listing_log   number of the last change       the changes that were made together, JSON
    papers        folder + 0 + name               what others want kept

Sequences are big-endian, so that their order is that of the keys. Ids never hold a zero byte.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import lmdb

from service.core.event import KINDS, EntityKind
from service.core.profile import EMPTY, LAYOUT, Image, widen

FORMAT: Final = 1
"""Number of what is described above; another one on disk is refused."""

FORMAT_KEY: Final = b"format"
LOG_SEQUENCE_KEY: Final = b"log_sequence"
DECISION_SEQUENCE_KEY: Final = b"decision_sequence"
NEWEST_EVENT_KEY: Final = b"newest_event_ms"
LISTING_SEQUENCE_KEY: Final = b"listing_sequence"

Transaction: TypeAlias = "lmdb.Transaction[bytes]"
"""Subscripted for the type checker alone: at run time the class cannot be."""

Database: TypeAlias = "lmdb._Database"  # noqa: SLF001 - py-lmdb has no public name for it
"""The handle of a database."""

_SEQUENCE: Final = struct.Struct(">Q")
_NUMBER: Final = struct.Struct("<q")
_LARGEST_SEQUENCE: Final = (1 << 64) - 1
_WORD_BYTES: Final = 8


class Tables:
    """The databases of one environment."""

    COUNT: Final = 12

    def __init__(self, environment: lmdb.Environment, transaction: Transaction) -> None:
        """Open them in a write transaction, making those that are not there; of use when it is committed."""
        self.open(environment, transaction)

    def open(self, environment: lmdb.Environment, transaction: Transaction) -> None:
        """Open them, of an environment that was opened anew, in a write transaction that is committed."""
        self.profiles = environment.open_db(b"profiles", transaction)
        self.events = environment.open_db(b"events", transaction)
        self.log = environment.open_db(b"log", transaction)
        self.parked = environment.open_db(b"parked", transaction)
        self.waiting = environment.open_db(b"waiting", transaction)
        self.decision_log = environment.open_db(b"decision_log", transaction)
        self.decisions = environment.open_db(b"decisions", transaction)
        self.layouts = environment.open_db(b"layouts", transaction)
        self.meta = environment.open_db(b"meta", transaction)
        self.listings = environment.open_db(b"listings", transaction)
        self.listing_log = environment.open_db(b"listing_log", transaction)
        self.papers = environment.open_db(b"papers", transaction)


PROFILE_PREFIXES: Final = {kind: bytes([kind]) for kind in KINDS}
"""What the keys of the profiles of a kind begin with."""


def profile_key(kind: EntityKind, entity_id: str) -> bytes:
    """Return the key of a profile."""
    return PROFILE_PREFIXES[kind] + entity_id.encode()


def sequence_key(sequence: int) -> bytes:
    """Return the key of a place in a log."""
    return _SEQUENCE.pack(sequence)


def sequence_of(key: bytes) -> int:
    """Return the place that a key names."""
    [sequence] = _SEQUENCE.unpack(key)
    return int(sequence)


def of_purchase(purchase_id: str) -> bytes:
    """Return what the keys of all that belongs to a purchase begin with."""
    return b"%b\0" % purchase_id.encode()


def decision_key(purchase_id: str, sequence: int) -> bytes:
    """Return the key under which a decision is found by its purchase, the newest first."""
    return of_purchase(purchase_id) + _SEQUENCE.pack(_LARGEST_SEQUENCE - sequence)


def decision_place(key: bytes) -> bytes:
    """Return the key in the decision log of what `decision_key` named."""
    return _SEQUENCE.pack(_LARGEST_SEQUENCE - sequence_of(key[-_WORD_BYTES:]))


def get_number(transaction: Transaction, tables: Tables, name: bytes) -> int:
    """Return a number of `meta`, 0 when it was never put."""
    value = transaction.get(name, db=tables.meta)
    return 0 if value is None else int(_NUMBER.unpack(value)[0])


def put_number(transaction: Transaction, tables: Tables, name: bytes, number: int) -> None:
    """Keep a number in `meta`."""
    transaction.put(name, _NUMBER.pack(number), db=tables.meta)


class _Unpackers(dict[int, Callable[[bytes], tuple[Any, ...]]]):
    """An unpacker for each length of an image; there are as many as a profile has fills, a few hundred."""

    def __missing__(self, size: int) -> Callable[[bytes], tuple[Any, ...]]:
        unpack = self[size] = struct.Struct(f"<{size // _WORD_BYTES}q").unpack
        return unpack


unpackers: Final = _Unpackers()


def encode_image(image: Image) -> bytes:
    """Return the value of a profile."""
    return struct.pack(f"<{len(image)}q", *image)


def decode_stored(value: bytes) -> Image:
    """Return the image as it was written, of whatever layout. Cost: 1.2 µs for 90 integers."""
    return unpackers[len(value)](value)


def decode_image(kind: EntityKind, value: bytes | None) -> Image:
    """Return the image as the newest layout reads it, EMPTY for None; ValueError when it is not readable."""
    if value is None:
        return EMPTY[kind]
    image = unpackers[len(value)](value)
    if image[0] == LAYOUT:
        return image
    # It holds NaN for what the older layout has no history of; see `widen`.
    return cast(Image, widen(kind, image))
