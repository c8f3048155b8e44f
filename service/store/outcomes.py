"""The outcomes that both stores give in the same words."""

from __future__ import annotations

from typing import Final

from service.core.event import Event, EventKind
from service.store.protocol import Outcome, Status

MAX_ID_LENGTH: Final = 255
"""Longest id that is kept: above what the edge lets in; two with a zero byte between make LMDB's largest key."""

MAX_AMOUNT_MINOR: Final = (1 << 53) - 1
"""Largest amount that is kept: as far as its logarithm is the same everywhere (`service.core.fixed`)."""


def unfit(event: Event) -> Outcome | None:
    """Return REJECTED for an event that no record can hold, else None; stores ask before they touch anything.

    The edge refuses all of this before; here it keeps one bad event from stopping those beside it.
    """
    ids = {
        "event_id": event.event_id,
        "user_id": event.user_id,
        "seller_id": event.seller_id,
        "item_id": event.item_id,
        "card_hash": event.card_hash,
        "purchase_id": event.purchase_id,
        "currency": event.currency,
    }
    for name, value in ids.items():
        if len(value) > MAX_ID_LENGTH or not value.isascii() or "\0" in value:
            return _rejected(event, name, f"is not plain ASCII of at most {MAX_ID_LENGTH} characters")
    if not event.event_id:
        return _rejected(event, "event_id", "is empty")
    if event.kind is EventKind.PURCHASE and event.event_id != event.purchase_id:
        return _rejected(event, "event_id", "is not the id of the purchase")
    if not 0 <= event.amount_minor <= MAX_AMOUNT_MINOR:
        return _rejected(event, "amount_minor", f"is not within 0 to {MAX_AMOUNT_MINOR}")
    if not 0 <= event.quantity < 1 << 32:
        return _rejected(event, "quantity", f"is not within 0 to {(1 << 32) - 1}")
    if not (0 <= event.event_time_ms < 1 << 60 and 0 <= event.ingest_time_ms < 1 << 60):
        return _rejected(event, "event_time_ms", "is not a time in milliseconds since the epoch")
    return None


def conflict(event: Event) -> Outcome:
    """Return REJECTED for an id that is known with other content."""
    name = "purchase_id" if event.kind is EventKind.PURCHASE else "event_id"
    return _rejected(event, name, "is known with other content")


def not_a_purchase(event: Event) -> Outcome:
    """Return REJECTED for a follow-up whose `purchase_id` names an event of another kind."""
    return _rejected(event, "purchase_id", "names an event that is not a purchase")


def parking_full(max_parked: int) -> Outcome:
    """Return RETRY for a follow-up that finds every place taken."""
    return Outcome(
        Status.RETRY,
        field="purchase_id",
        reason=f"is not known yet, and as many events wait for theirs as max_parked allows ({max_parked})",
    )


def _rejected(event: Event, name: str, reason: str) -> Outcome:
    field = f"purchase.{name}" if event.kind is EventKind.PURCHASE and name != "event_id" else name
    return Outcome(Status.REJECTED, field=field, reason=reason)
