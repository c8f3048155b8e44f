"""The order in which updates arrive never shows in a profile."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from service.core.event import EntityKey, Event
from service.core.profile import EMPTY, Image, ProfileState
from tests.core.profiles import images_after, updates
from tests.make import streams
from tests.oracle import applied


@given(events=streams(), random=st.randoms(use_true_random=False))
def test_order_does_not_show(events: list[Event], random: Random) -> None:
    """The same updates in another order give the same images, revision and all."""
    changes = updates(applied(events), "attempts")
    shuffled = random.sample(changes, len(changes))
    assert images_after(shuffled) == images_after(changes)


@given(events=streams())
def test_an_image_holds_all_that_later_updates_need(events: list[Event]) -> None:
    """A profile that is written and read again between any two updates is the same in the end."""
    changes = updates(applied(events), "attempts")
    images: dict[EntityKey, Image] = {}
    for update in changes:
        state = ProfileState.of(update.key.kind, images.get(update.key, EMPTY[update.key.kind]))
        state.apply(update)
        images[update.key] = state.image()
    assert images == images_after(changes)


@given(events=streams())
def test_every_update_raises_the_revision_by_one(events: list[Event]) -> None:
    """The revisions that the updates of one profile get are 1, 2, 3 and so on."""
    states: dict[EntityKey, ProfileState] = {}
    for update in updates(applied(events), "attempts"):
        state = states.setdefault(update.key, ProfileState.of(update.key.kind, EMPTY[update.key.kind]))
        before = state.revision
        assert state.apply(update) == before + 1 == state.revision
