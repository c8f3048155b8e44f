"""From a purchase and the profiles that it meets to its row: how a compiled row function is called."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.compiled import Readable, RowFunction
from service.core.event import Event
from service.core.fixed import id64, log2_fixed, log2_of_count


def row_of(row: RowFunction, purchase: Event, images: Sequence[Readable | None]) -> list[float]:
    """Return the row that `row` makes of a purchase and four images of the newest layout, in the order of `KINDS`.

    An image is EMPTY for an entity that is unknown, None for one that is absent or could not be read.
    """
    user, seller, item, card = images
    return row(
        purchase.event_time_ms,
        purchase.amount_minor,
        log2_fixed(purchase.amount_minor),
        log2_of_count(purchase.quantity),
        id64(purchase.user_id) if purchase.user_id else 0,
        id64(purchase.seller_id) if purchase.seller_id else 0,
        id64(purchase.card_hash) if purchase.card_hash else 0,
        user,
        seller,
        item,
        card,
    )
