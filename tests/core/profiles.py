"""Profiles of a history, made by the code that is under test."""

from __future__ import annotations

from collections.abc import Iterable

from service.core.compiled import RowFunction
from service.core.event import KINDS, EntityKey, EntityKind, Event
from service.core.fixed import id64, log2_fixed, log2_of_count
from service.core.formula import Reading
from service.core.profile import EMPTY, SCHEMAS, Habits, Image, ProfileState, Update, updates_of
from service.core.windows import WINDOWS
from tests.oracle import Applied

Images = tuple[Image | None, Image | None, Image | None, Image | None]


def updates(history: Iterable[Applied], habits: Habits) -> list[Update]:
    """Return what a history does to profiles, in its order."""
    return [
        update
        for one in history
        for update in updates_of(one.event, one.purchase, one.confirmed.event_time_ms if one.confirmed else 0, habits)
    ]


def images_after(changes: Iterable[Update]) -> dict[EntityKey, Image]:
    """Return the profile of every entity that the updates touch."""
    states: dict[EntityKey, ProfileState] = {}
    for update in changes:
        states.setdefault(update.key, ProfileState(SCHEMAS[update.key.kind])).apply(update)
    return {key: state.image() for key, state in states.items()}


def images_of(purchase: Event, known: dict[EntityKey, Image]) -> Images:
    """Return what a score reads: EMPTY for an unknown entity, None for an absent one."""
    read = {key.kind: known.get(key, EMPTY[key.kind]) for key in purchase.keys()}
    user, seller, item, card = (read.get(kind) for kind in KINDS)
    return user, seller, item, card


def row_of(row: RowFunction, purchase: Event, images: Images) -> list[float]:
    """Return the row of a purchase."""
    return row(*facts_of(purchase), *ids_of(purchase), *images)


def facts_of(purchase: Event) -> tuple[int, int, int, int]:
    """Return what the purchase says by itself, in the order of the row function."""
    return (
        purchase.event_time_ms,
        purchase.amount_minor,
        log2_fixed(purchase.amount_minor),
        log2_of_count(purchase.quantity),
    )


def ids_of(purchase: Event) -> tuple[int, int, int]:
    """Return the hashed ids, in the order of the row function."""
    user, seller, card = (
        id64(other) if other else 0 for other in (purchase.user_id, purchase.seller_id, purchase.card_hash)
    )
    return user, seller, card


def every_reading() -> list[Reading]:
    """Return every reading that a formula can make, of every kind."""
    found: list[Reading] = []
    for kind in KINDS:
        schema = SCHEMAS[kind]
        measures = {one.name: one.series.measures for one in schema.series}
        found.append(Reading(kind, "exists"))
        found += [Reading(kind, "total", scalar.name) for scalar in schema.scalars]
        found += [
            Reading(kind, form, measure, window.name)
            for form in ("window", "onset")
            for window in WINDOWS.values()
            for measure in measures[window.series]
        ]
        found += [Reading(kind, "size", recent.name) for recent in schema.recents]
        found += [Reading(kind, "met", recent.name) for recent in schema.recents]
    return [*found, Reading(EntityKind.USER, "day_part")]
