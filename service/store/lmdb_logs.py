"""The two logs of the embedded store: places in the order of commits, and what stands there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Final

from service.core.decision import DecisionRecord
from service.scheduling import unhurried
from service.store.lmdb_tables import (
    DECISION_SEQUENCE_KEY,
    LOG_SEQUENCE_KEY,
    Database,
    Tables,
    Transaction,
    decision_key,
    decision_place,
    get_number,
    of_purchase,
    put_number,
    sequence_key,
    sequence_of,
)
from service.store.protocol import DecisionPage, EventPage
from service.store.records import decode_decision, decode_event

MAX_DECISIONS: Final = 8
"""Decisions of one purchase that are shown."""

_MAX_CURSOR_DIGITS: Final = 18


def place_of(cursor: str) -> int:
    """Return the place that a cursor names, 0 for the beginning; ValueError for one that this store never gave."""
    if cursor == "":
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _MAX_CURSOR_DIGITS):
        raise ValueError("the cursor is not one of this store: it must be empty or a number")
    return int(cursor)


def event_page(transaction: Transaction, tables: Tables, after: int, limit: int) -> EventPage:
    """Return the events that stand after a place."""
    places = _places(transaction, tables.log, after, limit)
    cursor = _cursor(places, after, limit, get_number(transaction, tables, LOG_SEQUENCE_KEY))
    events, found = [], []
    for place, event_id in places:
        record = transaction.get(event_id, db=tables.events)
        if record is not None:
            events.append(decode_event(record))
            found.append(sequence_of(place))
    return EventPage(events, cursor, found)


def decision_page(transaction: Transaction, tables: Tables, after: int, limit: int) -> DecisionPage:
    """Return the decisions that stand after a place."""
    places = _places(transaction, tables.decision_log, after, limit)
    cursor = _cursor(places, after, limit, get_number(transaction, tables, DECISION_SEQUENCE_KEY))
    decisions = [decode_decision(record) for _, record in places]
    return DecisionPage(decisions, cursor, [sequence_of(place) for place, _ in places])


def append_decisions(transaction: Transaction, tables: Tables, decisions: Sequence[tuple[str, bytes]]) -> None:
    """Put decisions, each with the id of its purchase, at the end of their log."""
    last = get_number(transaction, tables, DECISION_SEQUENCE_KEY)
    for sequence, (purchase_id, record) in unhurried(enumerate(decisions, last + 1)):
        transaction.put(sequence_key(sequence), record, append=True, db=tables.decision_log)
        transaction.put(decision_key(purchase_id, sequence), b"", db=tables.decisions)
    put_number(transaction, tables, DECISION_SEQUENCE_KEY, last + len(decisions))


def newest_decisions(transaction: Transaction, tables: Tables, purchase_id: str) -> list[DecisionRecord]:
    """Return the decisions of a purchase, newest first, at most `MAX_DECISIONS`."""
    prefix = of_purchase(purchase_id)
    with transaction.cursor(tables.decisions) as cursor:
        keys: list[bytes] = []
        if cursor.set_range(prefix):
            found = takewhile(lambda key: key.startswith(prefix), cursor.iternext(values=False))
            keys = list(islice(found, MAX_DECISIONS))
    records = (transaction.get(decision_place(key), db=tables.decision_log) for key in keys)
    return [decode_decision(record) for record in records if record is not None]


def _places(transaction: Transaction, database: Database, after: int, limit: int) -> list[tuple[bytes, bytes]]:
    with transaction.cursor(database) as cursor:
        return list(islice(cursor, limit)) if cursor.set_range(sequence_key(after + 1)) else []


def _cursor(places: Sequence[tuple[bytes, bytes]], after: int, limit: int, end: int) -> str:
    """Return the cursor behind a page: at the end of the log its last place, also when nothing is left there."""
    last = sequence_of(places[-1][0]) if len(places) == limit and places else max(after, end)
    return str(last) if last else ""
