"""Write transactions of the embedded store that take out what was recorded, or put something else in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.core.event import EntityKey
from service.store.lmdb_tables import (
    Tables,
    Transaction,
    decision_key,
    decode_stored,
    of_purchase,
    profile_key,
    sequence_key,
)
from service.store.protocol import Entry, Rewrite
from service.store.records import encode_event

_REVISION_AT = 1


def rewrite_events(transaction: Transaction, tables: Tables, rewrites: Sequence[Rewrite]) -> None:
    """Put events in the place of others, under their own ids."""
    for place, event_id, logged in rewrites:
        old, new = event_id.encode(), logged.event.event_id.encode()
        if transaction.get(sequence_key(place), db=tables.log) == old:
            transaction.delete(old, db=tables.events)
            record = encode_event(logged.event, logged.revisions, logged.decision)
            transaction.put(new, record, db=tables.events)
            transaction.put(sequence_key(place), new, db=tables.log)


def drop_events(transaction: Transaction, tables: Tables, entries: Sequence[Entry]) -> None:
    """Take events out of the log."""
    for place, event_id in entries:
        key = event_id.encode()
        if transaction.get(sequence_key(place), db=tables.log) == key:
            transaction.delete(key, db=tables.events)
            transaction.delete(sequence_key(place), db=tables.log)


def drop_decisions(transaction: Transaction, tables: Tables, entries: Sequence[Entry]) -> None:
    """Take decisions out of their log."""
    for place, purchase_id in entries:
        transaction.delete(sequence_key(place), db=tables.decision_log)
        transaction.delete(decision_key(purchase_id, place), db=tables.decisions)


def drop_parked(transaction: Transaction, tables: Tables, waiting: Mapping[str, str]) -> None:
    """Let go of events that wait, each for the purchase that it names."""
    for event_id, purchase_id in waiting.items():
        key = event_id.encode()
        if transaction.delete(key, db=tables.parked):
            transaction.delete(of_purchase(purchase_id) + key, db=tables.waiting)


def drop_profiles(transaction: Transaction, tables: Tables, profiles: Sequence[tuple[EntityKey, int]]) -> list[bool]:
    """Let go of profiles that have the revision named; tell which are not there any more."""
    return [_drop_profile(transaction, tables, key, revision) for key, revision in profiles]


def _drop_profile(transaction: Transaction, tables: Tables, key: EntityKey, revision: int) -> bool:
    name = profile_key(key.kind, key.id)
    stored = transaction.get(name, db=tables.profiles)
    if stored is None:
        return True
    return decode_stored(stored)[_REVISION_AT] == revision and transaction.delete(name, db=tables.profiles)
