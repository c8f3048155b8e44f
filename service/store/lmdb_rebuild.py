"""Write transactions of the embedded store that put profiles and events back, rather than apply them."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.event import Event
from service.store.lmdb_tables import (
    LOG_SEQUENCE_KEY,
    NEWEST_EVENT_KEY,
    Tables,
    Transaction,
    decode_stored,
    encode_image,
    get_number,
    of_purchase,
    profile_key,
    put_number,
    sequence_key,
)
from service.store.protocol import LoggedEvent, Replacement
from service.store.records import decode_event, encode_event

_REVISION_AT = 1


def replace_images(transaction: Transaction, tables: Tables, replacements: Sequence[Replacement]) -> list[bool]:
    """Put profiles in the place of those that have the revision named; tell which do stand there."""
    return [_replace(transaction, tables, one) for one in replacements]


def _replace(transaction: Transaction, tables: Tables, replacement: Replacement) -> bool:
    key = profile_key(replacement.key.kind, replacement.key.id)
    stored, wanted = transaction.get(key, db=tables.profiles), encode_image(replacement.image)
    if stored == wanted:
        return True
    revision = 0 if stored is None else decode_stored(stored)[_REVISION_AT]
    return revision == replacement.revision and transaction.put(key, wanted, db=tables.profiles)


def restore(transaction: Transaction, tables: Tables, events: Sequence[LoggedEvent]) -> None:
    """Put events that are not in the log at its end, with the revisions and decisions that they have."""
    sequence = get_number(transaction, tables, LOG_SEQUENCE_KEY)
    newest_event_ms = get_number(transaction, tables, NEWEST_EVENT_KEY)
    for event, revisions, decision in events:
        key = event.event_id.encode()
        if not transaction.put(key, encode_event(event, revisions, decision), db=tables.events, overwrite=False):
            continue
        sequence += 1
        transaction.put(sequence_key(sequence), key, db=tables.log, append=True)
        if transaction.delete(key, db=tables.parked):
            transaction.delete(of_purchase(event.purchase_id) + key, db=tables.waiting)
        newest_event_ms = max(newest_event_ms, event.event_time_ms)
    put_number(transaction, tables, LOG_SEQUENCE_KEY, sequence)
    put_number(transaction, tables, NEWEST_EVENT_KEY, newest_event_ms)


def parked_events(transaction: Transaction, tables: Tables) -> list[Event]:
    """Return what is parked."""
    with transaction.cursor(tables.parked) as cursor:
        return [decode_event(record).event for _, record in cursor]
