"""One write transaction of the embedded store: applies events, each exactly once.

An event changes nothing before everything that can fail about it has been looked at, so an event that is
refused leaves no trace in the transaction that it shares with others.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from service.core.decision import DecisionRecord
from service.core.event import FOLLOW_UPS, EntityKey, Event, EventKind, confirmation_id
from service.core.profile import SCHEMAS, Habits, ProfileState, is_late, updates_of
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
from service.store.outcomes import conflict, not_a_purchase, parking_full
from service.store.protocol import Outcome, Status
from service.store.records import decode_event, with_revisions


class Prepared(NamedTuple):
    """An event that is fit to be kept, and its record without revisions, encoded outside the transaction."""

    event: Event
    decision: DecisionRecord | None
    record: bytes


class Commit:
    """Applies events within one write transaction; `finish` writes what they changed.

    Profiles are decoded once and encoded once for a commit, however many of its events touch them: a
    hot seller costs a batch of 500 no more than a cold one. Not thread-safe; lives as long as the transaction.
    """

    def __init__(self, transaction: Transaction, tables: Tables, habits: Habits, max_parked: int) -> None:
        """Begin with nothing changed."""
        self._transaction = transaction
        self._tables = tables
        self._habits = habits
        self._max_parked = max_parked
        self._profiles: dict[bytes, ProfileState] = {}
        self._sequence = self._first = get_number(transaction, tables, LOG_SEQUENCE_KEY)
        self._newest_event_ms = get_number(transaction, tables, NEWEST_EVENT_KEY)
        self._parked = int(transaction.stat(tables.parked)["entries"])

    def apply(self, prepared: Prepared) -> Outcome:
        """Apply one event, and what was parked for it."""
        event = prepared.event
        repeated = self._repeated(event)
        if repeated is not None:
            return repeated
        purchase = None
        if event.kind in FOLLOW_UPS:
            purchase = self._recorded(event.purchase_id)
            if purchase is None:
                return self._park(prepared)
            if purchase.kind is not EventKind.PURCHASE:
                return not_a_purchase(event)
        outcome = self._append(prepared, purchase)
        if event.kind is EventKind.PURCHASE and outcome.status is not Status.RETRY:
            self._unpark(event)
        return outcome

    def finish(self) -> None:
        """Write the profiles and the counters that changed; a commit of repeats alone touches no disk."""
        if self._sequence == self._first:
            return
        put = self._transaction.put
        for key, profile in self._profiles.items():
            put(key, encode_image(profile.image()), db=self._tables.profiles)
        put_number(self._transaction, self._tables, LOG_SEQUENCE_KEY, self._sequence)
        put_number(self._transaction, self._tables, NEWEST_EVENT_KEY, self._newest_event_ms)

    def _repeated(self, event: Event) -> Outcome | None:
        """Return what a repeat is told, None for an event that is new."""
        key = event.event_id.encode()
        value = self._transaction.get(key, db=self._tables.events)
        if value is not None:
            known = decode_event(value)
            if known.event.same_content(event):
                return Outcome(Status.DUPLICATE, known.revisions, known.decision)
            return conflict(event)
        value = self._transaction.get(key, db=self._tables.parked)
        if value is not None:
            return Outcome(Status.PARKED) if decode_event(value).event.same_content(event) else conflict(event)
        return None

    def _recorded(self, event_id: str) -> Event | None:
        value = self._transaction.get(event_id.encode(), db=self._tables.events)
        return None if value is None else decode_event(value).event

    def _append(self, prepared: Prepared, purchase: Event | None) -> Outcome:
        """Change the profiles and put the event at the end of the log; RETRY when a profile is not readable."""
        event = prepared.event
        updates = updates_of(event, purchase, self._confirmed_at_ms(event), self._habits)
        try:
            profiles = [self._profile(update.key) for update in updates]
        except (ValueError, LookupError, struct.error) as error:
            # Of a newer release that was taken back, for one: the events beside it must not wait for that.
            return Outcome(Status.RETRY, reason=f"a profile that it touches cannot be read: {error}")
        revisions = tuple(
            (update.key, profile.apply(update)) for update, profile in zip(updates, profiles, strict=True)
        )
        key = event.event_id.encode()
        self._sequence += 1
        self._transaction.put(key, with_revisions(prepared.record, revisions), db=self._tables.events)
        self._transaction.put(sequence_key(self._sequence), key, db=self._tables.log, append=True)
        self._newest_event_ms = max(self._newest_event_ms, event.event_time_ms)
        late = bool(updates) and is_late(event, updates[0].effects)
        return Outcome(Status.LATE if late else Status.APPLIED, revisions, prepared.decision)

    def _confirmed_at_ms(self, event: Event) -> int:
        """Return when the confirmation that a clearing takes back happened, 0 when there is none."""
        if event.kind is not EventKind.FRAUD_CLEARED:
            return 0
        confirmed = self._recorded(confirmation_id(event.purchase_id))
        if confirmed is None or confirmed.kind is not EventKind.FRAUD_CONFIRMED:
            return 0
        return confirmed.event_time_ms

    def _profile(self, key: EntityKey) -> ProfileState:
        stored_key = profile_key(key.kind, key.id)
        profile = self._profiles.get(stored_key)
        if profile is None:
            value = self._transaction.get(stored_key, db=self._tables.profiles)
            if value is None:
                profile = ProfileState(SCHEMAS[key.kind])
            else:
                profile = ProfileState.of(key.kind, decode_stored(value))
            self._profiles[stored_key] = profile
        return profile

    def _park(self, prepared: Prepared) -> Outcome:
        if self._parked >= self._max_parked:
            return parking_full(self._max_parked)
        key = prepared.event.event_id.encode()
        self._transaction.put(key, prepared.record, db=self._tables.parked)
        self._transaction.put(of_purchase(prepared.event.purchase_id) + key, b"", db=self._tables.waiting)
        self._parked += 1
        return Outcome(Status.PARKED)

    def _unpark(self, purchase: Event) -> None:
        """Apply what waited for a purchase, in the order of event time."""
        parked = self._take_parked(purchase)
        for prepared in sorted(parked, key=lambda one: (one.event.event_time_ms, one.event.event_id)):
            self._append(prepared, purchase)

    def _take_parked(self, purchase: Event) -> list[Prepared]:
        """Take out what waited for a purchase."""
        if not self._parked:
            return []
        prefix = of_purchase(purchase.purchase_id)
        taken = []
        with self._transaction.cursor(self._tables.waiting) as cursor:
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                record = self._transaction.pop(cursor.key()[len(prefix) :], db=self._tables.parked)
                assert record is not None, "who waits is parked"
                taken.append(Prepared(decode_event(record).event, None, record))
                found = cursor.delete() and bool(cursor.key())
        self._parked -= len(taken)
        return taken
