"""Images: a profile as a flat tuple, and back."""

from __future__ import annotations

import pytest
from hypothesis import given

from service.core.event import KINDS, EntityKind, Event
from service.core.profile import EMPTY, SCHEMAS, ProfileState, newest_purchase_ms
from tests.core.profiles import images_after, images_of, updates
from tests.make import filled_image, make_purchase, streams
from tests.oracle import applied

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())


@given(events=streams())
def test_an_image_survives_the_round_trip(events: list[Event]) -> None:
    """The profile that an image shows has that image."""
    for key, image in images_after(updates(applied(events), "attempts")).items():
        assert ProfileState.of(key.kind, image).image() == image


@each_kind
def test_a_full_image_survives_the_round_trip(kind: EntityKind) -> None:
    """So does one with every bucket and every place of the recent maps taken."""
    image = filled_image(kind, "worst")
    assert ProfileState.of(kind, image).image() == image


@each_kind
def test_nothing_known_is_all_zeros(kind: EntityKind) -> None:
    """The image of an unknown entity holds the layout and zeros, and is told apart by identity."""
    layout, *rest = EMPTY[kind]
    assert layout == SCHEMAS[kind].layout
    assert not any(rest)
    assert SCHEMAS[kind].empty is EMPTY[kind]


@each_kind
def test_an_image_holds_integers_only(kind: EntityKind) -> None:
    """No float gets into a profile."""
    assert {type(number) for number in filled_image(kind, "worst")} == {int}


def test_the_newest_purchase_is_that_of_any_profile() -> None:
    """It is the latest that one of the four holds; absent and unknown profiles say nothing."""
    older = make_purchase("older", event_time_ms=1000, card_hash="")
    newer = make_purchase("newer", event_time_ms=2000, user_id="u-2", item_id="i-2")
    images = images_after(updates(applied([older, newer]), "attempts"))
    assert newest_purchase_ms(images_of(older, images)) == 2000
    assert newest_purchase_ms((None, EMPTY[EntityKind.SELLER], None, None)) == 0
