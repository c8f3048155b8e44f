"""The lists in the embedded store: entries by entity, batches of changes by the number of their last one."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.event import EntityKey
from service.core.listing import ListingAct, ListingChange
from service.store.listing_table import (
    Listed,
    decode_changes,
    decode_listing,
    encode_changes,
    encode_listing,
)
from service.store.lmdb_environment import LmdbEnvironment
from service.store.lmdb_tables import (
    LISTING_SEQUENCE_KEY,
    Tables,
    Transaction,
    get_number,
    profile_key,
    put_number,
    sequence_key,
)


class LmdbListings:
    """Keeps the lists; see `ListingTable`. A change is one write transaction."""

    def __init__(self, environment: LmdbEnvironment) -> None:
        """Take the environment."""
        self._environment = environment
        self._tables = environment.tables

    def revision(self) -> int:
        """Return the number of the last change, 0 for none. Raises StoreUnavailable."""
        return self._environment.read(lambda transaction: get_number(transaction, self._tables, LISTING_SEQUENCE_KEY))

    def read(self) -> Listed:
        """Return all entries as of one revision. Raises StoreUnavailable."""
        return self._environment.read(lambda transaction: _read(transaction, self._tables))

    def change(self, revision: int, changes: Sequence[ListingChange]) -> bool:
        """Make changes if the lists still have a revision; see `ListingTable`. Raises StoreUnavailable."""
        return self._environment.write(lambda transaction: _change(transaction, self._tables, revision, changes))

    def changes(self, after: int, limit: int) -> list[ListingChange]:
        """Return changes with a number above `after`; see `ListingTable`. Raises StoreUnavailable."""
        return self._environment.read(lambda transaction: _changes(transaction, self._tables, after, limit))

    def drop_changes(self, before_ms: int, limit: int) -> int:
        """Let the oldest changes go; see `ListingTable`. Raises StoreUnavailable."""
        return self._environment.write(lambda transaction: _drop(transaction, self._tables, before_ms, limit))


def _read(transaction: Transaction, tables: Tables) -> Listed:
    entries = {}
    with transaction.cursor(tables.listings) as cursor:
        for _, content in cursor:
            listing = decode_listing(content)
            entries[EntityKey(listing.kind, listing.id)] = listing
    return Listed(get_number(transaction, tables, LISTING_SEQUENCE_KEY), entries)


def _change(transaction: Transaction, tables: Tables, revision: int, changes: Sequence[ListingChange]) -> bool:
    if get_number(transaction, tables, LISTING_SEQUENCE_KEY) != revision:
        return False
    for change in changes:
        key = profile_key(change.listing.kind, change.listing.id)
        if change.act is ListingAct.ADDED:
            transaction.put(key, encode_listing(change.listing), db=tables.listings)
        else:
            transaction.delete(key, db=tables.listings)
    last = revision + len(changes)
    transaction.put(sequence_key(last), encode_changes(changes), db=tables.listing_log, append=True)
    put_number(transaction, tables, LISTING_SEQUENCE_KEY, last)
    return True


def _changes(transaction: Transaction, tables: Tables, after: int, limit: int) -> list[ListingChange]:
    found: list[ListingChange] = []
    with transaction.cursor(tables.listing_log) as cursor:
        if cursor.set_range(sequence_key(after + 1)):
            for _, content in cursor:
                found += decode_changes(content)
                if len(found) >= limit:
                    break
    return found


def _drop(transaction: Transaction, tables: Tables, before_ms: int, limit: int) -> int:
    dropped = 0
    with transaction.cursor(tables.listing_log) as cursor:
        there = cursor.first()
        while there:
            batch = decode_changes(cursor.value())
            if batch[-1].at_ms >= before_ms or dropped + len(batch) > limit:
                break
            dropped += len(batch)
            # Deleting moves on to the next.
            there = cursor.delete() and bool(cursor.key())
    return dropped
