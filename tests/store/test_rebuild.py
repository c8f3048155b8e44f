"""Rebuilding profiles from the log, on every store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from service.core.event import EntityKey, EntityKind, EventKind
from service.core.profile import Image
from service.errors import BadSetting
from service.finding import Finding
from service.rebuild import Plan, Report, rebuild
from service.store.protocol import LoggedEvent, Replacement, Store, Submission
from tests.make import NOW_MS, make_event, make_image, make_purchase, make_stream
from tests.store.conftest import Bench
from tests.store.oracle import assert_whole, profiles_of, settle, whole_log
from tests.tree.files import ROOT

USER = EntityKey(EntityKind.USER, "u-1")
SELLER = EntityKey(EntityKind.SELLER, "s-1")

VERIFY = Plan(verify=True, max_rounds=3)
IN_PLACE = Plan(max_rounds=3)
ALONE = Plan(alone=True, max_rounds=3)


def fill(store: Store, seed: int = 1) -> dict[EntityKey, Image]:
    """Record a hard stream, and return the profiles."""
    settle(store, [Submission(event) for event in make_stream(seed, 150, entities=5)])
    return profiles_of(whole_log(store))


def put(store: Store, key: EntityKey, image: Image) -> None:
    """Put anything in the place of a profile."""
    assert store.replace_images([Replacement(key, store.profile(key)[1], image)]) == [True]


def run(store: Store, plan: Plan) -> Report:
    """Rebuild."""
    return rebuild(store, "attempts", plan)


def test_the_next_release_gives_old_profiles_their_history(bench: Bench) -> None:
    """What a new layout knows more of has its whole history, while events come in, also when it was broken off."""
    store = bench.open()
    fill(store)
    store.close()
    place = bench.place
    command = [sys.executable, "-m", "tests.store.next_release", place.kind, place.where, place.set_prefix, "7"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "broken off" in ended.stdout


@pytest.mark.parametrize("plan", [VERIFY, IN_PLACE, ALONE], ids=["verify", "in place", "alone"])
def test_nothing_is_done_where_nothing_is_wrong(store: Store, plan: Plan) -> None:
    """Every profile of the log is found to be the same, once."""
    profiles = fill(store)
    report = run(store, plan)
    assert report.findings == {Finding.SAME: len(profiles)}
    assert report.events == len(whole_log(store))


def test_a_small_memory_takes_more_passes(store: Store) -> None:
    """Where not all profiles fit, the log is read for one share after the other, and each is looked at once."""
    profiles = fill(store)
    report = run(store, VERIFY._replace(max_memory_bytes=1))
    assert report.findings == {Finding.SAME: len(profiles)}
    assert report.passes >= len(profiles)


def test_damage_is_found_and_repaired(store: Store) -> None:
    """A profile that says something else at the same revision is named, and after a rebuild it is right."""
    profiles = fill(store)
    right = profiles[USER]
    put(store, USER, (*right[:4], right[4] + 1, *right[5:]))
    before = run(store, VERIFY)
    assert before.examples == {Finding.DIFFERENT: [USER]}
    assert run(store, IN_PLACE).examples == {Finding.REPAIRED: [USER]}
    assert run(store, VERIFY).findings == {Finding.SAME: len(profiles)}
    assert store.profile(USER) == right


def test_a_profile_that_lost_updates_is_left_alone_where_others_write(store: Store) -> None:
    """Its revision says that it is behind the log: only where nobody else writes can it be put right."""
    fill(store)
    put(store, SELLER, make_image(SELLER, make_purchase()))
    for plan, finding in ((VERIFY, Finding.BEHIND), (IN_PLACE, Finding.BEHIND), (ALONE, Finding.RESTORED)):
        assert run(store, plan).examples == {finding: [SELLER]}
    assert_whole(store)


@pytest.mark.parametrize("arrange", [list, lambda log: Random(1).sample(log, len(log))], ids=["in order", "shuffled"])
def test_a_log_alone_makes_all_profiles(
    bench: Bench, arrange: Callable[[list[LoggedEvent]], list[LoggedEvent]], tmp_path: object
) -> None:
    """From the log of another store, in any order, comes every profile of it, by the revisions that it names."""
    del tmp_path
    store = bench.open()
    profiles = fill(store)
    log = whole_log(store)
    store.close()
    fresh = bench.place._replace(where=f"{bench.place.where}-fresh") if bench.place.kind == "lmdb" else bench.place
    fresh = fresh._replace(set_prefix=f"{fresh.set_prefix}fresh-")
    target = fresh.open()
    target.restore(arrange(log))
    assert run(target, ALONE).findings == {Finding.RESTORED: len(profiles)}
    assert dict(zip(profiles, target.profiles([*profiles]), strict=True)) == profiles
    target.close()


def logged(number: int, revision: int, **fields: object) -> LoggedEvent:
    """Return a purchase that named a user alone, with the revision that it got."""
    nobody = {"seller_id": "", "item_id": "", "card_hash": ""}
    event = make_purchase(f"p-{number}", event_time_ms=NOW_MS + number, **{**nobody, **fields})
    return LoggedEvent(event, ((USER, revision),), None)


def test_a_profile_that_had_expired_is_that_of_its_last_life(store: Store) -> None:
    """Where revisions begin again with 1, what was before is forgotten."""
    log = [logged(1, 1), logged(2, 2), logged(3, 1), logged(4, 2)]
    store.restore(log)
    assert run(store, ALONE._replace(expires=True)).findings == {Finding.RESTORED: 1}
    assert store.profile(USER) == make_image(USER, log[2].event, log[3].event)
    assert run(store, VERIFY._replace(expires=True)).findings == {Finding.SAME: 1}


def test_a_profile_that_lost_updates_and_went_on_gets_them_all_back(store: Store) -> None:
    """Where profiles do not expire, a revision that was given twice tells of a loss; every update of the log counts."""
    log = [logged(1, 1), logged(2, 2), logged(3, 3), logged(4, 2), logged(5, 3)]
    store.restore(log)
    purchases = [one.event for one in log]
    lost = make_image(USER, purchases[0], *purchases[3:])
    assert store.replace_images([Replacement(USER, 0, lost)]) == [True]
    for plan in (VERIFY, IN_PLACE):
        assert run(store, plan).examples == {Finding.BEHIND: [USER]}
    assert store.profile(USER) == lost
    assert run(store, ALONE).examples == {Finding.PATCHED: [USER]}
    assert store.profile(USER) == make_image(USER, *purchases)
    assert run(store, ALONE).findings == {Finding.SAME: 1}


@pytest.mark.parametrize("missing", [1, 2])
def test_a_log_with_a_hole_is_told(store: Store, missing: int) -> None:
    """An entity with an update that the log has lost is left as it is; where the log is all there is, it makes do."""
    log = [logged(number, number) for number in range(1, 5)]
    whole = make_image(USER, *(one.event for one in log))
    del log[missing - 1]
    store.restore(log)
    assert store.replace_images([Replacement(USER, 0, whole)]) == [True]
    for plan in (VERIFY, IN_PLACE):
        assert run(store, plan).examples == {Finding.INCOMPLETE: [USER]}
    assert store.profile(USER) == whole
    assert run(store, ALONE).examples == {Finding.PATCHED: [USER]}
    left = make_image(USER, *(one.event for one in log))
    assert store.profile(USER) == (left[0], 4, *left[2:])


def test_a_follow_up_whose_purchase_is_gone_is_told(store: Store) -> None:
    """What a confirmation counted cannot be known without its purchase."""
    confirmed = make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-9")
    store.restore([logged(1, 1), LoggedEvent(confirmed, ((USER, 2),), None)])
    assert run(store, VERIFY).examples == {Finding.INCOMPLETE: [USER]}
    assert run(store, ALONE).examples == {Finding.PATCHED: [USER]}
    assert store.profile(USER)[1] == 2


def test_other_habits_than_those_of_the_log_are_refused(store: Store) -> None:
    """A settlement that changed nothing then must not change anything now, nor the other way round."""
    settled = make_event(EventKind.PURCHASE_SETTLED)
    store.restore([logged(1, 1), LoggedEvent(replace(settled), ((USER, 2),), None)])
    with pytest.raises(BadSetting, match=r"ingest\.habits: .*'attempts'"):
        run(store, VERIFY)


def test_what_goes_on_all_the_time_is_named(store: Store) -> None:
    """A profile that is always ahead of the log is left as it is, after a bounded number of rounds."""
    log = [logged(number, number) for number in range(1, 4)]
    store.restore(log[:2])
    ahead = make_image(USER, *(one.event for one in log))
    assert store.replace_images([Replacement(USER, 0, ahead)]) == [True]
    assert run(store, IN_PLACE).examples == {Finding.AHEAD: [USER]}
    assert store.profile(USER) == ahead


def test_reading_can_be_slowed_down(store: Store) -> None:
    """A bound on events a second changes nothing but the time that it takes."""
    profiles = fill(store)
    assert run(store, VERIFY._replace(max_events_per_s=2000)).findings == {Finding.SAME: len(profiles)}
