"""Changing the lists: what operators do, one step after the other, each checked against what is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from service.core.event import EntityKey, EntityKind
from service.core.limits import ID_CHARACTERS, ID_WORDS, LATEST_MS, MAX_ID_LENGTH, looks_like_card
from service.core.listing import EFFECTS, Listing, ListingAct, ListingChange
from service.errors import BadSetting, InvalidInput, StoreUnavailable, Violation
from service.lists import expiries
from service.store.listing_table import MAX_BATCH_CHANGES, Listed, ListingTable, take_in

MAX_WHY_LENGTH: Final = 500
MAX_WHO_LENGTH: Final = 128

_TRIES: Final = 50
"""Times that others may be faster, in a row."""

_ID: Final = re.compile(rf"[{ID_CHARACTERS}]+")


class ListEditor:
    """Adds and removes entries, each step with its line in the audit; exact also while others do the same."""

    def __init__(self, table: ListingTable, max_entries: int, now_ms: Callable[[], int]) -> None:
        """Take what it needs."""
        self._table = table
        self._max_entries = max_entries
        self._now_ms = now_ms
        self._known: tuple[int, dict[EntityKey, Listing]] | None = None

    def add(self, listings: Sequence[Listing]) -> None:
        """Add entries, each in the place of one that the entity may have. Raises BadSetting when there is no room.

        They are added `MAX_BATCH_CHANGES` at a time: an error in between leaves those before it. Raises
        StoreUnavailable; adding all again then is harmless.
        """
        self.expire()
        for first in range(0, len(listings), MAX_BATCH_CHANGES):
            some = listings[first : first + MAX_BATCH_CHANGES]
            self._commit(partial(self._additions, listings=some))

    def remove(self, key: EntityKey, why: str, who: str) -> Listing | None:
        """Remove the entry of an entity and return it, None when there is none. Raises StoreUnavailable."""

        def removal(listed: Listed) -> list[ListingChange]:
            there = listed.entries.get(key)
            number = listed.revision + 1
            return [] if there is None else [self._change(number, ListingAct.REMOVED, there, why, who)]

        self.expire()
        removed = self._commit(removal)
        return removed[0].listing if removed else None

    def expire(self) -> int:
        """Take out entries whose time is over; return how many. Raises StoreUnavailable."""
        expired = 0

        def over(listed: Listed) -> list[ListingChange]:
            now_ms = self._now_ms()
            gone = [listing for listing in listed.entries.values() if not listing.holds(now_ms)]
            return expiries(gone[:MAX_BATCH_CHANGES], listed.revision, now_ms)

        while changes := self._commit(over):
            expired += len(changes)
        return expired

    def _additions(self, listed: Listed, listings: Sequence[Listing]) -> list[ListingChange]:
        keys = {listing.key for listing in listings}
        if len(listed.entries.keys() | keys) > self._max_entries:
            raise BadSetting(
                f"the lists hold {len(listed.entries):,} entries, and lists.max_entries allows {self._max_entries:,}: "
                "remove some, or raise it for every worker"
            )
        return [
            self._change(number, ListingAct.ADDED, listing, listing.why, listing.who)
            for number, listing in enumerate(listings, listed.revision + 1)
        ]

    def _change(self, number: int, act: ListingAct, listing: Listing, why: str, who: str) -> ListingChange:
        return ListingChange(number, act, self._now_ms(), who, why, listing)

    def _commit(self, make: Callable[[Listed], list[ListingChange]]) -> list[ListingChange]:
        """Make changes of what is there and commit them, again when others were faster; [] when there are none."""
        for _ in range(_TRIES):
            revision, entries = self._read()
            changes = make(Listed(revision, entries))
            if not changes:
                return []
            self._known = None
            if self._table.change(revision, changes):
                take_in(entries, changes)
                self._known = changes[-1].number, entries
                return changes
        raise StoreUnavailable("the lists are being changed by others all the time: try again")

    def _read(self) -> tuple[int, dict[EntityKey, Listing]]:
        """Return what is there: what this editor made of it, unless others have changed it since."""
        if self._known is None or self._known[0] != self._table.revision():
            revision, entries = self._table.read()
            self._known = revision, dict(entries)
        return self._known


def problems_of(listing: Listing, *, numeric_ids: bool) -> list[Violation]:
    """Return what is wrong with an entry that somebody wants to add; never repeats a value."""
    found = []
    if not _ID.fullmatch(listing.id) or len(listing.id) > MAX_ID_LENGTH:
        found.append(Violation("id", f"must be 1 to {MAX_ID_LENGTH} characters out of {ID_WORDS}"))
    elif looks_like_card(listing.id) and not (numeric_ids and listing.kind is not EntityKind.CARD):
        found.append(Violation("id", "passes for a card number: list a card by its hash"))
    if listing.effect not in EFFECTS:
        found.append(Violation("effect", f"must be one of {', '.join(EFFECTS)}"))
    if listing.expires_ms and not listing.made_ms < listing.expires_ms <= LATEST_MS:
        found.append(Violation("expires", "must lie in the future, and before the year 2100"))
    found += _problems_of_text("why", listing.why, MAX_WHY_LENGTH)
    found += _problems_of_text("who", listing.who, MAX_WHO_LENGTH)
    return found


def check(listing: Listing, *, numeric_ids: bool) -> None:
    """Raise InvalidInput when something is wrong with an entry that somebody wants to add."""
    found = problems_of(listing, numeric_ids=numeric_ids)
    if found:
        raise InvalidInput(found)


def _problems_of_text(name: str, text: str, longest: int) -> Iterable[Violation]:
    if not text.strip() or len(text) > longest or not text.isprintable():
        yield Violation(name, f"must be 1 to {longest} printable characters")
    elif any(looks_like_card(word) for word in re.split(r"[\s,;]+", text)):
        yield Violation(name, "holds what passes for a card number")
