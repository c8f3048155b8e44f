"""Carrying the logs of a store into a fresh one, on every store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.core.event import EntityKey, EventKind
from service.core.listing import ListingAct
from service.core.profile import Image
from service.errors import BadSetting
from service.finding import Finding
from service.rebuild import Plan, rebuild
from service.store.protocol import Status, Store, Submission
from service.transfer import Transferred, transfer
from tests.make import NOW_MS, make_event, make_purchase, make_stream
from tests.store.conftest import Bench
from tests.store.decisions import make_decision
from tests.store.listings import make_change, make_listing
from tests.store.oracle import assert_whole, profiles_of, settle, whole_log

DECISIONS = [make_decision(f"p-{number}", decided_at_ms=NOW_MS + number) for number in range(30)]
PARKED = make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-never")


@pytest.fixture
def target(bench: Bench) -> Iterator[Store]:
    """Open a fresh store beside the one under test."""
    place = bench.place
    where = f"{place.where}-fresh" if place.kind == "lmdb" else place.where
    store = place._replace(where=where, set_prefix=f"{place.set_prefix}f-").open()
    yield store
    store.close()


def fill(store: Store) -> dict[EntityKey, Image]:
    """Record a hard stream with decisions, and return the profiles."""
    stream = make_stream(3, 150, entities=5)
    settle(store, [Submission(event) for event in stream])
    settle(store, [Submission(make_purchase("with-decision"), make_decision("with-decision")), Submission(PARKED)])
    store.put_row_layout(DECISIONS[0].row_layout, ["a", "b"])
    store.put_decisions(DECISIONS)
    return profiles_of(whole_log(store))


def assert_same(source: Store, target: Store, profiles: dict[EntityKey, Image]) -> None:
    """Check that two stores answer alike."""
    assert rebuild(target, "attempts", Plan(alone=True)).findings.keys() <= {Finding.RESTORED, Finding.SAME}
    assert assert_whole(target) == whole_log(source)
    assert target.profiles([*profiles]) == source.profiles([*profiles])
    assert target.decision_log("", 1000).decisions == source.decision_log("", 1000).decisions
    assert target.decisions("p-3") == source.decisions("p-3")
    assert target.row_layout(DECISIONS[0].row_layout) == ("a", "b")
    assert target.newest_event_ms() == source.newest_event_ms()
    assert target.parked() == source.parked()


def test_everything_is_carried(store: Store, target: Store) -> None:
    """Log, decisions, names of rows and what waits are the same afterwards, and profiles come of the log."""
    profiles = fill(store)
    carried = transfer(store, target)
    assert carried == Transferred(len(whole_log(store)), len(DECISIONS), store.parked())
    assert_same(store, target, profiles)


def test_what_is_there_is_not_carried_twice(store: Store, target: Store) -> None:
    """A second run carries what came in between, and nothing else."""
    fill(store)
    transfer(store, target)
    store.apply([Submission(make_purchase("p-never")), Submission(make_purchase("later"))])
    store.put_decisions([make_decision("later")])
    assert transfer(store, target) == Transferred(3, 1, 0)
    assert transfer(store, target) == Transferred(0, 0, 0)
    assert_same(store, target, profiles_of(whole_log(store)))


@pytest.mark.parametrize("at", [1, 2])
def test_a_transfer_that_was_broken_off_goes_on(store: Store, target: Store, at: int) -> None:
    """Broken off after any page it can be run again."""
    profiles = fill(store)
    entries: list[int] = []

    def break_off(read: int) -> None:
        entries.append(read)
        if len(entries) == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer(store, target, tell=break_off)
    transfer(store, target)
    assert_same(store, target, profiles)


def test_a_place_that_holds_something_else_is_refused(store: Store, target: Store) -> None:
    """Nothing is mixed into a store that is not a beginning of the other."""
    fill(store)
    target.apply([Submission(make_purchase("other"))])
    with pytest.raises(BadSetting, match="something else than a copy"):
        transfer(store, target)
    assert [one.event.event_id for one in whole_log(target)] == ["other"]


def test_the_fresh_store_goes_on_where_the_other_was(store: Store, target: Store) -> None:
    """Events that come after it get the next revisions, and repeats of those before are known."""
    fill(store)
    transfer(store, target)
    rebuild(target, "attempts", Plan(alone=True))
    confirmed = make_event(EventKind.FRAUD_CONFIRMED, purchase_id="with-decision")
    events = [make_purchase("with-decision"), confirmed, make_purchase("p-never"), make_purchase("next")]
    outcomes = settle(target, [Submission(event) for event in events])
    assert [outcome.status for outcome in outcomes] == [Status.DUPLICATE, *[Status.APPLIED] * 3]
    assert target.parked() == store.parked() - 1
    assert_whole(target)


def test_lists_and_papers_are_carried(store: Store, target: Store) -> None:
    """Entries, audit and receipts are there afterwards; a second run carries what came in between."""
    first, second = make_change(1, make_listing("c-1")), make_change(2, make_listing("c-2"))
    assert store.listings.change(0, [first, second])
    store.papers.put("receipts", "r-1", b"{}")
    assert transfer(store, target) == Transferred(0, 0, 0, 2, 1)
    removed = make_change(3, make_listing("c-1"), ListingAct.REMOVED)
    assert store.listings.change(2, [removed])
    assert transfer(store, target) == Transferred(0, 0, 0, 1, 0)
    assert target.listings.read() == store.listings.read()
    assert target.listings.changes(0, 10) == [first, second, removed]
    assert target.papers.get("receipts", "r-1") == b"{}"


def test_entries_that_the_audit_tells_no_more_of_are_carried(store: Store, target: Store) -> None:
    """Where the audit lost its beginning, its entries come first, as they were made."""
    assert store.listings.change(0, [make_change(1, make_listing("c-1")), make_change(2, make_listing("c-2"))])
    assert store.listings.change(2, [make_change(3, make_listing("c-2"), ListingAct.REMOVED, NOW_MS + 9)])
    assert store.listings.drop_changes(NOW_MS + 1, 10) == 2
    transfer(store, target)
    assert target.listings.read().entries == store.listings.read().entries
    assert [(one.number, one.act, one.listing.id) for one in target.listings.changes(0, 10)] == [
        (1, ListingAct.ADDED, "c-1"),
        (2, ListingAct.REMOVED, "c-2"),
    ]
