"""The table of bad input: every field of every request, with everything that can be wrong with it.

Each row says which field is set to what in an otherwise valid message, and which field must be named.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from service.pb import fraud_pb2 as pb
from tests.make import NOW_MS

CARD_NUMBERS: Final = (
    "4111111111111111",
    "5500005555555559",
    "4111-1111-1111-1111",
    "378282246310005",
    "6011.0009.9013.9424",
)
TOO_LONG: Final = "x" * 129
BAD_IDS: Final = (
    TOO_LONG,
    "has space",
    "tab\there",
    "new\nline",
    "ünïcode",
    "nul\0",
    "semi;colon",
    "<b>",
    *CARD_NUMBERS,
)
FAR_FUTURE_MS: Final = 4_000_000_000_000  # 2096
BAD_TIMES: Final = (-1, 1, 946_684_799_999, FAR_FUTURE_MS, 2**62, -(2**63))
BAD_AMOUNTS: Final = (-1, 10**12 + 1, 2**63 - 1, -(2**63))


class Row(NamedTuple):
    """One way to be wrong."""

    field: str
    value: Any
    named: str


def purchase(**fields: Any) -> pb.Purchase:
    """Return a valid purchase, but for the fields given."""
    values: dict[str, Any] = {
        "purchase_id": "p-1",
        "user_id": "u-1",
        "seller_id": "s-1",
        "item_id": "i-1",
        "card_hash": "c-1",
        "amount_minor": 12_999,
        "currency": "EUR",
        "quantity": 1,
        "event_time_ms": NOW_MS,
    }
    return pb.Purchase(**{**values, **fields})


PURCHASES: Final = (
    *(Row(field, value, f"purchase.{field}") for field in ("purchase_id", "user_id") for value in ("", *BAD_IDS)),
    *(Row(field, value, f"purchase.{field}") for field in ("seller_id", "item_id", "card_hash") for value in BAD_IDS),
    *(Row("purchase_id", prefix + "x", "purchase.purchase_id") for prefix in ("fraud:", "cleared:", "settled:")),
    *(Row("purchase_id", prefix + "x", "purchase.purchase_id") for prefix in ("registered:", "listed:", "reported:")),
    *(Row("amount_minor", value, "purchase.amount_minor") for value in BAD_AMOUNTS),
    *(Row("currency", value, "purchase.currency") for value in ("USD", "eur", "EURO", "€")),
    *(Row("quantity", value, "purchase.quantity") for value in (10**6 + 1, 2**32 - 1)),
    *(Row("event_time_ms", value, "purchase.event_time_ms") for value in BAD_TIMES),
)

_CONTENTS: Final[dict[str, dict[str, Any]]] = {
    "user_registered": {"user_id": "u-1"},
    "seller_registered": {"seller_id": "s-1"},
    "item_listed": {"item_id": "i-1", "seller_id": "s-1", "price_minor": 4999},
    "purchase_settled": {"purchase_id": "p-1", "settlement": pb.COMPLETED},
    "card_reported": {"card_hash": "c-1"},
    "fraud_confirmed": {"purchase_id": "p-1"},
    "fraud_cleared": {"purchase_id": "p-1"},
}


def event(which: str, event_id: str = "", event_time_ms: int = NOW_MS, **fields: Any) -> pb.Event:
    """Return a valid event of a kind, but for the fields given."""
    if which == "purchase":
        return pb.Event(event_id=event_id, event_time_ms=event_time_ms, purchase=purchase(**fields))
    message = pb.Event(event_id=event_id, event_time_ms=event_time_ms)
    content = getattr(message, which)
    content.SetInParent()
    for name, value in {**_CONTENTS[which], **fields}.items():
        setattr(content, name, value)
    return message


class EventRow(NamedTuple):
    """One event that is wrong, and the field that must be named."""

    message: pb.Event
    named: str


def _contents() -> list[EventRow]:
    rows = []
    for which, content in _CONTENTS.items():
        for field in content:
            if field.endswith("_id") or field == "card_hash":
                absent = () if (which, field) == ("item_listed", "seller_id") else ("",)
                rows += [EventRow(event(which, **{field: bad}), f"{which}.{field}") for bad in (*absent, *BAD_IDS)]
    return rows


EVENTS: Final = (
    *_contents(),
    *(EventRow(pb.Event(purchase=purchase(**{row.field: row.value})), row.named) for row in PURCHASES),
    *(EventRow(event("item_listed", price_minor=value), "item_listed.price_minor") for value in BAD_AMOUNTS),
    *(EventRow(event("purchase_settled", settlement=value), "purchase_settled.settlement") for value in (0, 5, 99)),
    *(EventRow(event("user_registered", event_time_ms=value), "event_time_ms") for value in BAD_TIMES),
    *(EventRow(event("card_reported", event_id=value), "event_id") for value in ("x" * 161, "a b", *CARD_NUMBERS)),
    *(EventRow(event(which, event_id="mine"), "event_id") for which in ("fraud_confirmed", "purchase", "item_listed")),
    *(
        EventRow(event(which, purchase_id="fraud:p-1"), f"{which}.purchase_id")
        for which in ("fraud_confirmed", "fraud_cleared", "purchase_settled")
    ),
    EventRow(event("card_reported", event_time_ms=0), "event_id"),
    EventRow(event("purchase", event_time_ms=NOW_MS - 5), "event_time_ms"),
    EventRow(pb.Event(event_id="e-1", event_time_ms=NOW_MS), "kind"),
    EventRow(pb.Event(event_time_ms=NOW_MS, ingest_time_ms=NOW_MS, user_registered={"user_id": "u"}), "ingest_time_ms"),
)
