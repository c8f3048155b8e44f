"""Putting profiles and events back, on every store: the steps that a rebuild is made of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.core.event import EntityKey, EntityKind, EventKind
from service.core.profile import EMPTY, Image
from service.core.windows import DAY_MS
from service.store.protocol import LoggedEvent, Replacement, Status, Store, Submission
from tests.make import NOW_MS, make_event, make_image, make_purchase, make_stream
from tests.store.conftest import Bench
from tests.store.decisions import make_decision
from tests.store.oracle import assert_whole, profiles_of, settle, whole_log

USER = EntityKey(EntityKind.USER, "u-1")
CONFIRMED = make_event(EventKind.FRAUD_CONFIRMED, event_time_ms=NOW_MS + DAY_MS)
CLEARED = make_event(EventKind.FRAUD_CLEARED, event_time_ms=NOW_MS + 2 * DAY_MS)
REPEATED = [make_purchase(), make_purchase("p-2", event_time_ms=NOW_MS + 40 * DAY_MS), CONFIRMED, CLEARED]


def fill(store: Store, *, seed: int = 1, count: int = 150) -> dict[EntityKey, Image]:
    """Record a hard stream, and return the profiles."""
    settle(store, [Submission(event) for event in make_stream(seed, count)])
    return profiles_of(whole_log(store))


def test_profiles_are_read_as_one_by_one(store: Store) -> None:
    """One read of many profiles equals many reads of one, EMPTY for what nobody recorded."""
    keys = [*fill(store), EntityKey(EntityKind.CARD, "nobody's")]
    assert store.profiles(keys) == [store.profile(key) for key in keys]
    assert store.profiles(keys)[-1] is EMPTY[EntityKind.CARD]
    assert store.profiles([]) == []


def test_recorded_events_are_those_of_the_log(store: Store) -> None:
    """An event is found by its id with all that the log has of it; what is parked or unknown is not."""
    settle(store, [Submission(make_purchase(), make_decision()), Submission(CONFIRMED)])
    store.apply([Submission(make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-9"))])
    ids = ["p-1", "fraud:p-1", "fraud:p-9", "nobody's"]
    assert store.recorded(ids) == [*whole_log(store), None, None]
    assert store.recorded([]) == []


def test_a_replaced_profile_reads_as_what_replaced_it(store: Store) -> None:
    """A profile of the same revision takes the place of whatever was stored, and events go on from there."""
    profiles = fill(store)
    wrong = {key: (*image[:2], *(total + 1 for total in image[2:12]), *image[12:]) for key, image in profiles.items()}
    for images in (wrong, profiles):
        changes = [Replacement(key, image[1], image) for key, image in images.items()]
        assert store.replace_images(changes) == [True] * len(changes)
        assert {key: store.profile(key) for key in images} == images
    settle(store, [Submission(event) for event in make_stream(2, 60)])
    assert_whole(store)


def test_a_replacement_keeps_buckets_in_which_nothing_is_left(store: Store) -> None:
    """A fraud that was taken back leaves its bucket, empty; a replacement has it too."""
    settle(store, [Submission(event) for event in REPEATED])
    image = store.profile(USER)
    assert store.replace_images([Replacement(USER, image[1], image)]) == [True]
    assert store.profile(USER) == image == make_image(USER, *REPEATED)


def test_never_stays_never(store: Store) -> None:
    """A time that is "never" in a replacement is set by the next event, not kept at zero."""
    reported = make_event(EventKind.CARD_REPORTED)
    card = EntityKey(EntityKind.CARD, "c-1")
    settle(store, [Submission(reported)])
    image = store.profile(card)
    assert store.replace_images([Replacement(card, 1, image)]) == [True]
    settle(store, [Submission(make_purchase())])
    assert store.profile(card) == make_image(card, reported, make_purchase())


@pytest.mark.parametrize("revision", [0, 1, 3])
def test_a_profile_of_another_revision_is_not_replaced(store: Store, revision: int) -> None:
    """Whoever comes with an old revision, or with none, changes nothing and is told."""
    settle(store, [Submission(make_purchase("p-1")), Submission(make_purchase("p-2"))])
    before = store.profile(USER)
    old = make_image(USER, make_purchase("p-1"))
    assert store.replace_images([Replacement(USER, revision, old)]) == [False]
    assert store.profile(USER) == before


def test_a_profile_that_is_missing_is_put_there_once(store: Store) -> None:
    """Revision 0 names a profile that does not exist; to repeat it is harmless."""
    image = make_image(USER, make_purchase())
    assert store.replace_images([Replacement(USER, 1, image)]) == [False]
    assert store.profile(USER) is EMPTY[EntityKind.USER]
    for _ in range(2):
        assert store.replace_images([Replacement(USER, 0, image)]) == [True]
        assert store.profile(USER) == image


def test_replacing_loses_no_update(store: Store) -> None:
    """Replacements that race with events lose: every event counts once, and repeats of all are known."""
    purchases = [make_purchase(f"p-{number}", event_time_ms=NOW_MS + number) for number in range(120)]

    def record() -> None:
        for at in range(0, len(purchases), 3):
            settle(store, [Submission(event) for event in purchases[at : at + 3]])

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(record) for _ in range(2)]
        stood = 0
        while not all(writer.done() for writer in writers):
            image = store.profile(USER)
            if image[1]:
                stood += store.replace_images([Replacement(USER, image[1], image)])[0]
        for writer in writers:
            writer.result()
    assert stood
    assert store.profile(USER) == make_image(USER, *purchases)
    assert_whole(store)
    again = settle(store, [Submission(event) for event in purchases])
    assert {outcome.status for outcome in again} == {Status.DUPLICATE}


# --- restoring a log ----------------------------------------------------------------------------


def test_a_restored_log_is_the_log(bench: Bench) -> None:
    """Events are restored in their order with the revisions and decisions that they have, once, and stay."""
    store = bench.open()
    purchases = [make_purchase(f"p-{number}", event_time_ms=NOW_MS + number) for number in range(300)]
    log = [
        LoggedEvent(event, tuple((key, 7) for key in event.keys()), make_decision(event.purchase_id, recorded=True))
        for event in purchases
    ]
    store.restore(log[:200])
    store.restore(log[100:])
    store.close()
    store = bench.open()
    assert whole_log(store) == log
    assert store.profile(USER) is EMPTY[EntityKind.USER]
    assert store.newest_event_ms() == NOW_MS + 299


def test_a_restored_event_is_known(store: Store) -> None:
    """A repeat of what was restored is a DUPLICATE, with the revisions of the first time."""
    restored = LoggedEvent(make_purchase(), ((USER, 12),), None)
    store.restore([restored])
    [outcome] = store.apply([Submission(make_purchase())])
    assert (outcome.status, outcome.revisions) == (Status.DUPLICATE, ((USER, 12),))
    assert whole_log(store) == [restored]


def test_what_is_restored_is_no_longer_parked(store: Store) -> None:
    """A follow-up that waited and was applied elsewhere is an event of the log, and waits no more."""
    store.apply([Submission(CONFIRMED), Submission(CLEARED)])
    assert sorted(event.event_id for event in store.parked_events()) == ["cleared:p-1", "fraud:p-1"]
    log = [LoggedEvent(make_purchase(), ((USER, 1),), None), LoggedEvent(CONFIRMED, ((USER, 2),), None)]
    store.restore(log)
    assert store.parked_events() == [CLEARED]
    assert store.parked() == 1
    assert whole_log(store) == log
