"""Whom a card met lately, as its profile keeps it: hashes of user ids, each with the time of the last meeting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.core.event import EntityKind
from service.core.profile import LAYOUT, SCHEMAS, Image, ProfileState

_SCHEMA: Final = SCHEMAS[EntityKind.CARD]
_AT: Final = [recent.name for recent in _SCHEMA.recents].index("users")
_USERS: Final = _SCHEMA.recents[_AT]


def users_met(image: Image) -> dict[int, int]:
    """Return the users (`service.core.fixed.id64`) that a card met last, and when; ValueError for an older layout."""
    if image[0] != LAYOUT:
        raise ValueError(f"the profile is of layout {image[0]}, not {LAYOUT}")
    return _USERS.times(ProfileState.of(EntityKind.CARD, image).recents[_AT])


def with_users_met(image: Image, times_ms: Mapping[int, int]) -> Image:
    """Return the profile of a card as it is but for whom it met; at the same revision."""
    state = ProfileState.of(EntityKind.CARD, image)
    met = _USERS.zero()
    for user, time_ms in times_ms.items():
        _USERS.add(met, user, time_ms)
    state.recents[_AT] = met
    return state.image()
