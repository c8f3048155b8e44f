"""The tail of a log: its last entries that a snapshot holds, by which the log is known again.

Another store's log, or one that came out of an older copy of its store and goes on otherwise, has other entries there,
maybe at the same times. So entries are compared value by value, and id by id. An id that was erased, in the log or in
the vault, and a pseudonym that leads nowhere prove nothing; all else of such an entry is as it was. An export compares
the same by its own means (`training.snapshot.tail`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from service.core.decision import DecisionRecord
from service.core.erasure import has_derived_id, is_erased
from service.core.event import FOLLOW_UPS, KINDS
from service.store.protocol import LoggedEvent, Revisions
from service.verified import Held

_ENTITY_IDS: Final = ("user_id", "seller_id", "item_id", "card_hash")
_REVISIONS: Final = ("user_revision", "seller_revision", "item_revision", "card_revision")

EVENT_VALUES: Final = (
    "kind",
    "event_time_ms",
    "ingest_time_ms",
    "amount_minor",
    "currency",
    "quantity",
    "settlement",
    *_REVISIONS,
)
"""The values of an event, by the columns of a snapshot."""

EVENT_IDS: Final = ("event_id", "purchase_id", *_ENTITY_IDS)

DECISION_VALUES: Final = (
    "decided_at_ms",
    "event_time_ms",
    "ingest_time_ms",
    "amount_minor",
    "currency",
    "quantity",
    *_REVISIONS,
)
DECISION_IDS: Final = ("purchase_id", *_ENTITY_IDS)


class Known(NamedTuple):
    """An entry as it is known again: its values, and its ids, None for one that names nobody."""

    values: tuple[int | str | None, ...]
    ids: tuple[str | None, ...]

    def may_be(self, other: Known) -> bool:
        """Tell whether nothing speaks against it that the two are the same entry."""
        pairs = zip(self.ids, other.ids, strict=True)
        return self.values == other.values and all(one == two for one, two in pairs if None not in (one, two))


DERIVED: Final = ""
"""Stands for an event id that follows from the rest of the event."""


def known_event(logged: LoggedEvent) -> Known:
    """Return an entry of the log of events as it is known again."""
    event = logged.event
    values = (
        int(event.kind),
        event.event_time_ms,
        event.ingest_time_ms,
        event.amount_minor,
        event.currency,
        event.quantity,
        int(event.settlement),
        *_revisions(logged.revisions, 0),
    )
    entities: Iterable[str] = (event.user_id, event.seller_id, event.item_id, event.card_hash)
    if event.kind in FOLLOW_UPS:  # it names a purchase alone; a snapshot has the entities that it touched
        touched = {kind: id_ for (kind, id_), _ in logged.revisions}
        entities = [touched.get(kind, "") for kind in KINDS]
    event_id = DERIVED if has_derived_id(event) else event.event_id
    return Known(values, _named((event_id, event.purchase_id, *entities)))


def known_decision(decision: DecisionRecord) -> Known:
    """Return an entry of the log of decisions as it is known again."""
    purchase = decision.purchase
    values = (
        decision.decided_at_ms,
        purchase.event_time_ms,
        purchase.ingest_time_ms,
        purchase.amount_minor,
        purchase.currency,
        purchase.quantity,
        *_revisions(decision.revisions, None),
    )
    ids = (purchase.purchase_id, purchase.user_id, purchase.seller_id, purchase.item_id, purchase.card_hash)
    return Known(values, _named(ids))


def known_held(held: Held, reveal: Callable[[str], str | None]) -> Known:
    """Return an entry that a snapshot holds as it is known again; `reveal` gives the id of a pseudonym."""
    return Known(held.values, _named(reveal(one) if one else DERIVED for one in held.pseudonyms))


def is_same(there: Iterable[Known], held: Iterable[Known]) -> bool:
    """Tell whether each entry that is there may be one that is held, in their order; some of those may be gone."""
    left = iter(held)
    return all(any(entry.may_be(one) for one in left) for entry in there)


def _revisions(revisions: Revisions, absent: int | None) -> list[int | None]:
    numbers = {kind: revision for (kind, _), revision in revisions}
    return [numbers.get(kind, absent) for kind in KINDS]


def _named(ids: Iterable[str | None]) -> tuple[str | None, ...]:
    return tuple(None if one is None or is_erased(one) else one for one in ids)
