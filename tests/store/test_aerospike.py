"""What only the clustered store promises: crashes between stages, writes in doubt, its limits, its settings."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aerospike
import pytest

from service.core.event import EntityKey, EntityKind, Event, EventKind
from service.core.profile import EMPTY, SCHEMAS
from service.core.windows import HOUR_MS, MINUTE_MS, SERIES
from service.errors import BadSetting, StoreUnavailable
from service.settings import AerospikeSettings
from service.store.aerospike import AerospikeStore
from service.store.protocol import Outcome, Status, Store, Submission, View
from tests import asd
from tests.make import NOW_MS, make_event, make_image, make_purchase, make_stream
from tests.store.clients import Clock, Crash, CrashingClient, DeafClient
from tests.store.decisions import make_decision
from tests.store.oracle import assert_whole, settle, whole_log

USER = EntityKey(EntityKind.USER, "u-1")
KINDS = tuple(EntityKind)
HORIZON_S = 900
PATIENCE_S = 30.0

PURCHASE = make_purchase()
CONFIRMED = make_event(EventKind.FRAUD_CONFIRMED, event_time_ms=NOW_MS + 1)
CLEARED = make_event(EventKind.FRAUD_CLEARED, event_time_ms=NOW_MS + 2)
REPORTED = make_event(EventKind.CARD_REPORTED)


def make_settings(host: str, **fields: Any) -> AerospikeSettings:
    """Return settings with time enough for a busy machine."""
    patient = {"read_timeout_ms": 1000, "read_socket_timeout_ms": 500, "min_connections": 1}
    return AerospikeSettings(hosts=(host,), **{**patient, **fields})


class Home:
    """Sets of nobody else on a server, and the stores that were opened on them."""

    def __init__(self, host: str) -> None:
        """Open nothing yet."""
        self.host = host
        self.prefix = f"t{uuid.uuid4().hex[:12]}-"
        self._opened: list[AerospikeStore] = []

    def open(self, connect: Any = aerospike.client, clock: Any = time.time, **fields: Any) -> AerospikeStore:
        """Open the store once more, beside those that are open."""
        settings = make_settings(self.host, set_prefix=self.prefix, **fields)
        store = AerospikeStore(settings, "attempts", 1000, connect=connect, clock=clock)
        self._opened.append(store)
        return store

    def bins(self, key: EntityKey) -> dict[str, Any]:
        """Return everything that the record of a profile holds."""
        name, port = self.host.split(":")
        with closing(aerospike.client({"hosts": [(name, int(port))]})) as client:
            bins: dict[str, Any] = client.get((asd.NAMESPACE, f"{self.prefix}{key.kind.name.lower()}", key.id))[2]
            return bins

    def close(self) -> None:
        """Close everything."""
        for store in self._opened:
            store.close()


@pytest.fixture
def home(aerospike_host: str) -> Iterator[Home]:
    """An empty home."""
    made = Home(aerospike_host)
    yield made
    made.close()


def tell(store: Store, *events: Event) -> list[Outcome]:
    """Apply events in one batch."""
    return store.apply([Submission(event) for event in events])


def total(store: Store, key: EntityKey, name: str) -> int:
    """Return one total of a profile."""
    return store.profile(key)[SCHEMAS[key.kind].total_at[name]]


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
    home: Home, earlier: tuple[Event, ...], events: tuple[Event, ...], sent: bool
) -> None:
    """A writer dies at its first, second, … write; the sweep leaves profiles and log equal, and a repeat counts once."""
    for at in range(1, 100):
        scene = Home(home.host)
        store = scene.open()
        tell(store, *earlier)
        dying = scene.open(connect=lambda config, at=at: CrashingClient(config, at, sent=sent))
        try:
            tell(dying, *events)
        except Crash:
            pass
        else:
            break
        store.sweep(0.0)
        assert store.sweep(0.0) == (0, 0, 0)
        assert_whole(store)
        settle(store, [Submission(event) for event in events])
        log = assert_whole(store)
        told = {*(event.event_id for event in (*earlier, *events))}
        purchase_told = PURCHASE.event_id in told
        waiting = set() if purchase_told else {CONFIRMED.event_id, CLEARED.event_id} & told
        assert {one.event.event_id for one in log} == told - waiting
        assert store.parked() == len(waiting)
        assert store.stats().quarantined == 0
        scene.close()
    else:
        raise AssertionError("the writer never came to its end")


@pytest.mark.parametrize(
    ("earlier", "event"),
    [((), PURCHASE), ((CONFIRMED,), PURCHASE), ((PURCHASE,), CONFIRMED), ((PURCHASE, CONFIRMED), CLEARED)],
    ids=["purchase", "releases", "confirmed", "cleared"],
)
def test_an_answer_that_is_lost_changes_nothing(home: Home, earlier: tuple[Event, ...], event: Event) -> None:
    """Whichever answer never comes, the write is tried again, counts once, and gets the same outcome."""
    expected = None
    for at in range(1, 100):
        scene = Home(home.host)
        tell(scene.open(), *earlier)
        clients: list[DeafClient] = []

        def connect(config: dict[str, Any], at: int = at, clients: list[DeafClient] = clients) -> DeafClient:
            clients.append(DeafClient(config, at))
            return clients[0]

        store = scene.open(connect=connect)
        [outcome] = tell(store, event)
        expected = expected or outcome
        assert outcome == expected
        assert_whole(store)
        assert store.sweep(0.0) == (0, 0, 0)
        scene.close()
        if not clients[0].unheard:
            break
    assert expected is not None
    assert expected.status is Status.APPLIED


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


# --- profiles -----------------------------------------------------------------------------------


def test_maps_keep_no_more_than_their_series(home: Home) -> None:
    """However long a history is, each map holds at most the buckets of its series, and the image is the core's."""
    store = home.open()
    steps = [(5 * MINUTE_MS, 30), (HOUR_MS, 60), (24 * HOUR_MS, 70)]
    time_ms, events = NOW_MS, []
    for step_ms, count in steps:
        for _ in range(count):
            time_ms += step_ms
            events.append(make_purchase(f"p-{len(events)}", event_time_ms=time_ms, card_hash=f"c-{len(events)}"))
    tell(store, *events)
    bins = home.bins(USER)
    for series in SERIES:
        assert len(bins[f"{series.name}.purchases"]) <= series.buckets
        assert len(bins[f"{series.name}.amount"]) <= series.buckets
    assert len(bins["cards"]) == 16
    assert store.profile(USER) == make_image(USER, *events)


def test_a_profile_forgets_events_beyond_the_horizon(home: Home) -> None:
    """The ids that guard against repeats are kept for the horizon and no longer."""
    clock = Clock(time.time())
    store = home.open(clock=clock, dedupe_horizon_s=HORIZON_S)
    for number in range(30):
        tell(store, make_purchase(f"p-{number}"))
        clock.now_s += HORIZON_S / 10
    assert len(home.bins(USER)["ev"]) == 11
    assert {one.status for one in tell(store, *(make_purchase(f"p-{number}") for number in range(30)))} == {
        Status.DUPLICATE
    }


@pytest.mark.parametrize("seed", range(3))
def test_views_equal_profiles(home: Home, seed: int) -> None:
    """What a score reads, uneven series and late events included, is what `profile` and so the oracle says."""
    store = home.open()
    stream = make_stream(seed, 80)
    settle(store, [Submission(event) for event in stream])
    purchases = [event for event in stream if event.kind is EventKind.PURCHASE]
    for purchase, view in zip(purchases, store.read(purchases, 1.0), strict=True):
        assert tuple(image for image in view.images if image is not None) == tuple(
            store.profile(key) for key in purchase.keys()
        )


def test_a_record_that_somebody_else_wrote_is_unreadable(home: Home) -> None:
    """A profile that holds something else is flagged; the others are read, and an update is quarantined."""
    name, port = home.host.split(":")
    with closing(aerospike.client({"hosts": [(name, int(port))]})) as client:
        client.put((asd.NAMESPACE, f"{home.prefix}card", "c-1"), {"rev": "one", "m5.amount": "none"})
    store = home.open()
    [view] = store.read([PURCHASE], 1.0)
    assert view.unreadable == (EntityKind.CARD,)
    assert view.images[0] is EMPTY[EntityKind.USER]
    [outcome] = tell(store, PURCHASE)
    assert (outcome.status, outcome.field) == (Status.REJECTED, "event_id")
    assert "card" in outcome.reason
    assert store.stats()[-1] == 1
    assert whole_log(store) == []


# --- the logs -----------------------------------------------------------------------------------


def test_the_log_goes_on_over_its_pages(home: Home) -> None:
    """Two stores that take turns over several pages put every event in the log once, each in its order."""
    stores = [home.open(), home.open()]
    events = [make_purchase(f"p-{number}", user_id=f"u-{number % 7}") for number in range(700)]
    for at in range(0, 700, 100):
        tell(stores[at // 100 % 2], *events[at : at + 100])
    log = assert_whole(stores[0])
    assert [one.event for one in log] == events
    assert whole_log(home.open(), limit=33) == log


def test_an_event_moves_to_a_later_page_at_most_once(home: Home) -> None:
    """Who begins an event, dies, and is helped after its page is full, finds it in the log once, on either side."""
    for at, sent in ((1, True), (2, False), (2, True)):
        dying = home.open(connect=lambda config, at=at, sent=sent: CrashingClient(config, at, sent=sent))
        with pytest.raises(Crash):
            tell(dying, make_purchase(f"dying-{at}-{sent}"))
    store = home.open()
    for first in range(0, 300, 100):
        tell(store, *(make_purchase(f"p-{first + number}") for number in range(100)))
    store.sweep(0.0)
    for _ in range(2):
        tell(home.open(), *(make_purchase(f"dying-{at}-{sent}") for at, sent in ((1, True), (2, False), (2, True))))
    assert len(assert_whole(store)) == 303


@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
def test_decisions_put_again_after_a_crash_stand_in_the_log_once(home: Home, sent: bool) -> None:
    """Whatever was kept before the writer died, putting all decisions again gives each once."""
    decisions = [make_decision(f"p-{number % 5}", decided_at_ms=NOW_MS + number) for number in range(300)]
    for at in (1, 2, 3, 4, 5):
        scene = Home(home.host)
        dying = scene.open(connect=lambda config, at=at: CrashingClient(config, at, sent=sent))
        with pytest.raises(Crash):
            dying.put_decisions(decisions)
        store = scene.open()
        store.put_decisions(decisions[:50])
        store.put_decisions(decisions)
        page = store.decision_log("", 1000)
        assert sorted(one.decided_at_ms - NOW_MS for one in page.decisions) == list(range(300))
        assert store.decision_log(page.cursor, 10) == ([], page.cursor)
        scene.close()


# --- the cluster --------------------------------------------------------------------------------


def wait_until_it_serves(store: AerospikeStore) -> None:
    """Wait until a store has nothing to complain of."""
    deadline = time.monotonic() + PATIENCE_S
    while problem := store.check():
        assert time.monotonic() < deadline, problem
        time.sleep(0.1)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[asd.Asd]:
    """A server that refuses records with a life, not started yet."""
    if not asd.installed():
        pytest.skip("put the Aerospike server `asd` on the PATH to run this")
    server = asd.Asd(tmp_path / "asd", nsup_period_s=0)
    yield server
    server.stop()


def test_a_store_opened_without_its_server_heals(own_server: asd.Asd) -> None:
    """With the server down everything is flagged or RETRY and check says where it looked; then it serves."""
    settings = make_settings(own_server.host, write_attempts=2)
    with closing(AerospikeStore(settings, "attempts", 1000)) as store:
        assert "store.aerospike.hosts" in store.check()
        assert store.read([PURCHASE], 1.0) == [View((None,) * 4, KINDS, None)]
        assert tell(store, PURCHASE)[0].status is Status.RETRY
        with pytest.raises(StoreUnavailable):
            store.profile(USER)
        own_server.start()
        wait_until_it_serves(store)
        assert tell(store, PURCHASE)[0].status is Status.APPLIED
        assert_whole(store)
        assert store.stats().unreadable == 1
    for life, name in (({"profile_ttl_s": 86_400}, "profile_ttl_s"), ({"event_ttl_s": 86_400}, "event_ttl_s")):
        with closing(AerospikeStore(make_settings(own_server.host, **life), "attempts", 1000)) as store:
            problem = store.check()
            assert "nsup-period" in problem
            assert f"store.aerospike.{name}" in problem
            assert tell(store, make_purchase(f"p-{name}"))[0].status is Status.RETRY


def test_records_get_the_lives_that_are_set(home: Home) -> None:
    """Profiles and events expire when they should, and logs never."""
    store = home.open(profile_ttl_s=5000, event_ttl_s=7000)
    tell(store, PURCHASE)
    name, port = home.host.split(":")
    with closing(aerospike.client({"hosts": [(name, int(port))]})) as client:
        lives = {
            name: client.get((asd.NAMESPACE, f"{home.prefix}{name}", key))[1]["ttl"]
            for name, key in (("user", "u-1"), ("event", "p-1"), ("log", 0))
        }
    assert 4000 < lives["user"] <= 5000
    assert 6000 < lives["event"] <= 7000
    assert lives["log"] == (1 << 32) - 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"namespace": "nowhere"}, "store.aerospike.namespace"),
        ({"profile_ttl_s": 60, "dedupe_horizon_s": 900}, "profile_ttl_s"),
        ({"event_ttl_s": 1 << 30}, "event_ttl_s"),
        ({"cluster_name": "another"}, "store.aerospike.hosts"),
    ],
)
def test_what_the_cluster_cannot_hold_is_said(home: Home, fields: dict[str, Any], said: str) -> None:
    """Check names the setting to change."""
    assert said in home.open(**fields).check()


def test_a_clock_that_is_wrong_is_said(home: Home) -> None:
    """Stamps are compared between hosts, so check compares the clock with the cluster's."""
    assert "clock" in home.open(clock=Clock(time.time() + 3600)).check()
    assert home.open().check() == ""


@pytest.mark.parametrize("host", ["localhost", "localhost:", ":3000", "localhost:http", "localhost:70000"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """A host without a port is a bad setting, named at once."""
    with pytest.raises(BadSetting, match=r"store\.aerospike\.hosts"):
        AerospikeStore(make_settings(host), "attempts", 1000)


def test_a_stalled_server_is_flagged(server: asd.Asd) -> None:
    """While nothing is answered a read comes back with every profile flagged; afterwards it reads."""
    settings = make_settings(server.host, read_timeout_ms=20, read_socket_timeout_ms=10, set_prefix="stalled-")
    with closing(AerospikeStore(settings, "attempts", 1000)) as store:
        tell(store, PURCHASE)
        server.stall()
        try:
            views = store.read([PURCHASE], 1.0)
        finally:
            server.resume()
        assert views == [View((None,) * 4, KINDS, None)]
        wait_until_it_serves(store)
        deadline = time.monotonic() + PATIENCE_S
        while store.read([PURCHASE], 1.0)[0].unreadable:
            assert time.monotonic() < deadline
        assert store.read([PURCHASE], 1.0)[0].images[0] == make_image(USER, PURCHASE)


def test_a_store_is_of_no_use_in_another_process(home: Home) -> None:
    """A client that crossed a fork returns other records' values, so there nothing is read and writes are refused."""
    store = home.open()
    tell(store, PURCHASE)
    child = os.fork()
    if child == 0:
        try:
            refused = store.read([PURCHASE], 1.0)[0].unreadable == KINDS
            try:
                tell(store, PURCHASE)
            except StoreUnavailable as error:
                os._exit(0 if refused and "fork" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.read([PURCHASE], 1.0)[0].unreadable == ()
