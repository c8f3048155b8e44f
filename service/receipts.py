"""Receipts of persons who were forgotten: what was done, for whoever has to show it."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.store.papers import Papers

FOLDER: Final = "receipts"
"""The folder of papers that they are kept in."""

KEYS: Final = "keys"
"""The folder of the key that persons are hashed with."""

_KEY_BYTES: Final = 32
_HASH_BYTES: Final = 16


class Counts(BaseModel):
    """How much was erased."""

    model_config = ConfigDict(extra="forbid")

    profiles: int = 0
    """Profiles that are gone: the person's, and those of cards that were the person's alone."""
    profiles_mended: int = 0
    """Profiles of cards that others have, too, and that know the person by nothing any more."""
    events: int = 0
    """Events that stay in the log under ids that name nobody."""
    given_up: int = 0
    """Events that were in quarantine, and are gone."""
    decisions: int = 0
    """Decisions that are gone."""
    parked: int = 0
    """Events that waited for a purchase which was only asked about, and are gone."""
    pseudonyms: dict[str, int] = Field(default_factory=dict)
    """Pseudonyms that stand for nobody now, by folder of snapshots."""


class Receipt(Counts):
    """What was done; holds nothing that leads to the person.

    `person` is a hash of the id with a key that the store alone has: who knows the id and may read the store can
    find the receipt, and nobody can find the id.
    """

    format: Literal[1] = 1
    id: str
    at: AwareDatetime
    person: str
    why: str
    who: str
    listings_kept: int = 0
    """Entries of the lists about the person, which stay until somebody removes them or they expire."""


def person_hash(papers: Papers, user_id: str) -> str:
    """Return what stands for a person in receipts, in 32 hex digits. Raises StoreUnavailable."""
    key = papers.add(KEYS, FOLDER, secrets.token_bytes(_KEY_BYTES))
    return blake2b(f"user\0{user_id}".encode(), key=key, digest_size=_HASH_BYTES).hexdigest()


def put_receipt(papers: Papers, receipt: Receipt) -> None:
    """Keep a receipt for ever. Raises StoreUnavailable."""
    papers.put(FOLDER, receipt.id, receipt.model_dump_json().encode())


def receipts(papers: Papers, user_id: str = "") -> list[Receipt]:
    """Return the receipts that are kept, oldest first; of one person, if named. Raises StoreUnavailable."""
    wanted = person_hash(papers, user_id) if user_id else ""
    found = [Receipt.model_validate_json(paper) for name in papers.names(FOLDER) if (paper := papers.get(FOLDER, name))]
    return sorted((one for one in found if wanted in ("", one.person)), key=lambda one: (one.at, one.id))
