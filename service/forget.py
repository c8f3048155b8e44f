"""Forgetting a person: profile, events and decisions, and the keys of the pseudonyms in snapshots; see 0018.

    survey     the logs once, for the person's purchases and cards
    rename     pseudonyms in snapshots stand for erased ids from now on
    rewrite    the person's events, where they stand in the log, under ids that name nobody
    drop       the decisions, what waits for a purchase, and then the profiles, if nothing came in between
    receipt    what was done, and nothing that names the person

What is under way is noted in a paper of the store, with the secret that erased ids are made with; whoever breaks it
off runs it again. At the end the paper goes, and the secret with it. Events that come later begin anew.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from service.core.erasure import ErasedNames, What, has_derived_id
from service.core.event import FOLLOW_UPS, EntityKey, EntityKind, EventKind
from service.core.fixed import id64
from service.core.meetings import users_met, with_users_met
from service.core.profile import Image
from service.errors import BadSetting, StoreUnavailable
from service.forgetting import Notes
from service.pace import Pace
from service.receipts import Receipt, person_hash, put_receipt
from service.store.protocol import DecisionPage, Entry, EventPage, LoggedEvent, Replacement, Rewrite, Store
from service.vault import IdKind, forget_person, sole

PAGE_ENTRIES: Final = 1000
"""Entries of a log that are read at a time."""

BATCH_ENTRIES: Final = 128
"""Entries that are erased, and noted as under way, at a time."""

MAX_ROUNDS: Final = 100
"""Times that what came in between is gone through as well."""

_TOKEN_BYTES: Final = 4
_ATTEMPTS: Final = 100
_PAUSE_S: Final = 0.1


class Request(NamedTuple):
    """Whom to forget, for what reason, who says so, and the folders of snapshots that know the person."""

    user_id: str
    why: str
    who: str
    folders: tuple[Path, ...] = ()
    max_events_per_s: int = 0


def forget(store: Store, request: Request, now: datetime, tell: Callable[[int], object] = bool) -> Receipt:
    """Forget a person and return the receipt, which the store keeps; running it again finishes what was broken off.

    Harmless while others read and write the store. `tell` gets the entries read so far. Raises BadSetting when a
    folder has no vault or is being exported to, and StoreUnavailable. Cost: the log of events is read twice
    and that of decisions once, 20 and 60 µs of CPU for each entry on LMDB.
    """
    with sole(request.folders):
        return _Forget(store, request, now, tell).run()


class _Survey:
    """What the logs say of the person, as far as they were read."""

    def __init__(self, purchases: set[str]) -> None:
        """Begin with the purchases that an attempt before this one found."""
        self.purchases = purchases
        self.asked: set[str] = set()
        """Purchases that were only asked about."""
        self.made_up: set[str] = set()
        """Ids of events that callers made up."""
        self.decisions: list[Entry] = []
        self.events_cursor = self.decisions_cursor = ""


class _Forget:
    def __init__(self, store: Store, request: Request, now: datetime, tell: Callable[[int], object]) -> None:
        self._store = store
        self._request = request
        self._now = now
        self._tell = tell
        self._pace = Pace(request.max_events_per_s)
        self._read = 0
        self._user = EntityKey(EntityKind.USER, request.user_id)
        self._person = person_hash(store.papers, request.user_id)
        receipt = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(_TOKEN_BYTES)}"
        self._notes = Notes(store.papers, self._person, receipt, request.why, request.who)
        self._state = self._notes.state
        self._names = ErasedNames(bytes.fromhex(self._state.secret))
        self._found = _Survey(self._notes.purchases())

    def run(self) -> Receipt:
        self._finish_in_hand()
        for _ in range(MAX_ROUNDS):
            if self._round():
                return self._receipt()
        raise StoreUnavailable("the person's events come faster than they can be forgotten: run it again later")

    def _finish_in_hand(self) -> None:
        """Erase what an attempt that was broken off had begun."""
        state = self._state
        there = self._store.recorded([entry.id for entry in state.events])
        self._store.rewrite_events(
            [
                Rewrite(*entry, self._erased(logged))
                for entry, logged in zip(state.events, there, strict=True)
                if logged is not None
            ]
        )
        # Where the new event stands already, the old one's record may still be there, and empty.
        finished = [entry for entry, logged in zip(state.events, there, strict=True) if logged is None]
        self._store.drop_events([*finished, *state.given_up])
        self._store.drop_parked(state.parked)
        self._store.drop_decisions(state.decisions)

    # --- steps ----------------------------------------------------------------------------------

    def _round(self) -> bool:
        """Go through what came since the last round; tell whether nothing came in between, so that nothing is left."""
        cards, begin = self._own_cards(), self._found.events_cursor
        self._survey()
        # A report of a card may stand before its first purchase.
        begin = begin if self._own_cards() == cards else ""
        self._rename()
        # Whatever a profile holds at these revisions is on the log by now, and found there.
        revisions = [(key, self._store.profile(key)[1]) for key in (self._user, *self._own_cards())]
        complete = self._rewrite(begin)
        self._drop_parked()
        self._drop_decisions()
        complete = self._cards_are_alone() and complete
        self._mend_shared_cards()
        if not complete:
            return False
        self._state.dropped |= {f"{key.kind:d}{key.id}" for key, revision in revisions if revision}
        self._notes.keep()
        return all(self._store.drop_profiles(revisions))

    def _survey(self) -> None:
        """Read on in both logs."""
        found, cards = self._found, set[str]()
        known = set(found.purchases)
        for event_page in self._events(found.events_cursor):
            found.events_cursor = event_page.cursor
            for logged in event_page.events:
                event = logged.event
                if not self._is_theirs(logged):
                    continue
                if event.kind is EventKind.PURCHASE:
                    found.purchases.add(event.purchase_id)
                    cards |= {event.card_hash} - {""}
                if not has_derived_id(event):
                    found.made_up.add(event.event_id)
        found.decisions = []
        for page in self._decisions(found.decisions_cursor):
            found.decisions_cursor = page.cursor
            for place, decision in zip(page.places, page.decisions, strict=True):
                if decision.purchase.user_id == self._user.id:
                    found.decisions.append(Entry(place, decision.purchase.purchase_id))
        asked = sorted({entry.id for entry in found.decisions} - found.purchases)
        # What somebody else bought under an id that the person asked about is somebody else's.
        found.asked |= {id_ for id_, there in zip(asked, self._recorded(asked), strict=True) if there is None}
        self._notes.add_purchases(sorted(found.purchases - known))
        self._sort_cards(cards)

    def _recorded(self, event_ids: Sequence[str]) -> list[LoggedEvent | None]:
        starts = range(0, len(event_ids), PAGE_ENTRIES)
        return [one for at in starts for one in self._store.recorded(event_ids[at : at + PAGE_ENTRIES])]

    def _sort_cards(self, cards: set[str]) -> None:
        """Note which cards are the person's alone; that stays so when this is broken off and run again."""
        me = id64(self._user.id)
        for card in sorted(cards - self._state.cards.keys()):
            self._state.cards[card] = self._users_of(card).keys() == {me}
        self._notes.keep()

    def _cards_are_alone(self) -> bool:
        """Tell whether nobody else has bought with the person's own cards meanwhile; those are shared from now on."""
        mine = {id64(self._user.id), id64(self._names.of("user", self._user.id))}
        shared = [card.id for card in self._own_cards() if not self._users_of(card.id).keys() <= mine]
        if shared:
            self._state.cards |= dict.fromkeys(shared, False)
            self._notes.keep()
        return not shared

    def _rename(self) -> None:
        """Let the pseudonyms in snapshots stand for erased ids."""
        found = self._found
        ids: list[tuple[What, str]] = [("user", self._user.id)]
        ids += [("card", card.id) for card in self._own_cards()]
        ids += [("purchase", one) for one in (*found.purchases, *found.asked)]
        ids += [("event", one) for one in found.made_up]
        names: dict[tuple[IdKind, str], str] = {(what, id_): self._names.of(what, id_) for what, id_ in ids}
        for folder in self._request.folders:
            renamed = forget_person(folder, self._user.id, names, self._erased_id)
            counts = self._state.counts.pseudonyms
            counts[str(folder)] = counts.get(str(folder), 0) + renamed

    def _erased_id(self, kind: IdKind, id_: str) -> str:
        """Return the erased id of a purchase or event that only a vault still knows as the person's."""
        return self._names.of("purchase" if kind == "purchase" else "event", id_)

    def _rewrite(self, begin: str) -> bool:
        """Rewrite the person's events, and reports of cards that are the person's alone; False when some are new."""
        own = {key.id for key in self._own_cards()}
        complete = True
        for page in self._events(begin):
            rewrites = []
            for place, logged in zip(page.places, page.events, strict=True):
                event = logged.event
                reported = event.kind is EventKind.CARD_REPORTED and event.card_hash in own
                if not reported and not self._is_theirs(logged):
                    continue
                if not self._was_surveyed(logged):
                    complete = False
                    continue
                rewrites.append(Rewrite(place, event.event_id, self._erased(logged)))
            given_up = [
                Entry(place, event.event_id) for place, event in page.given_up if event.user_id == self._user.id
            ]
            for first in range(0, len(rewrites), BATCH_ENTRIES):
                self._rewrite_some(rewrites[first : first + BATCH_ENTRIES])
            if given_up:
                self._state.given_up = given_up
                self._state.counts.given_up += len(given_up)
                self._notes.keep()
                self._store.drop_events(given_up)
        return complete

    def _rewrite_some(self, rewrites: Sequence[Rewrite]) -> None:
        self._state.events = [Entry(one.place, one.event_id) for one in rewrites]
        self._state.counts.events += len(rewrites)
        self._notes.keep()
        self._store.rewrite_events(rewrites)

    def _drop_decisions(self) -> None:
        entries = self._found.decisions
        for first in range(0, len(entries), BATCH_ENTRIES):
            some = list(entries[first : first + BATCH_ENTRIES])
            self._state.decisions = some
            self._state.counts.decisions += len(some)
            self._notes.keep()
            self._store.drop_decisions(some)

    def _drop_parked(self) -> None:
        """Let go of what waits for purchases that were only asked about; the decisions still tell which these are."""
        parked = self._store.parked_events() if self._found.asked else []
        waiting = {event.event_id: event.purchase_id for event in parked if event.purchase_id in self._found.asked}
        if waiting:
            self._state.parked = waiting
            self._state.counts.parked += len(waiting)
            self._notes.keep()
            self._store.drop_parked(waiting)

    def _mend_shared_cards(self) -> None:
        """Let cards that others have, too, know the person by the erased id: whom a card met stays as many."""
        me, nobody = id64(self._user.id), id64(self._names.of("user", self._user.id))
        for card in [card for card, own in self._state.cards.items() if not own]:
            key = EntityKey(EntityKind.CARD, card)
            for _ in range(MAX_ROUNDS):
                image = self._store.profile(key)
                users = _users_met(image)
                if me not in users:
                    break
                self._state.mended.add(card)
                self._notes.keep()
                users[nobody] = max(users.pop(me), users.get(nobody, 0))
                if self._store.replace_images([Replacement(key, image[1], with_users_met(image, users))])[0]:
                    break

    def _receipt(self) -> Receipt:
        """Write the receipt, then forget the secret."""
        state = self._state
        entries = self._store.listings.read().entries
        listed = [self._user, *(EntityKey(EntityKind.CARD, card) for card, own in state.cards.items() if own)]
        state.counts.profiles, state.counts.profiles_mended = len(state.dropped), len(state.mended)
        receipt = Receipt(
            id=state.receipt,
            at=self._now,
            person=self._person,
            why=state.why,
            who=state.who,
            listings_kept=sum(key in entries for key in listed),
            **dict(state.counts),
        )
        put_receipt(self._store.papers, receipt)
        self._notes.drop()
        return receipt

    # --- whose it is ----------------------------------------------------------------------------

    def _is_theirs(self, logged: LoggedEvent) -> bool:
        event = logged.event
        return (
            event.user_id == self._user.id
            or (event.kind in FOLLOW_UPS and event.purchase_id in self._found.purchases)
            or any(key == self._user for key, _ in logged.revisions)
        )

    def _was_surveyed(self, logged: LoggedEvent) -> bool:
        """Tell whether everything about an event was known before the pseudonyms were renamed."""
        event = logged.event
        return (
            (not event.purchase_id or event.purchase_id in self._found.purchases)
            and (has_derived_id(event) or event.event_id in self._found.made_up)
            and (event.kind is not EventKind.PURCHASE or not event.card_hash or event.card_hash in self._state.cards)
        )

    def _own_cards(self) -> list[EntityKey]:
        return [EntityKey(EntityKind.CARD, card) for card, own in self._state.cards.items() if own]

    def _users_of(self, card: str) -> dict[int, int]:
        return _users_met(self._store.profile(EntityKey(EntityKind.CARD, card)))

    def _erased(self, logged: LoggedEvent) -> LoggedEvent:
        """Return an event under ids that name nobody, without its decision."""
        event, revisions, _ = logged
        own = {key.id for key in self._own_cards()}
        erased = self._names.event(event, card=event.card_hash in own)
        return LoggedEvent(erased, tuple((self._erased_key(key, own), number) for key, number in revisions), None)

    def _erased_key(self, key: EntityKey, own_cards: set[str]) -> EntityKey:
        if key.kind is EntityKind.USER:
            return EntityKey(key.kind, self._names.of("user", key.id))
        if key.kind is EntityKind.CARD and key.id in own_cards:
            return EntityKey(key.kind, self._names.of("card", key.id))
        return key

    # --- reading --------------------------------------------------------------------------------

    def _events(self, cursor: str) -> Iterator[EventPage]:
        """Yield the log of events from a cursor on to its end, also behind events that were on their way."""
        swept, attempts = False, _ATTEMPTS
        while True:
            page = self._store.events(cursor, PAGE_ENTRIES)
            if page.cursor != cursor:
                cursor = page.cursor
                yield page
                self._spend(len(page.events))
            elif swept:
                return
            else:
                swept = self._store.sweep(0.0).waiting == 0
                attempts -= not swept
                if not attempts:
                    raise StoreUnavailable("events are on their way and do not arrive: run it again later")
                if not swept:
                    time.sleep(_PAUSE_S)

    def _decisions(self, cursor: str) -> Iterator[DecisionPage]:
        while (page := self._store.decision_log(cursor, PAGE_ENTRIES)).cursor != cursor:
            cursor = page.cursor
            yield page
            self._spend(len(page.decisions))

    def _spend(self, entries: int) -> None:
        self._read += entries
        self._tell(self._read)
        self._pace.spend(entries)


def _users_met(image: Image) -> dict[int, int]:
    try:
        return users_met(image)
    except ValueError as error:
        raise BadSetting(f"{error}: run `python -m service rebuild` first") from error
