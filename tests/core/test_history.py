"""Histories: profiles out of updates that are told a little out of the order of their revisions."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.event import EntityKey, EntityKind, Event
from service.core.history import MAX_EARLY, Change, History
from service.core.profile import EMPTY, Update, narrowed
from tests.core.profiles import images_after, updates
from tests.make import make_image, make_purchase, streams
from tests.oracle import applied

USER = EntityKey(EntityKind.USER, "u-1")


def changes_of(events: list[Event]) -> dict[EntityKey, list[Change]]:
    """Return what events do to each entity, in the order of revisions."""
    changes: dict[EntityKey, list[Change]] = defaultdict(list)
    for update in updates(applied(events), "attempts"):
        changes[update.key].append(Change(len(changes[update.key]) + 1, update))
    return changes


def purchases(count: int) -> list[Update]:
    """Return updates of one user."""
    return updates(applied([make_purchase(f"p-{number}", seller_id="") for number in range(count)]), "attempts")[::3]


@given(events=streams(), random=st.randoms(use_true_random=False))
def test_the_order_in_which_updates_are_told_does_not_show(events: list[Event], random: Random) -> None:
    """Told in any order and in any pieces, updates make the profile that they make in the order of revisions."""
    expected = images_after(updates(applied(events), "attempts"))
    for key, changes in changes_of(events).items():
        history = History(key.kind)
        random.shuffle(changes)
        while changes:
            size = random.randint(1, len(changes))
            history.add(changes[:size])
            del changes[:size]
        assert history.image == expected[key]
        assert history.revision == expected[key][1]
        assert (history.waiting, history.lacks, history.repeats) == (0, False, False)


def test_nothing_is_known_at_first() -> None:
    """A history without changes is that of an unknown entity."""
    assert History(EntityKind.CARD).image == EMPTY[EntityKind.CARD]


def test_an_update_waits_for_the_one_before() -> None:
    """What came too early is not counted until its turn comes."""
    one, two, three = purchases(3)
    history = History(EntityKind.USER)
    history.add([Change(3, three), Change(1, one)])
    assert (history.revision, history.waiting) == (1, 1)
    history.add([Change(2, two)])
    assert (history.revision, history.waiting) == (3, 0)


def test_waiting_is_bounded() -> None:
    """When too many wait for one update, it is taken to be lost, which is told."""
    [one] = purchases(1)
    history = History(EntityKind.USER)
    history.add([Change(revision, one) for revision in range(2, MAX_EARLY + 3)])
    assert (history.revision, history.waiting, history.lacks) == (MAX_EARLY + 2, 0, True)


@pytest.mark.parametrize("expires", [False, True])
def test_a_revision_that_comes_again_is_another_life_or_a_loss(expires: bool) -> None:  # noqa: FBT001 - a case
    """What expires begins anew; else every update counts, and it is told that revisions were given twice."""
    events = [make_purchase(f"p-{number}", seller_id="", amount_minor=number) for number in range(3)]
    one, two, three = updates(applied(events), "attempts")[::3]
    history = History(EntityKind.USER, expires=expires)
    history.add([Change(1, one), Change(2, two), Change(1, three)])
    assert history.image == make_image(USER, *(events[2:] if expires else events))
    assert history.repeats is not expires


@given(events=streams())
def test_the_newest_layout_is_as_narrow_as_it_is(events: list[Event]) -> None:
    """Narrowing a profile to its own layout changes nothing."""
    for key, image in images_after(updates(applied(events), "attempts")).items():
        assert narrowed(key.kind, image, image[0]) == image
