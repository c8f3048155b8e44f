"""Entries of the lists and their changes, as tests need them."""

from __future__ import annotations

from typing import Any

from service.core.event import EntityKind
from service.core.listing import Listing, ListingAct, ListingChange
from tests.make import NOW_MS


def make_listing(id_: str = "c-1", **fields: Any) -> Listing:
    """Return an entry: a blocked card, unless the fields say otherwise."""
    values: dict[str, Any] = {
        "kind": EntityKind.CARD,
        "id": id_,
        "effect": "block",
        "expires_ms": 0,
        "why": "stolen",
        "who": "ada",
        "made_ms": NOW_MS,
    }
    return Listing(**values | fields)


def make_change(
    number: int, listing: Listing, act: ListingAct = ListingAct.ADDED, at_ms: int = NOW_MS
) -> ListingChange:
    """Return a change."""
    return ListingChange(number, act, at_ms, "ada", "because", listing)
