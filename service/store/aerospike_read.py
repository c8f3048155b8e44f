"""What a score reads: profiles and the purchase's own record, in one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from service.core.event import EntityKind, Event
from service.core.profile import EMPTY, LAYOUT, Image
from service.store.aerospike_client import NOT_FOUND, OK, Bins, Key
from service.store.aerospike_event import LOGGED_BINS, STATE, State, logged
from service.store.aerospike_parts import Parts
from service.store.aerospike_profile import LAYOUT_BIN, PROFILE_BINS, READERS, served_image
from service.store.aerospike_sets import Sets
from service.store.protocol import LoggedEvent, View

PURCHASES_PER_READ: Final = 32
"""Purchases that are read within `read_timeout_ms`; a longer list has that time again for each so many more."""

_USER, _SELLER, _ITEM, _CARD = EntityKind

_BINS: Final = [*PROFILE_BINS, *LOGGED_BINS]

_Wanted = list[tuple[EntityKind | None, int]]
"""What one purchase needs, by its place in the request: profiles with their kind, its own record without."""


class ViewReader:
    """Reads views. Stateless, for all threads."""

    def __init__(self, parts: Parts) -> None:
        """Resolve the names of sets and the time that a read may take."""
        self._connection = parts.connection
        self._tally = parts.tally
        self._sets = parts.sets
        self._timeout_ms = parts.settings.read_timeout_ms
        self._socket_timeout_ms = parts.settings.read_socket_timeout_ms

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Return one view for each purchase; never raises for a cluster that is slow or down."""
        if not purchases:
            return []
        request = _Request(self._sets)
        wanted = [request.add(purchase) for purchase in purchases]
        reads = 1 + len(purchases) // PURCHASES_PER_READ
        timeout_ms = max(1, min(reads * self._timeout_ms, int(timeout_s * 1000)))
        keys = [*request.places]
        records = self._connection.read_once(keys, _BINS, timeout_ms, reads * self._socket_timeout_ms)
        # A client without a cluster gives no results at all, instead of one for each key.
        if len(records) != len(keys):
            records = [None] * len(keys)
        found = [
            _recorded(record) if kind is None else _image(kind, record)
            for kind, record in zip(request.kinds, records, strict=True)
        ]
        views = [_view(some, found) for some in wanted]
        unreadable = sum(1 for view in views if view.unreadable)
        if unreadable:
            self._tally.add("unreadable", unreadable)
        return views


class _Request:
    """The records to read: what several purchases need is in it once."""

    __slots__ = ("_sets", "kinds", "places")

    def __init__(self, sets: Sets) -> None:
        """Begin with nothing."""
        self._sets = sets
        self.places: dict[Key, int] = {}
        self.kinds: list[EntityKind | None] = []

    def add(self, purchase: Event) -> _Wanted:
        """Add what a purchase needs, and return where it stands."""
        sets = self._sets
        namespace = sets.namespace
        user, seller, item, card = sets.profile_sets
        wanted: _Wanted = []
        if purchase.user_id:
            wanted.append((_USER, self._place((namespace, user, purchase.user_id), _USER)))
        if purchase.seller_id:
            wanted.append((_SELLER, self._place((namespace, seller, purchase.seller_id), _SELLER)))
        if purchase.item_id:
            wanted.append((_ITEM, self._place((namespace, item, purchase.item_id), _ITEM)))
        if purchase.card_hash:
            wanted.append((_CARD, self._place((namespace, card, purchase.card_hash), _CARD)))
        wanted.append((None, self._place(sets.event(purchase.purchase_id), None)))
        return wanted

    def _place(self, key: Key, kind: EntityKind | None) -> int:
        place = self.places.setdefault(key, len(self.kinds))
        if place == len(self.kinds):
            self.kinds.append(kind)
        return place


def _image(kind: EntityKind, record: Any) -> Image | None:  # noqa: ANN401 - the client's own
    """Return the image of a record that was read, None when it was not."""
    if record is None:
        return None
    if record.result == NOT_FOUND:
        return EMPTY[kind]
    if record.result != OK:
        return None
    bins: Bins = record.record[2]
    try:
        return READERS[kind].image(bins) if bins.get(LAYOUT_BIN) == LAYOUT else served_image(kind, bins)
    except Exception:  # noqa: BLE001 - whatever somebody else left in a record, no score fails for it
        return None


def _recorded(record: Any) -> LoggedEvent | None:  # noqa: ANN401 - the client's own
    """Return the purchase's own event when it is done; None also when that could not be read."""
    if record is None or record.result != OK:
        return None
    bins: Bins = record.record[2]
    try:
        return logged(bins) if bins.get(STATE) == State.DONE else None
    except Exception:  # noqa: BLE001 - as above
        return None


def _view(wanted: _Wanted, found: list[Any]) -> View:
    images: list[Image | None] = [None, None, None, None]
    unreadable: tuple[EntityKind, ...] = ()
    recorded = None
    for kind, place in wanted:
        if kind is None:
            recorded = found[place]
        else:
            image = images[kind - 1] = found[place]
            if image is None:
                unreadable += (kind,)
    user, seller, item, card = images
    return View((user, seller, item, card), unreadable, recorded)
