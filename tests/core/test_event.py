"""Events: their ids, their entities, and when two of them say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.event import (
    FOLLOW_UPS,
    RESERVED_PREFIXES,
    EntityKey,
    EntityKind,
    Event,
    EventKind,
    Settlement,
    confirmation_id,
    derived_id,
)
from tests.make import NOW_MS, make_event, make_purchase

TRICKY_IDS = st.text("a:1", min_size=1, max_size=5) | st.builds(
    "".join, st.tuples(st.sampled_from(RESERVED_PREFIXES), st.sampled_from(("a", "user:a", "a:COMPLETED", "a:1")))
)


def what_it_is_about(event: Event) -> tuple[object, ...]:
    """Return what makes an event of its kind the one it is."""
    match event.kind:
        case EventKind.PURCHASE | EventKind.FRAUD_CONFIRMED | EventKind.FRAUD_CLEARED:
            return event.kind, event.purchase_id
        case EventKind.PURCHASE_SETTLED:
            return event.kind, event.purchase_id, event.settlement
        case EventKind.USER_REGISTERED:
            return event.kind, event.user_id
        case EventKind.SELLER_REGISTERED:
            return event.kind, event.seller_id
        case EventKind.ITEM_LISTED:
            return event.kind, event.item_id
        case EventKind.CARD_REPORTED:
            return event.kind, event.card_hash, event.event_time_ms


def is_allowed(event: Event) -> bool:
    """Tell whether the edge would let the event's purchase id pass."""
    return not event.purchase_id.startswith(RESERVED_PREFIXES)


def events() -> st.SearchStrategy[Event]:
    """Draw an event of any kind, with ids made to be mistaken for one another."""
    return st.builds(
        lambda kind, one, settlement, time_ms: Event(
            "", kind, time_ms, time_ms, one, one, one, one, one, settlement=settlement
        ),
        st.sampled_from(EventKind),
        TRICKY_IDS,
        st.sampled_from(tuple(Settlement)[1:]),
        st.integers(1, 20),
    ).filter(is_allowed)


@given(one=events(), other=events())
def test_derived_ids_are_unique(one: Event, other: Event) -> None:
    """Two events have the same derived id exactly when they are about the same thing."""
    assert (derived_id(one) == derived_id(other)) == (what_it_is_about(one) == what_it_is_about(other))


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind is not EventKind.PURCHASE])
def test_derived_ids_begin_with_what_is_reserved(kind: EventKind) -> None:
    """A purchase can never have the id of another event, because it may not begin like one."""
    assert derived_id(make_event(kind)).startswith(RESERVED_PREFIXES)


def test_every_confirmation_of_a_purchase_has_one_id() -> None:
    """Whoever confirms a fraud, and however often, it is the same event."""
    assert make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-7").event_id == confirmation_id("p-7")


def test_an_event_names_its_entities_in_order() -> None:
    """The keys come in the order of the kinds, and an empty id names nobody."""
    assert make_purchase(user_id="u", seller_id="", item_id="i", card_hash="c").keys() == (
        EntityKey(EntityKind.USER, "u"),
        EntityKey(EntityKind.ITEM, "i"),
        EntityKey(EntityKind.CARD, "c"),
    )


@pytest.mark.parametrize("kind", FOLLOW_UPS)
def test_a_follow_up_names_no_entities(kind: EventKind) -> None:
    """Its entities are those of the purchase."""
    assert make_event(kind).keys() == ()


def test_a_repeat_may_differ_in_its_times() -> None:
    """The content is the same when only the times are not, since the service may have set them."""
    assert make_purchase().same_content(make_purchase(event_time_ms=NOW_MS + 1))


@pytest.mark.parametrize(
    "field",
    [
        {"kind": EventKind.CARD_REPORTED},
        {"user_id": "x"},
        {"seller_id": "x"},
        {"item_id": "x"},
        {"card_hash": "x"},
        {"purchase_id": "x"},
        {"amount_minor": 1},
        {"currency": "x"},
        {"quantity": 7},
        {"settlement": Settlement.REFUNDED},
    ],
    ids=lambda field: next(iter(field)),
)
def test_other_content_is_told_apart(field: dict[str, Any]) -> None:
    """Every field of the content counts."""
    assert not make_purchase().same_content(replace(make_purchase(), **field))
