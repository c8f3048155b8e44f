"""What a score could not know: which profiles did not inform it, and why."""

from __future__ import annotations

from typing import Final

from service.core.decision import MissingCause
from service.core.event import KINDS, EntityKey, EntityKind, Event
from service.core.profile import EMPTY
from service.store.protocol import View

_EMPTY: Final = tuple((kind, EMPTY[kind]) for kind in KINDS)


def missing_of(
    purchase: Event, view: View
) -> tuple[dict[EntityKind, MissingCause], tuple[tuple[EntityKey, int], ...], bool]:
    """Return which profiles did not inform the score and why, the revisions read, and whether that degrades it."""
    missing: dict[EntityKind, MissingCause] = {}
    revisions = []
    ids = (purchase.user_id, purchase.seller_id, purchase.item_id, purchase.card_hash)
    degraded = False
    seen_before = view.recorded is not None
    for (kind, empty), entity_id, image in zip(_EMPTY, ids, view.images, strict=True):
        if image is not None and image is not empty and not seen_before:
            revisions.append((EntityKey(kind, entity_id), image[1]))
        elif not entity_id:
            missing[kind] = MissingCause.ABSENT
        elif seen_before:
            missing[kind] = MissingCause.HOLDS_PURCHASE
            degraded = True
        elif image is None:
            missing[kind] = MissingCause.UNREADABLE
            degraded = True
        else:
            missing[kind] = MissingCause.UNKNOWN
            revisions.append((EntityKey(kind, entity_id), 0))
    return missing, tuple(revisions), degraded
