"""Writers of the clustered store that die, sleep or hear nothing, at every write in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.core.event import FOLLOW_UPS, Event, EventKind, confirmation_id
from service.store.protocol import Outcome, Status, Submission
from tests.make import make_event, make_purchase
from tests.store.clients import Clock, Crash, CrashingClient, DeafClient, SleepyClient
from tests.store.home import (
    CLEARED,
    CONFIRMED,
    HORIZON_S,
    PURCHASE,
    REPORTED,
    USER,
    Home,
    scene,
    tell,
)
from tests.store.oracle import assert_whole, settle, whole_log


@pytest.fixture
def home(aerospike_host: str) -> Iterator[Home]:
    """Give an empty home."""
    made = Home(aerospike_host)
    yield made
    made.close()


# --- crashes and writes in doubt ----------------------------------------------------------------


@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("earlier", "events"),
    [
        ((), (PURCHASE,)),
        ((), (REPORTED, PURCHASE)),
        ((), (CONFIRMED,)),
        ((CONFIRMED, CLEARED), (PURCHASE,)),
        ((PURCHASE,), (CONFIRMED,)),
        ((PURCHASE, CONFIRMED), (CLEARED,)),
        ((), (CONFIRMED, PURCHASE, CLEARED)),
    ],
    ids=["purchase", "two", "parked", "releases", "confirmed", "cleared", "chain"],
)
def test_a_crash_at_any_write_leaves_whole_or_nothing(
    home: Home, *, earlier: tuple[Event, ...], events: tuple[Event, ...], sent: bool
) -> None:
    """A writer dies at its first, second, … write; the sweep makes profiles and log equal; a repeat counts once."""
    store = home.open()
    told, waiting = set[str](), set[str]()
    for at in range(1, 100):
        before, then = scene(at, earlier), scene(at, events)
        tell(store, *before)
        dying = home.open(connect=lambda config, at=at: CrashingClient(config, at, sent=sent))
        try:
            tell(dying, *then)
        except Crash:
            pass
        else:
            return
        store.sweep(0.0)
        assert store.sweep(0.0) == (0, 0, 0)
        assert_whole(store)
        settle(store, [Submission(event) for event in then])
        follow_ups = {event.event_id for event in (*before, *then) if event.kind in FOLLOW_UPS}
        purchases = {event.event_id for event in (*before, *then) if event.kind is EventKind.PURCHASE}
        told |= {event.event_id for event in (*before, *then)}
        waiting |= set() if purchases else follow_ups
        assert {one.event.event_id for one in assert_whole(store)} == told - waiting
        assert store.parked() == len(waiting)
        assert store.stats().quarantined == 0
    raise AssertionError("the writer never came to its end")


@pytest.mark.parametrize(
    ("earlier", "event", "revision"),
    [((), PURCHASE, 1), ((CONFIRMED,), PURCHASE, 1), ((PURCHASE,), CONFIRMED, 2), ((PURCHASE, CONFIRMED), CLEARED, 3)],
    ids=["purchase", "releases", "confirmed", "cleared"],
)
def test_an_answer_that_is_lost_changes_nothing(
    home: Home, earlier: tuple[Event, ...], event: Event, revision: int
) -> None:
    """Whichever answer never comes, the write is tried again, counts once, and gets the outcome that it always gets."""
    calm = home.open()
    for at in range(1, 100):
        before, [then] = scene(at, earlier), scene(at, (event,))
        tell(calm, *before)
        clients: list[DeafClient] = []

        def connect(config: dict[str, Any], at: int = at, clients: list[DeafClient] = clients) -> DeafClient:
            clients.append(DeafClient(config, at))
            return clients[0]

        [outcome] = tell(home.open(connect=connect), then)
        assert outcome.status is Status.APPLIED
        assert [got for _, got in outcome.revisions] == [revision] * 4
        assert_whole(calm)
        assert calm.sweep(0.0) == (0, 0, 0)
        if not clients[0].unheard:
            return
    raise AssertionError("the writer never heard everything")


def test_a_repeat_helps_what_a_crash_left(home: Home) -> None:
    """Who is told an event that is on its way finishes it, and says DUPLICATE with its revisions."""
    dying = home.open(connect=lambda config: CrashingClient(config, 3, sent=True))
    with pytest.raises(Crash):
        tell(dying, PURCHASE)
    store = home.open()
    assert whole_log(store) == []
    [outcome] = tell(store, PURCHASE)
    assert outcome == Outcome(Status.DUPLICATE, tuple((key, 1) for key in PURCHASE.keys()))
    assert store.stats().helped == 1
    assert len(assert_whole(store)) == 1


def test_a_sweep_leaves_the_young_alone(home: Home) -> None:
    """An event younger than asked for is waited for, and holds the log back; later it is finished."""
    dying = home.open(connect=lambda config: CrashingClient(config, 3, sent=False))
    with pytest.raises(Crash):
        tell(dying, PURCHASE)
    store = home.open()
    tell(store, make_purchase("p-2"))
    assert store.sweep(3600.0) == (0, 0, 1)
    assert store.profile(USER)[1] == 1
    assert whole_log(store) == []
    assert store.sweep(0.0) == (1, 0, 0)
    assert [one.event.event_id for one in assert_whole(store)] == ["p-1", "p-2"]


def test_a_clearing_waits_for_no_impostor(home: Home) -> None:
    """An event that has the id of a confirmation, and waits for another purchase, holds no clearing up."""
    store = home.open()
    impostor = make_event(EventKind.PURCHASE_SETTLED, event_id=confirmation_id("p-1"), purchase_id="p-9")
    assert [one.status for one in tell(store, impostor, PURCHASE, CLEARED)] == [
        Status.PARKED,
        Status.APPLIED,
        Status.APPLIED,
    ]


# --- the horizon --------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [3, 4], ids=["not applied", "applied"])
def test_a_long_outage_costs_nothing(home: Home, at: int) -> None:
    """What was left on its way long ago is finished, as long as its profiles forgot nothing since."""
    clock = Clock(time.time())
    dying = home.open(connect=lambda config: CrashingClient(config, at, sent=False), clock=clock)
    with pytest.raises(Crash):
        tell(dying, PURCHASE)
    clock.now_s += 100 * HORIZON_S
    store = home.open(clock=clock)
    assert store.sweep(0.0) == (1, 0, 0)
    assert assert_whole(store)[0].revisions == tuple((key, 1) for key in PURCHASE.keys())


def test_a_second_crash_after_a_long_outage_costs_nothing(home: Home) -> None:
    """Who finishes an event of long ago, and dies half-way, leaves it to be finished by the next."""
    clock = Clock(time.time())
    for at in (3, 4):
        dying = home.open(connect=lambda config, at=at: CrashingClient(config, at, sent=False), clock=clock)
        with pytest.raises(Crash):
            tell(dying, PURCHASE)
        clock.now_s += 100 * HORIZON_S
    store = home.open(clock=clock)
    assert store.sweep(0.0) == (1, 0, 0)
    assert assert_whole(store)[0].revisions == tuple((key, 1) for key in PURCHASE.keys())


@pytest.mark.parametrize(
    ("earlier", "event"),
    [((), PURCHASE), ((CONFIRMED,), PURCHASE), ((PURCHASE,), CONFIRMED), ((PURCHASE, CONFIRMED), CLEARED)],
    ids=["purchase", "releases", "confirmed", "cleared"],
)
def test_a_writer_that_wakes_up_too_late_changes_nothing(home: Home, earlier: tuple[Event, ...], event: Event) -> None:
    """While it slept before any write, another finished the event, and its profiles forgot it: it stays as it is."""
    clock = Clock(time.time())
    other = home.open(clock=clock, dedupe_horizon_s=HORIZON_S)
    for at in range(1, 100):
        before, [then], [later] = scene(at, earlier), scene(at, (event,)), scene(at, (make_purchase("p-2"),))
        tell(other, *before)

        def meanwhile(then: Event = then, later: Event = later) -> None:
            tell(other, then)
            other.sweep(0.0)
            clock.now_s += HORIZON_S + 2
            tell(other, later)

        clients: list[SleepyClient] = []

        def connect(
            config: dict[str, Any],
            at: int = at,
            clients: list[SleepyClient] = clients,
            meanwhile: Callable[[], None] = meanwhile,
        ) -> SleepyClient:
            clients.append(SleepyClient(config, at, meanwhile))
            return clients[0]

        sleeper = home.open(connect=connect, clock=clock, dedupe_horizon_s=HORIZON_S)
        [outcome] = tell(sleeper, then)
        assert outcome.status in (Status.APPLIED, Status.DUPLICATE)
        assert outcome.revisions == tell(other, then)[0].revisions
        assert then in [one.event for one in assert_whole(other)]
        assert sleeper.stats().quarantined == 0
        if not clients[0].slept:
            return
    raise AssertionError("the writer slept for ever")


@pytest.mark.parametrize("at", [3, 4], ids=["not applied", "applied"])
def test_what_nobody_can_decide_goes_to_quarantine(home: Home, at: int) -> None:
    """When a profile may have forgotten the event, it is given up and counted, never applied twice."""
    clock = Clock(time.time())
    dying = home.open(connect=lambda config: CrashingClient(config, at, sent=False), clock=clock)
    with pytest.raises(Crash):
        tell(dying, PURCHASE)
    clock.now_s += HORIZON_S + 2
    store = home.open(clock=clock, dedupe_horizon_s=HORIZON_S)
    tell(store, make_purchase("p-2"))
    before = store.profile(USER)
    assert store.sweep(0.0) == (0, 1, 0)
    assert store.stats().quarantined == 1
    assert store.profile(USER) == before
    [outcome] = tell(store, PURCHASE)
    assert (outcome.status, outcome.field) == (Status.REJECTED, "event_id")
    assert "dedupe_horizon_s" in outcome.reason
    [follow_up] = tell(store, CONFIRMED)
    assert (follow_up.status, follow_up.field) == (Status.REJECTED, "purchase_id")
    assert [one.event.event_id for one in whole_log(store)] == ["p-2"]
    assert store.sweep(0.0) == (0, 0, 0)
