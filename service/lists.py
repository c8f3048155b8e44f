"""The lists as a worker holds them: all entries in memory, at most a look or two behind the store."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from typing import Final

from service.core.event import KINDS, EntityKey, Event
from service.core.listing import Listing, ListingAct, ListingChange
from service.store.listing_table import MAX_BATCH_CHANGES, ListingTable

_FOLLOWED: Final = 4 * MAX_BATCH_CHANGES
"""Changes that are asked for at a time."""

_Live = tuple[dict[str, Listing], dict[str, Listing], dict[str, Listing], dict[str, Listing]]
"""Entries that hold, by id, for each kind in the order of `KINDS`."""


class Lists:
    """What is listed, for the path of a score; `refresh` keeps it so and is called by one thread.

    While the store does not answer, the last known entries stay, and those whose time is over go.
    """

    def __init__(
        self, table: ListingTable, now_ms: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Know nothing until the first refresh. `now_ms` is the time of day that entries expire by."""
        self._table = table
        self._now_ms = now_ms
        self._clock = clock
        self._live: _Live = ({}, {}, {}, {})
        self._revision = -1
        self._expiries: list[tuple[int, EntityKey]] = []
        self._over: dict[EntityKey, Listing] = {}
        """Entries whose time is over and that the store still has."""
        self._seen_s = clock()

    def of(self, purchase: Event) -> tuple[Listing, ...]:
        """Return the entries about a purchase's user, seller, item and card, in this order; () mostly.

        Cost: four look-ups, 0.2 µs.
        """
        users, sellers, items, cards = self._live
        user = users.get(purchase.user_id)
        seller = sellers.get(purchase.seller_id)
        item = items.get(purchase.item_id)
        card = cards.get(purchase.card_hash)
        if user is None and seller is None and item is None and card is None:
            return ()
        return tuple(one for one in (user, seller, item, card) if one is not None)

    @property
    def entries(self) -> int:
        """Return how many entries hold."""
        return sum(map(len, self._live))

    @property
    def age_s(self) -> float:
        """Return the seconds since the store was last heard: how old what is known may be."""
        return self._clock() - self._seen_s

    def refresh(self) -> None:
        """Take in what was changed since, and let expire what is over. Raises StoreUnavailable.

        Cost: one small read of the store when nothing changed; all entries are read once, at the start.
        """
        self._expire()
        self._follow()
        self._expire()
        if self._over:
            self._tell_of_expiries()
        self._seen_s = self._clock()

    def _follow(self) -> None:
        """Take in changes, or everything when they cannot be had one by one."""
        revision = self._table.revision()
        while self._revision != revision:
            changes = self._table.changes(self._revision, _FOLLOWED) if 0 <= self._revision < revision else []
            if not changes or changes[0].number != self._revision + 1:
                self._load()
                return
            self._take_in(changes)
            self._revision = changes[-1].number

    def _load(self) -> None:
        revision, entries = self._table.read()
        self._expiries, self._over = [], {}
        live: _Live = ({}, {}, {}, {})
        for listing in entries.values():
            live[listing.kind - 1][listing.id] = listing
            self._note_expiry(listing)
        self._live = live
        self._revision = revision

    def _take_in(self, changes: Iterable[ListingChange]) -> None:
        """Change the entries where they are: a score sees each before or after, and nothing is copied."""
        for change in changes:
            listing = change.listing
            self._over.pop(listing.key, None)
            if change.act is ListingAct.ADDED:
                self._live[listing.kind - 1][listing.id] = listing
                self._note_expiry(listing)
            else:
                self._live[listing.kind - 1].pop(listing.id, None)

    def _note_expiry(self, listing: Listing) -> None:
        if listing.expires_ms:
            heapq.heappush(self._expiries, (listing.expires_ms, listing.key))

    def _expire(self) -> None:
        """Let go of entries whose time is over; one that was replaced since has a time of its own."""
        now_ms = self._now_ms()
        while self._expiries and self._expiries[0][0] <= now_ms:
            _, key = heapq.heappop(self._expiries)
            listing = self._live[key.kind - 1].get(key.id)
            if listing is not None and not listing.holds(now_ms):
                del self._live[key.kind - 1][key.id]
                self._over[key] = listing

    def _tell_of_expiries(self) -> None:
        """Write into the audit what expired. Of several workers one succeeds; the others see it at their next look."""
        over = [*self._over.values()][:MAX_BATCH_CHANGES]
        changes = expiries(over, self._revision, self._now_ms())
        if self._table.change(self._revision, changes):
            self._take_in(changes)
            self._revision = changes[-1].number


def expiries(over: Iterable[Listing], revision: int, now_ms: int) -> list[ListingChange]:
    """Return the changes that take out entries whose time is over."""
    why = "its time was over"
    return [
        ListingChange(number, ListingAct.EXPIRED, now_ms, "", why, listing)
        for number, listing in enumerate(over, revision + 1)
    ]


assert [kind - 1 for kind in KINDS] == [*range(len(KINDS))], "kinds are numbered in their order"
