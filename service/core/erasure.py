"""Ids that name nobody: what stands for a person, and for what leads to one, once the person is forgotten.

An erased id is a hash with a secret of its own for each person, which is destroyed at the end: from then on nobody
can tell whose it was, and while it lasts the same id gives the same erased one, so that what was broken off can be
finished. Events keep everything else, so that the profiles of others are still what their log says.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Final, Literal

from service.core.event import Event, derived_id

_PREFIX: Final = "erased:"
_DIGEST_BYTES: Final = 12

What = Literal["user", "card", "purchase", "event"]
"""What an id names."""


def is_erased(entity_id: str) -> bool:
    """Tell whether an id stands for somebody who was forgotten; such an entity has no profile."""
    return entity_id.startswith(_PREFIX)


class ErasedNames:
    """Gives erased ids. The secret has 16 to 64 random bytes."""

    def __init__(self, secret: bytes) -> None:
        """Take the secret."""
        self._secret = secret

    def of(self, what: What, id_: str) -> str:
        """Return the erased id of an id."""
        digest = blake2b(f"{what}\0{id_}".encode(), key=self._secret, digest_size=_DIGEST_BYTES)
        return f"{_PREFIX}{digest.hexdigest()}"

    def event(self, event: Event, *, card: bool) -> Event:
        """Return an event of the person, or one about the person's purchase or card, under ids that name nobody.

        Seller and item stay. So does the card, unless `card` says that it is the person's alone. An id that follows
        from the content follows from it again.
        """
        erased = replace(
            event,
            user_id=self.of("user", event.user_id) if event.user_id else "",
            card_hash=self.of("card", event.card_hash) if card and event.card_hash else event.card_hash,
            purchase_id=self.of("purchase", event.purchase_id) if event.purchase_id else "",
        )
        erased.event_id = derived_id(erased) if has_derived_id(event) else self.of("event", event.event_id)
        return erased


def has_derived_id(event: Event) -> bool:
    """Tell whether an event's id follows from its content; else the caller made it up."""
    return event.event_id == derived_id(event)
