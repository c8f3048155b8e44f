"""The embedded store: a directory that several processes read and write at once, and no server.

A read is one read transaction, which never waits for a writer. A write is one transaction for everything
that waits (see `group_commit`), on disk before anybody is told. Whoever is killed leaves nothing half
done: LMDB's write lock is robust, and a transaction that was not committed was never there.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

import lmdb

from service.core.decision import DecisionRecord
from service.core.event import KINDS, EntityKey, Event
from service.core.profile import EMPTY, SCHEMAS, Habits, Image
from service.errors import StoreUnavailable
from service.scheduling import unhurried
from service.settings import LmdbSettings
from service.store.group_commit import GroupCommit
from service.store.lmdb_commit import Commit, Prepared
from service.store.lmdb_environment import LmdbEnvironment
from service.store.lmdb_erasing import drop_decisions, drop_events, drop_parked, drop_profiles, rewrite_events
from service.store.lmdb_listings import LmdbListings
from service.store.lmdb_logs import append_decisions, decision_page, event_page, newest_decisions, place_of
from service.store.lmdb_papers import LmdbPapers
from service.store.lmdb_rebuild import parked_events, replace_images, restore
from service.store.lmdb_tables import (
    NEWEST_EVENT_KEY,
    PROFILE_PREFIXES,
    Transaction,
    decode_image,
    decode_stored,
    get_number,
    profile_key,
)
from service.store.outcomes import unfit
from service.store.protocol import (
    DecisionPage,
    Entry,
    EventPage,
    Figure,
    LoggedEvent,
    Outcome,
    Replacement,
    Rewrite,
    Status,
    Submission,
    Swept,
    View,
)
from service.store.records import decode_event, encode_decision, encode_event

_USER, _SELLER, _ITEM, _CARD = KINDS
_OF_USER, _OF_SELLER, _OF_ITEM, _OF_CARD = (PROFILE_PREFIXES[kind] for kind in KINDS)

_UNREADABLE = (ValueError, LookupError, struct.error)
"""What reading a profile raises that this release did not write."""


class LmdbStore:
    """Keeps profiles, events and decisions in a directory; see `Store` for what it promises.

    Made in the process that uses it, after fork or spawn, and once in a process. Raises BadSetting when
    the directory cannot be used.
    """

    def __init__(self, settings: LmdbSettings, habits: Habits, max_parked: int) -> None:
        """Open the directory, making it when it is not there."""
        self._habits: Habits = habits
        self._max_parked = max_parked
        self._environment = LmdbEnvironment(settings)
        self._tables = self._environment.tables
        self._commits = GroupCommit(self._commit, settings.max_commit_events)
        self.listings = LmdbListings(self._environment)
        self.papers = LmdbPapers(self._environment)

    # --- what a score needs ---------------------------------------------------------------------

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Return what the scores of these purchases need; see `Store.read`.

        `timeout_s` is not used: a read of mapped memory waits for nobody and cannot be broken off.
        Cost: one transaction for all of them, and 7 µs for a purchase with four profiles of 90 integers each.
        """
        del timeout_s
        try:
            with self._environment.begin_read() as transaction:
                return [self._view(transaction, purchase) for purchase in purchases]
        except lmdb.Error:
            return self._read_again(purchases)

    def profile(self, key: EntityKey) -> Image:
        """Return one profile, EMPTY when nothing is known. Raises StoreUnavailable."""
        value = self._environment.read(
            lambda transaction: transaction.get(profile_key(key.kind, key.id), db=self._tables.profiles)
        )
        try:
            return _stored(key, value)
        except _UNREADABLE as error:
            raise StoreUnavailable(f"the profile cannot be read: {error}") from error

    def profiles(self, keys: Sequence[EntityKey]) -> list[Image | None]:
        """Return profiles, None for one that is not readable; see `Store.profiles`. Raises StoreUnavailable."""
        values = self._environment.read(
            lambda transaction: [
                transaction.get(profile_key(key.kind, key.id), db=self._tables.profiles) for key in keys
            ]
        )
        images: list[Image | None] = []
        for key, value in zip(keys, values, strict=True):
            try:
                images.append(_stored(key, value))
            except _UNREADABLE:
                images.append(None)
        return images

    def _view(self, transaction: Transaction, purchase: Event) -> View:
        """Return what one score needs. Written out for the four kinds: a loop costs a microsecond more."""
        get, profiles = transaction.get, self._tables.profiles
        user, seller, item, card = purchase.user_id, purchase.seller_id, purchase.item_id, purchase.card_hash
        try:
            images = (
                decode_image(_USER, get(_OF_USER + user.encode(), None, profiles)) if user else None,
                decode_image(_SELLER, get(_OF_SELLER + seller.encode(), None, profiles)) if seller else None,
                decode_image(_ITEM, get(_OF_ITEM + item.encode(), None, profiles)) if item else None,
                decode_image(_CARD, get(_OF_CARD + card.encode(), None, profiles)) if card else None,
            )
            record = get(purchase.purchase_id.encode(), None, self._tables.events)
            return View(images, (), None if record is None else decode_event(record))
        except _UNREADABLE:
            return _unreadable(purchase)

    def _read_again(self, purchases: Sequence[Event]) -> list[View]:
        """Read with more tries, as a store needs that another process has just made larger."""
        try:
            return self._environment.read(
                lambda transaction: [self._view(transaction, purchase) for purchase in purchases]
            )
        except StoreUnavailable:
            return [_unreadable(purchase) for purchase in purchases]

    # --- events ---------------------------------------------------------------------------------

    def apply(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Apply events in their order, durable when it returns; see `Store.apply`. Raises StoreUnavailable.

        Whatever can be said and encoded without the store is done here, in the caller's thread: others
        wait for nothing but the transaction, and a bad event reaches none of them.
        """
        self._environment.check_process()
        entries = [_prepare(submission) for submission in submissions]
        prepared = [entry for entry in entries if isinstance(entry, Prepared)]
        outcomes = iter(self._commits.run(prepared))
        return [next(outcomes) if isinstance(entry, Prepared) else entry for entry in entries]

    def _commit(self, prepared: Sequence[Prepared]) -> list[Outcome]:
        """Apply events in one transaction; all of them are RETRY when there is no room."""
        try:
            return self._environment.write(lambda transaction: self._apply_all(transaction, prepared))
        except StoreUnavailable:
            if not self._environment.full:
                raise
            return [Outcome(Status.RETRY, reason=self._environment.full)] * len(prepared)

    def _apply_all(self, transaction: Transaction, prepared: Sequence[Prepared]) -> list[Outcome]:
        commit = Commit(transaction, self._tables, self._habits, self._max_parked)
        outcomes = [commit.apply(one) for one in prepared]
        commit.finish()
        return outcomes

    def events(self, cursor: str, limit: int) -> EventPage:
        """Return up to `limit` events after `cursor`; ValueError for a bad one. Raises StoreUnavailable."""
        after = place_of(cursor)
        return self._environment.read(lambda transaction: event_page(transaction, self._tables, after, limit))

    def recorded(self, event_ids: Sequence[str]) -> list[LoggedEvent | None]:
        """Return applied events by their ids, None for those that are not in the log. Raises StoreUnavailable."""
        records = self._environment.read(
            lambda transaction: [transaction.get(one.encode(), db=self._tables.events) for one in event_ids]
        )
        return [None if record is None else decode_event(record) for record in records]

    def newest_event_ms(self) -> int:
        """Return the newest event time that was applied, 0 for none. Raises StoreUnavailable."""
        return self._environment.read(lambda transaction: get_number(transaction, self._tables, NEWEST_EVENT_KEY))

    def parked(self) -> int:
        """Return how many events are parked. Raises StoreUnavailable."""
        return self._environment.read(lambda transaction: transaction.stat(self._tables.parked)["entries"])

    def parked_events(self) -> list[Event]:
        """Return what is parked. Raises StoreUnavailable."""
        return self._environment.read(lambda transaction: parked_events(transaction, self._tables))

    # --- rebuilding -----------------------------------------------------------------------------

    def replace_images(self, replacements: Sequence[Replacement]) -> list[bool]:
        """Put profiles in the place of stored ones, in one transaction; see `Store`. Raises StoreUnavailable."""
        return self._environment.write(lambda transaction: replace_images(transaction, self._tables, replacements))

    def restore(self, events: Sequence[LoggedEvent]) -> None:
        """Put events at the end of the log as they are, in one transaction; see `Store`. Raises StoreUnavailable."""
        self._environment.write(lambda transaction: restore(transaction, self._tables, events))

    # --- erasing --------------------------------------------------------------------------------

    def rewrite_events(self, rewrites: Sequence[Rewrite]) -> None:
        """Put events in the place of others, in one transaction; see `Store`. Raises StoreUnavailable."""
        self._environment.write(lambda transaction: rewrite_events(transaction, self._tables, rewrites))

    def drop_events(self, entries: Sequence[Entry]) -> None:
        """Take events out of the log, in one transaction; see `Store`. Raises StoreUnavailable."""
        self._environment.write(lambda transaction: drop_events(transaction, self._tables, entries))

    def drop_decisions(self, entries: Sequence[Entry]) -> None:
        """Take decisions out of their log, in one transaction; see `Store`. Raises StoreUnavailable."""
        self._environment.write(lambda transaction: drop_decisions(transaction, self._tables, entries))

    def drop_parked(self, waiting: Mapping[str, str]) -> None:
        """Let go of parked events, in one transaction; see `Store`. Raises StoreUnavailable."""
        self._environment.write(lambda transaction: drop_parked(transaction, self._tables, waiting))

    def drop_profiles(self, profiles: Sequence[tuple[EntityKey, int]]) -> list[bool]:
        """Let go of profiles, in one transaction; see `Store`. Raises StoreUnavailable."""
        return self._environment.write(lambda transaction: drop_profiles(transaction, self._tables, profiles))

    # --- decisions ------------------------------------------------------------------------------

    def put_decisions(self, decisions: Sequence[DecisionRecord]) -> None:
        """Keep decisions; durable when it returns. Raises StoreUnavailable."""
        records = [(decision.purchase.purchase_id, encode_decision(decision)) for decision in unhurried(decisions)]
        self._environment.write(lambda transaction: append_decisions(transaction, self._tables, records))

    def decisions(self, purchase_id: str) -> list[DecisionRecord]:
        """Return the decisions kept for a purchase, newest first (at most 8). Raises StoreUnavailable."""
        return self._environment.read(lambda transaction: newest_decisions(transaction, self._tables, purchase_id))

    def decision_log(self, cursor: str, limit: int) -> DecisionPage:
        """Return up to `limit` decisions after `cursor`; ValueError for a bad one. Raises StoreUnavailable."""
        after = place_of(cursor)
        return self._environment.read(lambda transaction: decision_page(transaction, self._tables, after, limit))

    def put_row_layout(self, row_layout: str, features: Sequence[str]) -> None:
        """Keep the names, in order, of the rows that carry this layout id. Raises StoreUnavailable."""
        names = "\n".join(features).encode()
        self._environment.write(
            lambda transaction: transaction.put(row_layout.encode(), names, db=self._tables.layouts)
        )

    def row_layout(self, row_layout: str) -> tuple[str, ...]:
        """Return the names of a layout, () when it is not known. Raises StoreUnavailable."""
        names = self._environment.read(
            lambda transaction: transaction.get(row_layout.encode(), db=self._tables.layouts)
        )
        return tuple(names.decode().split("\n")) if names else ()

    # --- life -----------------------------------------------------------------------------------

    def sweep(self, older_than_s: float) -> Swept:
        """Free the places of readers that were killed; no event is ever left half-applied here."""
        del older_than_s
        self._environment.free_readers()
        return Swept(0, 0, 0)

    def other_processes(self) -> list[int]:
        """Return the ids of other processes that read this directory, as a worker does from its start on."""
        return self._environment.other_processes()

    def figures(self) -> list[Figure]:
        """Return how much of it is used, and by how many; see `Store`."""
        return self._environment.figures()

    def check(self) -> str:
        """Return "" when the store can serve, else one sentence that says what to do."""
        try:
            self.newest_event_ms()
        except StoreUnavailable as error:
            return str(error)
        return self._environment.full

    def close(self) -> None:
        """Let go of it, once a commit that is under way is done; calls after that raise StoreUnavailable."""
        self._environment.close()


def _prepare(submission: Submission) -> Prepared | Outcome:
    """Return the event ready to be kept, or REJECTED."""
    event, decision = submission
    refused = unfit(event)
    if refused is not None:
        return refused
    if decision is not None:
        decision = replace(decision, recorded=True)
    return Prepared(event, decision, encode_event(event, decision=decision))


def _stored(key: EntityKey, value: bytes | None) -> Image:
    """Return a profile as it was written; raises one of `_UNREADABLE`, also when a newer release wrote it."""
    if value is None:
        return EMPTY[key.kind]
    image = decode_stored(value)
    SCHEMAS[key.kind].as_of(image[0])
    return image


def _unreadable(purchase: Event) -> View:
    return View((None, None, None, None), tuple(key.kind for key in purchase.keys()), None)
