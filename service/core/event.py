"""Events: what happened, to whom, when it happened and when we knew."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple


class EntityKind(IntEnum):
    """The four kinds of entity that have a profile; the numbers are those of the proto."""

    USER = 1
    SELLER = 2
    ITEM = 3
    CARD = 4


KINDS: Final = tuple(EntityKind)


class EntityKey(NamedTuple):
    """Names one profile; an empty id names none (the entity is absent)."""

    kind: EntityKind
    id: str


class EventKind(IntEnum):
    """What happened; the numbers are stored and never change."""

    USER_REGISTERED = 1
    SELLER_REGISTERED = 2
    ITEM_LISTED = 3
    PURCHASE = 4
    PURCHASE_SETTLED = 5
    CARD_REPORTED = 6
    FRAUD_CONFIRMED = 7
    FRAUD_CLEARED = 8


FOLLOW_UPS: Final = frozenset({EventKind.PURCHASE_SETTLED, EventKind.FRAUD_CONFIRMED, EventKind.FRAUD_CLEARED})
"""Kinds that name a purchase and touch that purchase's entities."""


class Settlement(IntEnum):
    """How a purchase ended; the numbers are those of the proto, 0 is "not a settlement"."""

    NONE = 0
    COMPLETED = 1
    DECLINED = 2
    CANCELLED = 3
    REFUNDED = 4


@dataclass(slots=True)
class Event:
    """Something that happened; a purchase to be scored is an event of kind PURCHASE.

    Not frozen, because a frozen slots class costs four times as much to build and one is built for
    every call; nothing changes an event after the edge has parsed it.

    Times are milliseconds since the epoch: `event_time_ms` it happened, `ingest_time_ms` we knew.
    Amounts are minor units. Fields that a kind does not have keep their zero. For a follow-up the
    entity ids are empty: they are those of the purchase that `purchase_id` names.
    """

    event_id: str
    kind: EventKind
    event_time_ms: int
    ingest_time_ms: int
    user_id: str = ""
    seller_id: str = ""
    item_id: str = ""
    card_hash: str = ""
    purchase_id: str = ""
    amount_minor: int = 0
    currency: str = ""
    quantity: int = 0
    settlement: Settlement = Settlement.NONE

    def keys(self) -> tuple[EntityKey, ...]:
        """Return the entities that the event itself names, in the order of `KINDS`, absent ones left out."""
        ids = (self.user_id, self.seller_id, self.item_id, self.card_hash)
        return tuple(EntityKey(kind, entity_id) for kind, entity_id in zip(KINDS, ids, strict=True) if entity_id)

    def same_content(self, other: Event) -> bool:
        """Tell whether a repeat says the same; times may differ when the caller left them to us."""
        return (
            self.kind == other.kind
            and self.user_id == other.user_id
            and self.seller_id == other.seller_id
            and self.item_id == other.item_id
            and self.card_hash == other.card_hash
            and self.purchase_id == other.purchase_id
            and self.amount_minor == other.amount_minor
            and self.currency == other.currency
            and self.quantity == other.quantity
            and self.settlement == other.settlement
        )


def confirmation_id(purchase_id: str) -> str:
    """Return the event id that every confirmation of this purchase has."""
    return f"fraud:{purchase_id}"


RESERVED_PREFIXES: Final = ("fraud:", "cleared:", "settled:", "registered:", "listed:", "reported:")
"""Beginnings of derived event ids, which a purchase id may therefore not have."""


def derived_id(event: Event) -> str:
    """Return the event id that follows from the content, so that a caller who names none still repeats safely."""
    match event.kind:
        case EventKind.PURCHASE:
            return event.purchase_id
        case EventKind.FRAUD_CONFIRMED:
            return confirmation_id(event.purchase_id)
        case EventKind.FRAUD_CLEARED:
            return f"cleared:{event.purchase_id}"
        case EventKind.PURCHASE_SETTLED:
            return f"settled:{event.purchase_id}:{event.settlement.name}"
        case EventKind.USER_REGISTERED:
            return f"registered:user:{event.user_id}"
        case EventKind.SELLER_REGISTERED:
            return f"registered:seller:{event.seller_id}"
        case EventKind.ITEM_LISTED:
            return f"listed:{event.item_id}"
        case EventKind.CARD_REPORTED:
            return f"reported:{event.card_hash}:{event.event_time_ms}"
