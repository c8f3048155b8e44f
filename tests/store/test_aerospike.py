"""What only the clustered store promises: its bounds, its logs, its settings, its cluster down and up."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aerospike
import pytest

from service.core.event import KINDS, EntityKind, Event, EventKind
from service.core.profile import EMPTY
from service.core.windows import HOUR_MS, MINUTE_MS, SERIES
from service.errors import BadSetting, StoreUnavailable
from service.store.aerospike import AerospikeStore
from service.store.protocol import Status, Submission, View
from tests import asd
from tests.make import NOW_MS, make_image, make_purchase, make_stream
from tests.store.clients import Clock, Crash, CrashingClient
from tests.store.decisions import make_decision
from tests.store.home import (
    HORIZON_S,
    PATIENCE_S,
    PURCHASE,
    USER,
    Home,
    make_settings,
    tell,
)
from tests.store.oracle import assert_whole, settle, whole_log


@pytest.fixture
def home(aerospike_host: str) -> Iterator[Home]:
    """Give an empty home."""
    made = Home(aerospike_host)
    yield made
    made.close()


# --- profiles -----------------------------------------------------------------------------------


def test_maps_keep_no_more_than_their_series(home: Home) -> None:
    """However long a history is, each map holds at most the buckets of its series, and the image is the core's."""
    store = home.open()
    steps = [(5 * MINUTE_MS, 30), (HOUR_MS, 60), (24 * HOUR_MS, 70)]
    time_ms, events = NOW_MS, list[Event]()
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


def test_a_purchase_record_that_somebody_else_wrote_fails_no_score(home: Home) -> None:
    """What stands in the place of a purchase's own event and is none reads as not recorded; the profiles are read."""
    name, port = home.host.split(":")
    with closing(aerospike.client({"hosts": [(name, int(port))]})) as client:
        client.put((asd.NAMESPACE, f"{home.prefix}event", PURCHASE.event_id), {"s": 2, "p": b"no event"})
    [view] = home.open().read([PURCHASE], 1.0)
    assert view.recorded is None
    assert view.unreadable == ()


def test_a_full_record_is_retried_until_it_has_room(server: asd.Asd) -> None:
    """A seller with more events within the horizon than its record holds costs a RETRY, and nothing is lost."""
    clock = Clock(time.time())
    settings = make_settings(server.host, set_prefix=f"t{uuid.uuid4().hex[:12]}-", dedupe_horizon_s=60)
    set_max_record_bytes(server, 4096)
    try:
        with closing(AerospikeStore(settings, "attempts", 1000, clock=clock)) as store:
            for number in range(400):
                purchase = make_purchase(f"{number:040}")
                clock.now_s += 0.5
                [outcome] = tell(store, purchase)
                if outcome.status is Status.RETRY:
                    break
            assert "max-record-size" in outcome.reason
            clock.now_s += 45
            assert tell(store, purchase)[0].status is Status.DUPLICATE
            assert len(assert_whole(store)) == number + 1
    finally:
        set_max_record_bytes(server, 1 << 20)


def set_max_record_bytes(server: asd.Asd, size_bytes: int) -> None:
    """Set what a record of the server may take."""
    name, port = server.host.split(":")
    with closing(aerospike.client({"hosts": [(name, int(port))]})) as client:
        client.info_all(f"set-config:context=namespace;namespace={asd.NAMESPACE};max-record-size={size_bytes}")


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
def test_decisions_put_again_after_a_crash_stand_in_the_log_once(home: Home, *, sent: bool) -> None:
    """Whatever was kept before the writer died, putting all decisions again gives each once."""
    store = home.open()
    for at in (1, 2, 3, 4, 5):
        decisions = [make_decision(f"p-{number}", decided_at_ms=NOW_MS + at) for number in range(150)]
        dying = home.open(connect=lambda config, at=at: CrashingClient(config, at, sent=sent))
        with contextlib.suppress(Crash):
            dying.put_decisions(decisions)
        store.put_decisions(decisions[:50])
        store.put_decisions(decisions)
    page = store.decision_log("", 1000)
    logged = [(one.decided_at_ms - NOW_MS, one.purchase.purchase_id) for one in page.decisions]
    assert sorted(logged) == sorted((at, f"p-{number}") for at in (1, 2, 3, 4, 5) for number in range(150))
    assert store.decision_log(page.cursor, 10) == ([], page.cursor, [])
    assert [one.decided_at_ms - NOW_MS for one in store.decisions("p-7")] == [5, 4, 3, 2, 1]


# --- the cluster --------------------------------------------------------------------------------


def wait_until(it_is_so: Callable[[], bool]) -> None:
    """Wait for what must come about."""
    deadline = time.monotonic() + PATIENCE_S
    while not it_is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[asd.Asd]:
    """Give a server that refuses records with a life, not started yet."""
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
        wait_until(lambda: store.check() == "")
        assert tell(store, PURCHASE)[0].status is Status.APPLIED
        assert_whole(store)
        assert store.stats().unreadable == 1
    for life, name in (({"profile_ttl_s": 86_400}, "profile_ttl_s"), ({"event_ttl_s": 86_400}, "event_ttl_s")):
        with closing(AerospikeStore(make_settings(own_server.host, **life), "attempts", 1000)) as store:
            problem = store.check()
            assert "nsup-period" in problem
            assert f"store.aerospike.{name}" in problem
            assert tell(store, make_purchase(f"p-{name}"))[0].status is Status.RETRY


def test_a_cluster_that_lost_everything_is_gone_on_with(own_server: asd.Asd) -> None:
    """After a restart of a server that keeps nothing, what comes is logged where readers from the beginning find it."""
    own_server.start()
    with closing(AerospikeStore(make_settings(own_server.host), "attempts", 1000)) as store:
        tell(store, *(make_purchase(f"p-{number}") for number in range(300)))
        store.put_decisions([make_decision(f"p-{number}") for number in range(300)])
        own_server.stop()
        own_server.start()
        wait_until(lambda: store.check() == "")
        tell(store, make_purchase("p-1"), make_purchase("p-2"))
        store.put_decisions([make_decision("p-1")])
        assert [one.event.event_id for one in assert_whole(store)] == ["p-1", "p-2"]
        assert len(store.decision_log("", 10).decisions) == 1
        assert store.sweep(0.0) == (0, 0, 0)


def test_records_get_the_lives_that_are_set(home: Home) -> None:
    """Profiles and events expire when they should, and logs never."""
    store = home.open(profile_ttl_s=5000, event_ttl_s=7000)
    tell(store, PURCHASE)
    name, port = home.host.split(":")
    with closing(aerospike.client({"hosts": [(name, int(port))]})) as client:
        lives = {
            name: client.get((asd.NAMESPACE, f"{home.prefix}{name}", key))[1]["ttl"]
            for name, key in (("user", "u-1"), ("event", "p-1"), ("log", "events-0"))
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
            # The signal takes its time to reach every thread of the server.
            wait_until(lambda: store.read([PURCHASE], 1.0) == [View((None,) * 4, KINDS, None)])
        finally:
            server.resume()
        wait_until(lambda: store.read([PURCHASE], 1.0)[0].images[0] == make_image(USER, PURCHASE))


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
