"""Factories of test values: a test names the fields that matter, the rest is here.

`make_event` and `make_purchase` build one event; `make_stream` builds a hard stream of events out of a
seed; `streams` is the same as a Hypothesis strategy; `make_image` and `filled_image` build profiles.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any, Final, Literal

from hypothesis import strategies as st

from service.core.aggregates import RECENT_CAP
from service.core.event import FOLLOW_UPS, EntityKey, EntityKind, Event, EventKind, Settlement, derived_id
from service.core.profile import SCHEMAS, Habits, Image, ProfileState, updates_of
from service.core.windows import DAY_MS, HOUR_MS, MINUTE_MS, SERIES

NOW_MS: Final = 1_783_987_200_000
"""2026-07-14T00:00:00Z: the first millisecond of a bucket of every series."""

_DEFAULTS: Final[dict[EventKind, dict[str, Any]]] = {
    EventKind.USER_REGISTERED: {"user_id": "u-1"},
    EventKind.SELLER_REGISTERED: {"seller_id": "s-1"},
    EventKind.ITEM_LISTED: {"item_id": "i-1", "seller_id": "s-1", "amount_minor": 4999, "quantity": 1},
    EventKind.PURCHASE: {
        "purchase_id": "p-1",
        "user_id": "u-1",
        "seller_id": "s-1",
        "item_id": "i-1",
        "card_hash": "c-1",
        "amount_minor": 12_999,
        "currency": "EUR",
        "quantity": 1,
    },
    EventKind.PURCHASE_SETTLED: {"purchase_id": "p-1", "settlement": Settlement.COMPLETED},
    EventKind.CARD_REPORTED: {"card_hash": "c-1"},
    EventKind.FRAUD_CONFIRMED: {"purchase_id": "p-1"},
    EventKind.FRAUD_CLEARED: {"purchase_id": "p-1"},
}


def make_event(kind: EventKind = EventKind.PURCHASE, **fields: Any) -> Event:
    """Return a valid event of a kind, known at once unless `ingest_time_ms` says otherwise."""
    values = {"event_time_ms": NOW_MS, **_DEFAULTS[kind], **fields}
    values.setdefault("ingest_time_ms", values["event_time_ms"])
    event_id = values.pop("event_id", "")
    event = Event(event_id, kind, **values)
    return event if event_id else replace(event, event_id=derived_id(event))


def make_purchase(purchase_id: str = "p-1", **fields: Any) -> Event:
    """Return a purchase that names all four entities."""
    return make_event(EventKind.PURCHASE, purchase_id=purchase_id, **fields)


# --- streams ------------------------------------------------------------------------------------

_STEPS_MS: Final = (0, 0, 1, MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, DAY_MS, 29 * DAY_MS, 30 * DAY_MS)
"""How far from the middle events lie: the same millisecond, the edge of a bucket or of a window."""

_DELAYS_MS: Final = (0, 0, 0, 1, 55 * MINUTE_MS, HOUR_MS, 23 * HOUR_MS, DAY_MS, 29 * DAY_MS, 31 * DAY_MS)
"""How long after an event we knew of it: at once, or just in time or just too late for a series."""

_KINDS: Final = (*[EventKind.PURCHASE] * 4, *sorted(FOLLOW_UPS), *EventKind)
_AMOUNTS: Final = (0, 1, 999, 4_999, 10**12)


def make_stream(seed: int | Random, count: int, *, entities: int = 2, orderly: bool = False) -> list[Event]:
    """Return up to `count` distinct events of all kinds and some repeats of them, in order of arrival.

    Made to be hard: few `entities` of each kind, so that they collide; absent ids; the same
    millisecond; edges of buckets; late events; follow-ups of purchases that come later or never. An
    `orderly` stream has no repeats and arrives in order of event time.
    """
    random = seed if isinstance(seed, Random) else Random(seed)
    events: dict[str, Event] = {}
    for number in range(count):
        event = _random_event(random, number, entities)
        events.setdefault(event.event_id, event)
    stream = sorted(events.values(), key=lambda event: event.event_time_ms)
    if not orderly:
        stream += [random.choice(stream) for _ in range(count // 4)]
        random.shuffle(stream)
    return stream


def _random_event(random: Random, number: int, entities: int) -> Event:
    """Return an event of any kind; a follow-up names the first purchase, or another, or one that never comes."""
    time_ms = random_time_ms(random)
    fields: dict[str, Any] = {
        "event_time_ms": time_ms,
        "ingest_time_ms": time_ms + random.choice(_DELAYS_MS),
    }
    kind = random.choice(_KINDS) if number else EventKind.PURCHASE
    if kind is EventKind.PURCHASE:
        fields |= {
            "purchase_id": f"p-{number}",
            "user_id": f"u-{random.randint(1, entities)}",
            "seller_id": _random_id(random, "s", entities),
            "item_id": _random_id(random, "i", entities),
            "card_hash": _random_id(random, "c", entities),
            "amount_minor": random.choice(_AMOUNTS),
            "quantity": random.choice((1, 1, 2, 1_000_000)),
        }
    elif kind in FOLLOW_UPS:
        fields["purchase_id"] = f"p-{random.choice((0, 0, random.randint(0, number + 1)))}"
        if kind is EventKind.PURCHASE_SETTLED:
            fields["settlement"] = random.choice(tuple(Settlement)[1:])
    elif kind is EventKind.USER_REGISTERED:
        fields["user_id"] = f"u-{random.randint(1, entities)}"
    elif kind is EventKind.SELLER_REGISTERED:
        fields["seller_id"] = f"s-{random.randint(1, entities)}"
    elif kind is EventKind.CARD_REPORTED:
        fields["card_hash"] = f"c-{random.randint(1, entities)}"
    else:
        fields |= {
            "item_id": f"i-{random.randint(1, entities)}",
            "seller_id": _random_id(random, "s", entities),
            "amount_minor": random.choice(_AMOUNTS),
        }
    return make_event(kind, **fields)


def random_time_ms(random: Random) -> int:
    """Return a time of the sort that the events of a stream have."""
    sign = random.choice((-1, 1))
    return NOW_MS + sign * random.choice(_STEPS_MS) + random.choice((-1, 0, 0, 1, random.randint(0, 2 * DAY_MS)))


def _random_id(random: Random, letter: str, entities: int) -> str:
    """Return one of a few ids, or "" for absent."""
    number = random.randint(0, entities)
    return f"{letter}-{number}" if number else ""


def streams(max_events: int = 24, *, entities: int = 2) -> st.SearchStrategy[list[Event]]:
    """Draw a stream of events, see `make_stream`."""
    return st.builds(
        lambda random, count: make_stream(random, count, entities=entities),
        st.randoms(use_true_random=False),
        st.integers(1, max_events),
    )


def times_ms() -> st.SearchStrategy[int]:
    """Draw a time before, between or after the events of a stream."""
    return st.builds(random_time_ms, st.randoms(use_true_random=False))


# --- profiles -----------------------------------------------------------------------------------


def make_image(key: EntityKey, *events: Event, habits: Habits = "attempts") -> Image:
    """Return the profile of an entity after these events; a follow-up needs its purchase before it."""
    state = ProfileState(SCHEMAS[key.kind])
    purchases = {event.purchase_id: event for event in events if event.kind is EventKind.PURCHASE}
    confirmed = {event.purchase_id: event.event_time_ms for event in events if event.kind is EventKind.FRAUD_CONFIRMED}
    for event in events:
        purchase = purchases[event.purchase_id] if event.kind in FOLLOW_UPS else None
        for update in updates_of(event, purchase, confirmed.get(event.purchase_id, 0), habits):
            if update.key == key:
                state.apply(update)
    return state.image()


def filled_image(kind: EntityKind, fill: Literal["typical", "worst"]) -> Image:
    """Return a profile as the benchmarks name it, as of `NOW_MS`.

    `typical`: the purchases of `TYPICAL_PURCHASES`, evenly over thirty days, with two others of each kind.
    `worst`: every bucket of every series and every place of the recent maps taken.
    """
    if fill == "typical":
        count, others = TYPICAL_PURCHASES[kind], 2
        ages_ms = [30 * DAY_MS * index // count for index in range(count)]
    else:
        others = RECENT_CAP
        ages_ms = [age * one.bucket_ms for one in SERIES for age in range(one.buckets)]
    events = []
    for index, age_ms in enumerate(sorted(ages_ms, reverse=True)):
        other = index % others
        ids = {"user_id": f"u-{other}", "seller_id": f"s-{other}", "item_id": f"i-{other}", "card_hash": f"c-{other}"}
        ids[_ID_FIELDS[kind]] = "me"
        events.append(make_purchase(f"p-{index}", event_time_ms=NOW_MS - age_ms, amount_minor=1000 + index, **ids))
    return make_image(EntityKey(kind, "me"), *events)


TYPICAL_PURCHASES: Final = {EntityKind.USER: 12, EntityKind.SELLER: 300, EntityKind.ITEM: 30, EntityKind.CARD: 12}
"""Purchases within thirty days of a profile of typical fill."""

_ID_FIELDS: Final = {
    EntityKind.USER: "user_id",
    EntityKind.SELLER: "seller_id",
    EntityKind.ITEM: "item_id",
    EntityKind.CARD: "card_hash",
}
