"""The laws of `service.store.protocol`, on every store."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from threading import Barrier

import pytest

from service.core.event import FOLLOW_UPS, KINDS, EntityKey, EntityKind, Event, EventKind, Settlement, confirmation_id
from service.core.profile import EMPTY, SCHEMAS, newest_purchase_ms
from service.core.windows import DAY_MS, HOUR_MS
from service.errors import StoreUnavailable
from service.store.protocol import LoggedEvent, Outcome, Status, Store, Submission, View
from tests.make import NOW_MS, make_event, make_image, make_purchase, make_stream
from tests.store.conftest import Bench
from tests.store.decisions import make_decision
from tests.store.oracle import assert_whole, profiles_of, settle, whole_log

USER = EntityKey(EntityKind.USER, "u-1")
READ_TIMEOUT_S = 1.0


def record(store: Store, *events: Event) -> list[Outcome]:
    """Apply events that carry no decision."""
    return store.apply([Submission(event) for event in events])


def read_one(store: Store, purchase: Event) -> View:
    """Read what the score of one purchase needs."""
    [view] = store.read([purchase], READ_TIMEOUT_S)
    return view


def total(store: Store, key: EntityKey, name: str) -> int:
    """Return one total of a profile."""
    return store.profile(key)[SCHEMAS[key.kind].total_at[name]]


# --- profiles -----------------------------------------------------------------------------------


def test_what_nobody_recorded_reads_as_empty_itself(store: Store) -> None:
    """An unknown entity reads as EMPTY by identity, and nothing is unreadable."""
    view = read_one(store, make_purchase())
    assert all(image is EMPTY[kind] for image, kind in zip(view.images, KINDS, strict=True))
    assert view.unreadable == ()
    assert view.recorded is None
    assert store.profile(USER) is EMPTY[EntityKind.USER]


def test_an_absent_entity_is_none_and_not_unreadable(store: Store) -> None:
    """An empty id names no profile, not the profile of an entity called ""."""
    purchase = make_purchase(seller_id="", item_id="")
    record(store, purchase)
    view = read_one(store, make_purchase("p-2", seller_id="", item_id=""))
    assert view.images[1] is None
    assert view.images[2] is None
    assert view.unreadable == ()
    assert [key.kind for key, _ in store.events("", 10).events[0].revisions] == [EntityKind.USER, EntityKind.CARD]


def test_a_purchase_changes_the_profiles_that_it_names(store: Store) -> None:
    """After one purchase every profile is what the core makes of it."""
    purchase = make_purchase()
    record(store, purchase)
    view = read_one(store, make_purchase("p-2"))
    assert view.images == tuple(make_image(key, purchase) for key in purchase.keys())


def test_a_long_id_is_an_id_like_any_other(store: Store) -> None:
    """Ids of 128 characters do not collide where they end differently."""
    ids = [("x" * 127) + end for end in "ab"]
    for number, user_id in enumerate(ids):
        record(store, make_purchase(("p" * 120) + str(number), user_id=user_id))
    assert [store.profile(EntityKey(EntityKind.USER, user_id))[1] for user_id in ids] == [1, 1]


def test_a_batch_reads_what_single_reads_do(store: Store) -> None:
    """One read of many purchases equals many reads of one."""
    stream = make_stream(7, 60, entities=4)
    settle(store, [Submission(event) for event in stream])
    purchases = [event for event in stream if event.kind is EventKind.PURCHASE]
    purchases += [make_purchase(f"new-{number}", user_id=f"u-{number}", card_hash="") for number in range(8)]
    assert store.read(purchases, READ_TIMEOUT_S) == [read_one(store, purchase) for purchase in purchases]


def test_reading_nothing_gives_nothing(store: Store) -> None:
    """An empty batch has no views."""
    assert store.read([], READ_TIMEOUT_S) == []


def test_the_settings_say_what_habits_are_made_of(bench: Bench) -> None:
    """With habits from settlements only a COMPLETED settlement completes a purchase."""
    store = bench.open(habits="settlements")
    record(store, make_purchase())
    assert total(store, USER, "completed") == 0
    record(store, make_event(EventKind.PURCHASE_SETTLED, settlement=Settlement.COMPLETED))
    assert total(store, USER, "completed") == 1
    assert_whole(store, "settlements")


# --- outcomes -----------------------------------------------------------------------------------


def test_every_update_raises_the_revision_by_one(store: Store) -> None:
    """Outcome, profile and log agree on the revision that an event got."""
    for expected in (1, 2, 3):
        [outcome] = record(store, make_purchase(f"p-{expected}"))
        assert outcome.status is Status.APPLIED
        assert outcome.revisions == tuple((key, expected) for key in make_purchase().keys())
        assert store.profile(USER)[1] == expected
    assert [one.revisions[0] for one in whole_log(store)] == [(USER, 1), (USER, 2), (USER, 3)]


def test_a_repeat_changes_nothing(store: Store) -> None:
    """A repeat is a DUPLICATE with the revisions of the first time, also when it is told other times."""
    [first] = record(store, make_purchase())
    before = store.profile(USER)
    later = make_purchase(event_time_ms=NOW_MS + HOUR_MS)
    assert [(one.status, one.revisions) for one in record(store, make_purchase(), later)] == [
        (Status.DUPLICATE, first.revisions),
        (Status.DUPLICATE, first.revisions),
    ]
    assert store.profile(USER) == before
    assert len(whole_log(store)) == 1


def test_a_repeat_within_one_batch_is_a_repeat(store: Store) -> None:
    """The second of two equal events of a batch is the DUPLICATE."""
    outcomes = record(store, make_purchase(), make_purchase())
    assert [outcome.status for outcome in outcomes] == [Status.APPLIED, Status.DUPLICATE]
    assert outcomes[0].revisions == outcomes[1].revisions


def test_events_of_one_batch_are_applied_in_their_order(store: Store) -> None:
    """An entity that occurs again and again in a batch gets its revisions in the order of the batch."""
    outcomes = record(store, *(make_purchase(f"p-{number}") for number in range(20)))
    assert [outcome.revisions[0] for outcome in outcomes] == [(USER, number + 1) for number in range(20)]


def test_the_same_event_from_many_threads_counts_once(store: Store) -> None:
    """Whoever wins the race, all are told the same revisions."""
    barrier = Barrier(8)

    def deliver(_: int) -> list[Outcome]:
        barrier.wait()
        return settle(store, [Submission(make_purchase()), Submission(make_event(EventKind.CARD_REPORTED))])

    with ThreadPoolExecutor(8) as threads:
        deliveries = list(threads.map(deliver, range(8)))
    for at in (0, 1):
        assert {outcomes[at].status for outcomes in deliveries} <= {Status.APPLIED, Status.DUPLICATE}
        assert len({outcomes[at].revisions for outcomes in deliveries}) == 1
    assert len(assert_whole(store)) == 2
    assert store.profile(USER) == make_image(USER, make_purchase())


def test_the_same_id_with_other_content_is_rejected(store: Store) -> None:
    """A conflict names its field and changes nothing."""
    record(store, make_purchase(), make_event(EventKind.USER_REGISTERED, event_id="e-1", user_id="u-1"))
    before = store.profile(USER)
    purchase, event = record(
        store,
        make_purchase(amount_minor=1),
        make_event(EventKind.USER_REGISTERED, event_id="e-1", user_id="u-2"),
    )
    assert (purchase.status, purchase.field) == (Status.REJECTED, "purchase.purchase_id")
    assert (event.status, event.field) == (Status.REJECTED, "event_id")
    assert purchase.reason
    assert event.reason
    assert purchase.revisions == event.revisions == ()
    assert store.profile(USER) == before
    assert len(whole_log(store)) == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount_minor": -1}, "purchase.amount_minor"),
        ({"amount_minor": 1 << 62}, "purchase.amount_minor"),
        ({"quantity": 1 << 32}, "purchase.quantity"),
        ({"user_id": "u" * 256}, "purchase.user_id"),
        ({"card_hash": "ü"}, "purchase.card_hash"),
        ({"event_time_ms": -1}, "purchase.event_time_ms"),
    ],
)
def test_one_bad_event_stops_no_other(store: Store, fields: dict[str, object], field: str) -> None:
    """What no record can hold is REJECTED by name, and those beside it are applied."""
    bad = make_purchase("p-2", **fields)
    outcomes = record(store, make_purchase("p-1"), bad, make_purchase("p-3"))
    assert [outcome.status for outcome in outcomes] == [Status.APPLIED, Status.REJECTED, Status.APPLIED]
    assert outcomes[1].field == field
    assert outcomes[1].reason
    assert [one.event.event_id for one in assert_whole(store)] == ["p-1", "p-3"]


def test_a_late_event_counts_in_totals_and_not_in_windows(store: Store) -> None:
    """An event that no window can hold any more is LATE, durable and counted."""
    late = make_purchase(event_time_ms=NOW_MS - 40 * DAY_MS, ingest_time_ms=NOW_MS)
    [outcome] = record(store, late)
    assert outcome.status is Status.LATE
    assert outcome.revisions[0] == (USER, 1)
    image = store.profile(USER)
    assert total(store, USER, "purchases") == 1
    assert [image[at] for at in SCHEMAS[EntityKind.USER].series_at.values()] == [0, 0, 0]
    assert record(store, late)[0].status is Status.DUPLICATE
    assert_whole(store)


def test_an_event_without_effect_is_logged(store: Store) -> None:
    """A settlement that counts nowhere is still APPLIED, so that it is a label later."""
    settled = make_event(EventKind.PURCHASE_SETTLED, settlement=Settlement.REFUNDED)
    outcomes = record(store, make_purchase(), settled)
    assert outcomes[1] == Outcome(Status.APPLIED)
    assert [one.event for one in whole_log(store)] == [make_purchase(), settled]


def test_the_newest_event_time_is_kept(bench: Bench) -> None:
    """The event clock goes on from the newest event, also after a restart."""
    store = bench.open()
    assert store.newest_event_ms() == 0
    record(store, make_purchase("p-1", event_time_ms=NOW_MS + 5), make_purchase("p-2", event_time_ms=NOW_MS))
    assert store.newest_event_ms() == NOW_MS + 5
    store.close()
    assert bench.open().newest_event_ms() == NOW_MS + 5


# --- follow-ups ---------------------------------------------------------------------------------


def test_a_follow_up_touches_the_entities_of_its_purchase(store: Store) -> None:
    """A confirmation of fraud counts on all four profiles of the purchase that it names."""
    purchase, confirmed = make_purchase(), make_event(EventKind.FRAUD_CONFIRMED, event_time_ms=NOW_MS + DAY_MS)
    outcomes = record(store, purchase, confirmed)
    assert outcomes[1].revisions == tuple((key, 2) for key in purchase.keys())
    for key in purchase.keys():
        assert store.profile(key) == make_image(key, purchase, confirmed)


def test_a_follow_up_of_an_unknown_purchase_is_parked(store: Store) -> None:
    """It is PARKED, once however often it is repeated, and counts nowhere yet."""
    confirmed = make_event(EventKind.FRAUD_CONFIRMED)
    assert [outcome.status for outcome in record(store, confirmed, confirmed)] == [Status.PARKED] * 2
    assert [outcome.status for outcome in record(store, confirmed)] == [Status.PARKED]
    assert store.parked() == 1
    assert whole_log(store) == []
    assert store.newest_event_ms() == 0


def test_what_is_parked_is_applied_when_its_purchase_comes(bench: Bench) -> None:
    """The follow-ups come right after the purchase, in order of event time, also after a restart."""
    confirmed = make_event(EventKind.FRAUD_CONFIRMED, event_time_ms=NOW_MS + 2)
    settled = make_event(EventKind.PURCHASE_SETTLED, settlement=Settlement.DECLINED, event_time_ms=NOW_MS + 1)
    cleared = make_event(EventKind.FRAUD_CLEARED, event_time_ms=NOW_MS + 3)
    store = bench.open()
    record(store, cleared, confirmed, settled)
    store.close()
    store = bench.open()
    [outcome] = record(store, make_purchase())
    assert outcome.revisions[0] == (USER, 1)
    log = assert_whole(store)
    assert [(one.event, dict(one.revisions)[USER]) for one in log] == [
        (make_purchase(), 1),
        (settled, 2),
        (confirmed, 3),
        (cleared, 4),
    ]
    assert store.parked() == 0
    assert [one.status for one in record(store, cleared, confirmed, settled)] == [Status.DUPLICATE] * 3


def test_parked_events_keep_their_content(store: Store) -> None:
    """An id that waits is known: with other content, or for another purchase, it is rejected."""
    record(store, make_event(EventKind.PURCHASE_SETTLED, event_id="e-1", settlement=Settlement.COMPLETED))
    outcomes = record(
        store,
        make_event(EventKind.PURCHASE_SETTLED, event_id="e-1", settlement=Settlement.DECLINED),
        make_event(EventKind.PURCHASE_SETTLED, event_id="e-1", purchase_id="p-2"),
    )
    assert [(one.status, one.field) for one in outcomes] == [(Status.REJECTED, "event_id")] * 2
    assert store.parked() == 1


def test_parking_is_bounded(bench: Bench) -> None:
    """Beyond `max_parked` a follow-up is RETRY, and a place is free again when a purchase comes."""
    store = bench.open(max_parked=2)
    waiting = [make_event(EventKind.FRAUD_CONFIRMED, purchase_id=f"p-{number}") for number in (1, 2, 3)]
    outcomes = record(store, *waiting)
    assert [outcome.status for outcome in outcomes] == [Status.PARKED, Status.PARKED, Status.RETRY]
    assert "max_parked" in outcomes[2].reason
    assert record(store, waiting[0])[0].status is Status.PARKED
    assert store.parked() == 2
    record(store, make_purchase("p-1"))
    assert record(store, waiting[2])[0].status is Status.PARKED
    assert store.parked() == 2
    assert_whole(store)


def test_a_follow_up_of_what_is_no_purchase_is_rejected(store: Store) -> None:
    """A follow-up must name a purchase, not just any event."""
    record(store, make_event(EventKind.USER_REGISTERED))
    [outcome] = record(store, make_event(EventKind.FRAUD_CONFIRMED, purchase_id="registered:user:u-1"))
    assert (outcome.status, outcome.field) == (Status.REJECTED, "purchase_id")
    assert outcome.reason
    assert len(whole_log(store)) == 1


def test_clearing_takes_a_confirmation_back(store: Store) -> None:
    """The fraud is taken out of the total and out of the day that the confirmation counted it in."""
    confirmed = make_event(EventKind.FRAUD_CONFIRMED, event_time_ms=NOW_MS + DAY_MS)
    cleared = make_event(EventKind.FRAUD_CLEARED, event_time_ms=NOW_MS + 3 * DAY_MS)
    record(store, make_purchase(), confirmed, cleared)
    assert total(store, USER, "frauds") == 0
    assert store.profile(USER) == make_image(USER, make_purchase(), confirmed, cleared)
    assert_whole(store)


def test_clearing_without_a_confirmation_takes_nothing_back(store: Store) -> None:
    """It is logged, and changes no profile."""
    outcomes = record(store, make_purchase(), make_event(EventKind.FRAUD_CLEARED))
    assert outcomes[1] == Outcome(Status.APPLIED)
    assert store.profile(USER)[1] == 1


def test_an_event_that_only_looks_like_the_confirmation_is_none(store: Store) -> None:
    """Clearing takes back a confirmation of its purchase, not whatever has that event id."""
    impostor = make_event(EventKind.CARD_REPORTED, event_id=confirmation_id("p-1"))
    outcomes = record(store, make_purchase(), impostor, make_event(EventKind.FRAUD_CLEARED))
    assert outcomes[2] == Outcome(Status.APPLIED)
    assert total(store, USER, "frauds") == 0


def test_purchases_and_their_follow_ups_may_race(store: Store) -> None:
    """Whichever comes first, every follow-up is applied once and none is left parked."""
    purchases = [make_purchase(f"p-{number}", user_id=f"u-{number % 3}") for number in range(40)]
    follow_ups = [
        [
            make_event(EventKind.FRAUD_CONFIRMED, purchase_id=one.purchase_id),
            make_event(EventKind.PURCHASE_SETTLED, purchase_id=one.purchase_id, settlement=Settlement.DECLINED),
        ]
        for one in purchases
    ]
    barrier = Barrier(4)

    def deliver(events: list[Event]) -> None:
        barrier.wait()
        for event in events:
            settle(store, [Submission(event)])

    halves = [[one for pair in follow_ups[half::2] for one in pair] for half in (0, 1)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(deliver, [purchases[::2], purchases[1::2], *halves]))
    assert store.parked() == 0
    assert len(assert_whole(store)) == 120


# --- decisions ----------------------------------------------------------------------------------


def test_an_event_keeps_the_decision_that_it_was_recorded_with(store: Store) -> None:
    """A repeat, a read and the log return the first decision, marked as recorded."""
    decision = make_decision(score=0.25)
    kept = replace(decision, recorded=True)
    first, second = (
        store.apply([Submission(make_purchase(), one)])[0] for one in (decision, make_decision(score=0.75))
    )
    assert (first.status, first.decision) == (Status.APPLIED, kept)
    assert (second.status, second.decision) == (Status.DUPLICATE, kept)
    logged = LoggedEvent(make_purchase(), first.revisions, kept)
    assert read_one(store, make_purchase()).recorded == logged
    assert store.events("", 10).events == [logged]


def test_a_purchase_recorded_without_a_decision_reads_as_recorded(store: Store) -> None:
    """The read tells that the profiles hold the purchase already."""
    [outcome] = record(store, make_purchase())
    assert read_one(store, make_purchase()).recorded == LoggedEvent(make_purchase(), outcome.revisions, None)
    assert read_one(store, make_purchase("p-2")).recorded is None


def test_decisions_come_back_as_they_were(store: Store) -> None:
    """Every field survives the way through the store."""
    store.put_decisions([make_decision("p-1"), make_decision("p-2", missing={}, reasons=(), scores=())])
    assert store.decisions("p-1") == [make_decision("p-1")]
    assert store.decisions("p-2") == [make_decision("p-2", missing={}, reasons=(), scores=())]
    assert store.decisions("p-3") == []


def test_the_newest_eight_decisions_of_a_purchase_are_shown(store: Store) -> None:
    """Newest first, not mixed up with a purchase whose id begins the same."""
    for number in range(10):
        store.put_decisions([make_decision("p-1", decided_at_ms=NOW_MS + number), make_decision("p-10")])
    assert [one.decided_at_ms - NOW_MS for one in store.decisions("p-1")] == [9, 8, 7, 6, 5, 4, 3, 2]


def test_the_decision_log_is_complete_and_resumable(store: Store) -> None:
    """Pages of any size, and a cursor kept while more decisions come, give each decision once."""
    made = [make_decision(f"p-{number % 4}", decided_at_ms=NOW_MS + number) for number in range(20)]
    for at in range(0, 14, 7):
        store.put_decisions(made[at : at + 7])
    found, cursor = [], ""
    for _ in range(100):
        page = store.decision_log(cursor, 3)
        found += page.decisions
        if page.cursor == cursor and len(found) >= 20:
            break
        cursor = page.cursor
        if len(found) == 12:
            store.put_decisions(made[14:])
    assert sorted(one.decided_at_ms for one in found) == [NOW_MS + number for number in range(20)]
    assert store.decision_log(cursor, 3).cursor == cursor


def test_row_layouts_are_kept(bench: Bench) -> None:
    """The names of a layout come back in order, and nothing comes back for one that nobody put."""
    store = bench.open()
    store.put_row_layout("abc", ("user_tenure", "card_report_rate"))
    store.put_row_layout("abc", ("user_tenure", "card_report_rate"))
    store.close()
    store = bench.open()
    assert store.row_layout("abc") == ("user_tenure", "card_report_rate")
    assert store.row_layout("def") == ()


# --- the event log ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_the_log_is_the_same_in_pages_of_any_size(store: Store, limit: int) -> None:
    """Pages put together are the whole log, and the end gives its own cursor back."""
    settle(store, [Submission(event) for event in make_stream(3, 25)])
    assert whole_log(store, limit=limit) == whole_log(store)


def test_the_log_goes_on_from_any_cursor(store: Store) -> None:
    """What comes later never changes what a cursor has passed, and nothing is skipped."""
    stream = make_stream(5, 40)
    settle(store, [Submission(event) for event in stream[:20]])
    marks = []
    cursor, passed = "", 0
    while True:
        marks.append((cursor, passed))
        page = store.events(cursor, 4)
        if page.cursor == cursor:
            break
        cursor, passed = page.cursor, passed + len(page.events)
    before = whole_log(store)
    settle(store, [Submission(event) for event in stream[20:]])
    after = whole_log(store)
    assert after[: len(before)] == before
    for mark, count in marks:
        assert whole_log(store, mark) == after[count:]


def test_a_cursor_that_no_store_gave_is_refused(store: Store) -> None:
    """A bad cursor is a ValueError, not an empty page."""
    with pytest.raises(ValueError, match="cursor"):
        store.events("not a cursor", 10)
    with pytest.raises(ValueError, match="cursor"):
        store.decision_log("not a cursor", 10)


def test_a_reader_of_the_log_misses_nothing_while_four_write(store: Store) -> None:
    """Read while it grows, the log gives each event once, in the order that it keeps afterwards."""
    writers = 4
    streams = [
        [make_purchase(f"p-{writer}-{number}", user_id=f"u-{number % 2}") for number in range(40)]
        for writer in range(writers)
    ]
    barrier = Barrier(writers)

    def deliver(events: list[Event]) -> None:
        barrier.wait()
        for event in events:
            assert settle(store, [Submission(event)])[0].status in (Status.APPLIED, Status.DUPLICATE)

    tailed: list[LoggedEvent] = []
    cursor = ""
    with ThreadPoolExecutor(writers) as threads:
        deliveries = [threads.submit(deliver, events) for events in streams]
        while True:
            finished = all(delivery.done() for delivery in deliveries)
            page = store.events(cursor, 7)
            tailed += page.events
            if page.cursor == cursor and finished:
                break
            cursor = page.cursor
        for delivery in deliveries:
            delivery.result()
    assert Counter(one.event.event_id for one in tailed) == Counter(
        one.event_id for events in streams for one in events
    )
    assert tailed == assert_whole(store)


# --- streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_any_stream_gives_the_profiles_of_the_oracle(store: Store, seed: int) -> None:
    """A hard stream in batches of any size, told twice, equals its log applied in the order of revisions."""
    random = Random(seed)
    stream = make_stream(random, 60, entities=3)
    for delivery in (stream, random.sample(stream, len(stream))):
        at = 0
        while at < len(delivery):
            size = random.randint(1, 12)
            settle(store, [Submission(event) for event in delivery[at : at + size]])
            at += size
    purchases = {event.event_id for event in stream if event.kind is EventKind.PURCHASE}
    expected = {event.event_id for event in stream if event.kind not in FOLLOW_UPS or event.purchase_id in purchases}
    log = assert_whole(store)
    assert {one.event.event_id for one in log} == expected
    assert store.parked() == len({event.event_id for event in stream} - expected)
    assert store.newest_event_ms() == max((one.event.event_time_ms for one in log), default=0)
    named = profiles_of(log)
    views = store.read([event for event in stream if event.kind is EventKind.PURCHASE], READ_TIMEOUT_S)
    for event, view in zip((one for one in stream if one.kind is EventKind.PURCHASE), views, strict=True):
        assert tuple(image for image in view.images if image is not None) == tuple(named[key] for key in event.keys())
        assert newest_purchase_ms(view.images) > 0


# --- life ---------------------------------------------------------------------------------------


def test_everything_survives_a_restart(bench: Bench) -> None:
    """What was acknowledged is there when the store is opened again, and repeats are still harmless."""
    stream = [Submission(event) for event in make_stream(11, 30)]
    store = bench.open()
    settle(store, stream)
    log, parked = whole_log(store), store.parked()
    store.close()
    store = bench.open()
    assert {outcome.status for outcome in settle(store, stream)} <= {Status.DUPLICATE, Status.PARKED}
    assert assert_whole(store) == log
    assert store.parked() == parked


def test_a_store_that_can_serve_says_so(store: Store) -> None:
    """`check` has nothing to say, and a sweep finds nothing to do."""
    record(store, make_purchase())
    assert store.check() == ""
    assert store.sweep(0.0) == (0, 0, 0)


def test_a_closed_store_refuses(store: Store) -> None:
    """After `close` reads are flagged, and everything else raises StoreUnavailable."""
    store.close()
    view = read_one(store, make_purchase())
    assert view == View((None, None, None, None), tuple(KINDS), None)
    for call in (
        lambda: record(store, make_purchase()),
        lambda: store.profile(USER),
        lambda: store.events("", 1),
        lambda: store.put_decisions([make_decision()]),
        lambda: store.decisions("p-1"),
        lambda: store.decision_log("", 1),
        lambda: store.put_row_layout("abc", ("user_tenure",)),
        lambda: store.row_layout("abc"),
        store.newest_event_ms,
        store.parked,
    ):
        with pytest.raises(StoreUnavailable):
            call()
    assert store.check() != ""
    store.close()
