"""The lists as a store keeps them: entries, and the audit of how they came to be.

Whoever changes them names the revision that he saw; so what he checked before (that an entry is there, that
there is room) still holds when it is done, whoever else changes them at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from service.core.event import EntityKey, EntityKind
from service.core.listing import Listing, ListingAct, ListingChange

MAX_BATCH_CHANGES: Final = 256
"""Changes that are made in one step, at most."""


class Listed(NamedTuple):
    """All entries, one for each entity, as of a revision: the number of the last change."""

    revision: int
    entries: Mapping[EntityKey, Listing]


class ListingTable(Protocol):
    """Keeps the lists. Thread-safe. Every method raises StoreUnavailable."""

    def revision(self) -> int:
        """Return the number of the last change, 0 for none. Cost: one read of one record."""

    def read(self) -> Listed:
        """Return all entries, also those whose time is over, as of one revision."""

    def change(self, revision: int, changes: Sequence[ListingChange]) -> bool:
        """Make up to `MAX_BATCH_CHANGES` changes, numbered on from `revision`, all of them or none.

        False when the lists have moved on from that revision. Durable when it returns True. StoreUnavailable
        leaves open whether they were made; `revision` then tells.
        """

    def changes(self, after: int, limit: int) -> list[ListingChange]:
        """Return changes with a number above `after`, in order, [] at the end.

        `after` is 0, a revision, or the number of the last change of an earlier answer. Ends with the batch that
        reaches `limit`. Those that were dropped since are left out.
        """

    def drop_changes(self, before_ms: int, limit: int) -> int:
        """Let the oldest changes go, up to `limit` and as far as all are from before a time; return how many."""


def take_in(entries: dict[EntityKey, Listing], changes: Iterable[ListingChange]) -> None:
    """Make entries what they are after some changes."""
    for change in changes:
        if change.act is ListingAct.ADDED:
            entries[change.listing.key] = change.listing
        else:
            entries.pop(change.listing.key, None)


# --- what is written ----------------------------------------------------------------------------


def encode_listing(listing: Listing) -> bytes:
    """Return an entry as it is kept."""
    return _json(listing._asdict())


def decode_listing(content: bytes) -> Listing:
    """Return the entry that was kept."""
    return _listing(json.loads(content))


def encode_changes(changes: Sequence[ListingChange], token: str = "") -> bytes:
    """Return changes as they are kept together; the token tells two attempts with the same changes apart."""
    return _json({"token": token, "changes": [{**one._asdict(), "listing": one.listing._asdict()} for one in changes]})


def decode_changes(content: bytes) -> list[ListingChange]:
    """Return the changes that were kept together."""
    return [
        ListingChange(
            one["number"], ListingAct(one["act"]), one["at_ms"], one["who"], one["why"], _listing(one["listing"])
        )
        for one in json.loads(content)["changes"]
    ]


def _listing(fields: dict[str, Any]) -> Listing:
    return Listing(
        EntityKind(fields["kind"]),
        fields["id"],
        fields["effect"],
        fields["expires_ms"],
        fields["why"],
        fields["who"],
        fields["made_ms"],
    )


def _json(value: Any) -> bytes:  # noqa: ANN401  a mapping of plain values
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
