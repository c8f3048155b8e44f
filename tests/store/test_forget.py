"""Forgetting a person, on every store: nothing leads to the person any more, and nobody else is any different."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from service.core.erasure import is_erased
from service.core.event import FOLLOW_UPS, EntityKey, EntityKind, Event, EventKind, Settlement
from service.core.profile import EMPTY, SCHEMAS, ProfileState
from service.finding import Finding
from service.forget import Request, forget
from service.forgetting import FORGETTING, PURCHASES
from service.rebuild import Plan, rebuild
from service.receipts import Receipt, receipts
from service.settings import AerospikeSettings
from service.store.aerospike import AerospikeStore
from service.store.protocol import LoggedEvent, Status, Store, Submission
from tests.make import NOW_MS, make_event, make_purchase, make_stream
from tests.store.clients import Crash, CrashingClient
from tests.store.conftest import Bench
from tests.store.decisions import make_decision
from tests.store.listings import make_change, make_listing
from tests.store.oracle import profiles_of, settle, whole_log
from tests.store.places import Place

NOW = datetime(2026, 7, 30, 12, tzinfo=UTC)
USER = EntityKey(EntityKind.USER, "u-1")
OTHER = EntityKey(EntityKind.USER, "u-2")
OWN_CARD = EntityKey(EntityKind.CARD, "c-own")
SHARED_CARD = EntityKey(EntityKind.CARD, "c-shared")


def run(store: Store, user_id: str = "u-1", **fields: Any) -> Receipt:
    """Forget a person."""
    return forget(store, Request(user_id, "asked for it", "ada", **fields), NOW)


def record(store: Store, *events: Event) -> None:
    """Apply events, each purchase with its decision, and keep that in the log of decisions, too."""
    submissions = []
    for event in events:
        decision = None
        if event.kind is EventKind.PURCHASE:
            decision = make_decision(purchase=event, revisions=tuple((key, 0) for key in event.keys()))
        submissions.append(Submission(event, decision))
    settle(store, submissions)
    store.put_decisions([one.decision for one in submissions if one.decision is not None])


def fill(store: Store) -> None:
    """Record a person with two cards, one of them shared with somebody else, and some hard events of others."""
    purchase = make_purchase("p-1", card_hash="c-own")
    record(
        store,
        make_event(EventKind.CARD_REPORTED, card_hash="c-own"),
        make_event(EventKind.USER_REGISTERED, user_id="u-1"),
        purchase,
        make_purchase("p-2", card_hash="c-shared", event_time_ms=NOW_MS + 1),
        make_purchase("p-3", card_hash="c-shared", user_id="u-2", event_time_ms=NOW_MS + 2),
        make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-1", event_time_ms=NOW_MS + 3),
        make_event(EventKind.FRAUD_CLEARED, purchase_id="p-1", event_id="ticket-17", event_time_ms=NOW_MS + 4),
        make_event(EventKind.PURCHASE_SETTLED, purchase_id="p-1", settlement=Settlement.REFUNDED),
        make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-only-asked", event_time_ms=NOW_MS + 5),
    )
    store.put_decisions([make_decision(purchase=make_purchase("p-only-asked"))])
    others = [
        event
        for event in make_stream(7, 60, entities=3)
        if event.purchase_id not in ("p-1", "p-2", "p-3") and event.user_id != "u-1"
    ]
    mine = {event.purchase_id for event in make_stream(7, 60, entities=3) if event.user_id == "u-1"}
    record(store, *[event for event in others if event.kind not in FOLLOW_UPS or event.purchase_id not in mine])


def words(store: Store) -> set[str]:
    """Return every id that can be read anywhere in the store, but for the entries of the lists."""
    found: set[str] = set()
    for logged in whole_log(store):
        found |= words_of(logged.event) | {key.id for key, _ in logged.revisions}
        if logged.decision is not None:
            found |= words_of(logged.decision.purchase) | {key.id for key, _ in logged.decision.revisions}
    cursor = ""
    while (page := store.decision_log(cursor, 100)).cursor != cursor:
        cursor = page.cursor
        for decision in page.decisions:
            found |= words_of(decision.purchase) | {key.id for key, _ in decision.revisions}
    for event in store.parked_events():
        found |= words_of(event)
    return found


def words_of(event: Event) -> set[str]:
    """Return the ids of an event."""
    return {event.event_id, event.user_id, event.seller_id, event.item_id, event.card_hash, event.purchase_id}


def assert_whole(store: Store) -> list[LoggedEvent]:
    """Check that every profile is what the log says, those of the forgotten aside, and that a rebuild agrees."""
    log = whole_log(store)
    for key, image in profiles_of(log).items():
        assert store.profile(key) == (EMPTY[key.kind] if is_erased(key.id) else image), key
    assert rebuild(store, "attempts", Plan(verify=True)).findings.keys() == {Finding.SAME}
    return log


def users_of(store: Store, card: EntityKey) -> int:
    """Return how many users a card has met."""
    state = ProfileState.of(card.kind, store.profile(card))
    return len(SCHEMAS[card.kind].recents[0].times(state.recents[0]))


def test_nothing_leads_to_the_person_any_more(store: Store) -> None:
    """Profile, card, decisions and every id of the person's events are gone, from the log and from what waits."""
    fill(store)
    receipt = run(store)
    assert words(store) & {"u-1", "p-1", "p-2", "p-only-asked", "c-own", "fraud:p-1", "ticket-17"} == set()
    assert store.profile(USER) is EMPTY[USER.kind]
    assert store.profile(OWN_CARD) is EMPTY[OWN_CARD.kind]
    assert store.recorded(["p-1", "p-2", "fraud:p-1", "ticket-17"]) == [None] * 4
    assert (store.decisions("p-1"), store.decisions("p-only-asked")) == ([], [])
    view = store.read([make_purchase("p-1", card_hash="c-own")], 1.0)[0]
    assert (view.recorded, view.images[0], view.images[3]) == (None, EMPTY[USER.kind], EMPTY[OWN_CARD.kind])
    assert receipt.model_dump(exclude={"id", "person", "at"}) == {
        "format": 1, "why": "asked for it", "who": "ada", "profiles": 2, "profiles_mended": 1, "events": 7,
        "given_up": 0, "decisions": 3, "parked": 1, "pseudonyms": {}, "listings_kept": 0,
    }  # fmt: skip


def test_nobody_else_is_any_different(store: Store) -> None:
    """Profiles, revisions, decisions and events of others are what they were, and how many users a card met."""
    fill(store)
    log = whole_log(store)
    keys = {key for one in log for key, _ in one.revisions} - {USER, OWN_CARD}
    before = {key: store.profile(key) for key in keys - {SHARED_CARD}}
    theirs = [
        one
        for one in log
        if USER not in dict(one.revisions) and one.event.card_hash != "c-own" and one.event.purchase_id != "p-1"
    ]
    decided = store.decision_log("", 1000).decisions
    run(store)
    assert {key: store.profile(key) for key in before} == before
    assert users_of(store, SHARED_CARD) == 2
    after = assert_whole(store)
    assert [one.event.event_time_ms for one in after] == [one.event.event_time_ms for one in log]
    assert [one for one in after if one in theirs] == theirs
    assert store.decision_log("", 1000).decisions == [one for one in decided if one.purchase.user_id != "u-1"]


def test_what_comes_later_begins_anew(store: Store) -> None:
    """A purchase after that, also one with an id that was forgotten, begins a profile at revision 1."""
    fill(store)
    run(store)
    outcome = store.apply([Submission(make_purchase("p-1", card_hash="c-own", event_time_ms=NOW_MS + 10))])[0]
    assert outcome.status is Status.APPLIED
    assert dict(outcome.revisions)[USER] == 1
    assert dict(outcome.revisions)[OWN_CARD] == 1
    assert_whole(store)


def test_a_person_of_whom_nothing_is_known_has_a_receipt_too(store: Store) -> None:
    """Forgetting somebody whom nobody knew changes nothing and says so."""
    fill(store)
    before = words(store)
    receipt = run(store, "u-unheard-of")
    assert (receipt.profiles, receipt.events, receipt.decisions) == (0, 0, 0)
    assert words(store) == before


def test_a_receipt_is_found_by_who_knows_the_person(bench: Bench) -> None:
    """Receipts stay, are found by the id, name nobody, and forgetting twice gives two of the same person."""
    store = bench.open()
    fill(store)
    first, second, other = run(store), run(store), run(store, "u-2")
    assert (second.events, second.decisions, second.profiles) == (0, 0, 0)
    store.close()
    again = bench.open()
    assert sorted(receipts(again.papers), key=lambda one: one.id) == sorted(
        [first, second, other], key=lambda one: one.id
    )
    assert {one.id for one in receipts(again.papers, "u-1")} == {first.id, second.id}
    assert {one.id for one in receipts(again.papers, "u-2")} == {other.id}
    assert receipts(again.papers, "u-3") == []
    assert "u-1" not in first.model_dump_json()


def test_listings_stay_and_are_told(store: Store) -> None:
    """An entry of the lists about the person is the operator's to remove: the receipt counts it."""
    fill(store)
    listing = make_listing("u-1", kind=EntityKind.USER)
    assert store.listings.change(0, [make_change(1, listing)])
    assert run(store).listings_kept == 1
    assert store.listings.read().entries == {listing.key: listing}


def test_what_somebody_else_bought_under_an_id_that_was_asked_about_stays(store: Store) -> None:
    """A purchase that the person only asked about, and somebody else made, is somebody else's."""
    store.put_decisions([make_decision(purchase=make_purchase("p-9"))])
    record(store, make_purchase("p-9", user_id="u-2"))
    run(store)
    assert store.recorded(["p-9"])[0] is not None
    assert [one.purchase.user_id for one in store.decisions("p-9")] == ["u-2"]


def test_a_person_is_forgotten_while_others_go_on(bench: Bench) -> None:
    """Purchases of the person and of others that come meanwhile are all kept, and profiles are what the log says."""
    store = bench.open()
    record(store, *[make_purchase(f"p-{number}", event_time_ms=NOW_MS + number) for number in range(50)])
    stop: list[bool] = []

    def shop(name: str) -> list[str]:
        ids: list[str] = []
        while not stop:
            purchase = make_purchase(f"{name}-{len(ids)}", user_id=name, event_time_ms=NOW_MS + 100 + len(ids))
            settle(store, [Submission(purchase)])
            ids.append(purchase.purchase_id)
            time.sleep(0.02)
        return ids

    with ThreadPoolExecutor(2) as pool:
        shopping = [pool.submit(shop, name) for name in ("u-1", "u-2")]
        try:
            receipt = run(store)
        finally:
            stop.append(True)
        mine, theirs = (one.result() for one in shopping)
    log = assert_whole(store)
    assert {one.event.event_id for one in log if one.event.user_id == "u-2"} == set(theirs)
    left = [one for one in log if one.event.user_id == "u-1"]
    assert len(left) + receipt.events == 50 + len(mine)
    assert [dict(one.revisions)[USER] for one in left] == list(range(1, len(left) + 1))


# --- broken off ---------------------------------------------------------------------------------


class MortalStore:
    """A store in a process that dies before its `at`-th change; on LMDB each change is a transaction."""

    CHANGES = ("rewrite_events", "drop_events", "drop_decisions", "drop_parked", "drop_profiles", "replace_images")

    def __init__(self, store: Store, at: int) -> None:
        """Wrap a store."""
        self._store = store
        self._left = at
        self.papers = MortalPapers(self, store)

    def __getattr__(self, name: str) -> Any:
        """Do what the store does, if alive."""
        there = getattr(self._store, name)
        if name not in self.CHANGES:
            return there

        def change(*arguments: Any) -> Any:
            self.live()
            return there(*arguments)

        return change

    def live(self) -> None:
        """Come one change nearer to the end."""
        self._left -= 1
        if self._left < 0:
            raise Crash


class MortalPapers:
    """The papers of such a store."""

    def __init__(self, life: MortalStore, store: Store) -> None:
        """Wrap them."""
        self._life = life
        self._papers = store.papers

    def __getattr__(self, name: str) -> Any:
        """Do what papers do, if alive."""
        if name in ("put", "add", "drop"):
            self._life.live()
        return getattr(self._papers, name)


def assert_forgotten(store: Store) -> None:
    """Check that the person is forgotten, wholly, and that nothing is under way."""
    assert words(store) & {"u-1", "p-1", "p-2", "p-only-asked", "c-own", "fraud:p-1", "ticket-17"} == set()
    assert (store.papers.names(FORGETTING), store.papers.names(PURCHASES)) == ([], [])
    assert store.profile(USER) is EMPTY[USER.kind]
    assert users_of(store, SHARED_CARD) == 2
    assert_whole(store)
    # A death after the very end makes the next attempt one of its own.
    receipt = max(receipts(store.papers), key=lambda one: one.events)
    assert (receipt.events, receipt.decisions, receipt.profiles_mended) == (7, 3, 1)
    assert settle(store, [Submission(make_purchase("p-1", card_hash="c-own"))])[0].status is Status.APPLIED
    assert_whole(store)


@pytest.mark.parametrize("at", range(15))
def test_what_was_broken_off_is_finished(store: Store, at: int) -> None:
    """Whichever change is the last of the first attempt, the second finishes, with one receipt for both."""
    fill(store)
    with pytest.raises(Crash):
        forget(MortalStore(store, at), Request("u-1", "asked for it", "ada"), NOW)
    run(store)
    assert_forgotten(store)


def deaths() -> Iterator[Any]:
    """Yield every write of a whole attempt on Aerospike, sent and not."""
    for at in range(1, 41, 3):
        for sent in (False, True):
            yield pytest.param(at, sent, id=f"{at}{'-sent' if sent else ''}")


@pytest.mark.parametrize(("at", "sent"), list(deaths()))
def test_a_death_between_two_requests_leaves_nothing(
    aerospike_host: str, tmp_path: Any, at: int, *, sent: bool
) -> None:
    """On Aerospike a change is several requests; after a death at any of them the next attempt finishes."""
    place = Place("aerospike", aerospike_host, f"f{abs(hash(tmp_path)) % 10**9}{at}{sent:d}-")
    store = place.open()
    settings = AerospikeSettings(hosts=(aerospike_host,), set_prefix=place.set_prefix, write_attempts=1)
    fill(store)
    dying = AerospikeStore(settings, "attempts", 1000, connect=lambda config: CrashingClient(config, at, sent=sent))
    with pytest.raises(Crash):
        run(dying)
    run(store)
    assert_forgotten(store)
    store.close()
