"""Listings: what an operator decided once about one user, seller, item or card."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal, NamedTuple, get_args

from service.core.event import EntityKey, EntityKind

Effect = Literal["allow", "block", "review"]
"""What a listing asks for: the policy says what each means for a decision, and which one wins."""

EFFECTS: Final[tuple[Effect, ...]] = get_args(Effect)


class Listing(NamedTuple):
    """One entry of the lists: what was decided about an entity, until when, why and by whom.

    An entity has at most one entry: a second replaces the first. A card is listed by its hash.
    `expires_ms` is the first instant at which the entry no longer holds, 0 when it holds for ever.
    """

    kind: EntityKind
    id: str
    effect: Effect
    expires_ms: int
    why: str
    who: str
    made_ms: int

    @property
    def key(self) -> EntityKey:
        """Return which entity it is about."""
        return EntityKey(self.kind, self.id)

    def holds(self, at_ms: int) -> bool:
        """Tell whether the entry still holds at that instant."""
        return self.expires_ms == 0 or at_ms < self.expires_ms


class ListingAct(IntEnum):
    """What was done to an entry of the lists; the numbers are stored and never change."""

    ADDED = 1
    REMOVED = 2
    EXPIRED = 3


class ListingChange(NamedTuple):
    """One line of the audit: what became of an entry, when, by whom and why.

    `listing` is the entry as it was added, removed or expired. `number` counts changes from 1,
    without gaps. An expiry is by nobody: `who` is "" then.
    """

    number: int
    act: ListingAct
    at_ms: int
    who: str
    why: str
    listing: Listing
