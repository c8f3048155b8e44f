"""Erasing and listing on Aerospike: what several requests to several records could leave half done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import aerospike
import pytest

from service.core.event import EntityKey, EntityKind
from service.core.listing import ListingAct, ListingChange
from service.forget import Request, forget
from service.store.aerospike import AerospikeStore
from service.store.aerospike_event import STATE, State
from service.store.aerospike_log import PAGE
from service.store.protocol import Entry, Submission
from tests import asd
from tests.make import NOW_MS, make_purchase
from tests.store.clients import Crash, CrashingClient, DeafClient, SleepyClient
from tests.store.decisions import make_decision
from tests.store.home import PURCHASE, Home, tell
from tests.store.listings import make_change, make_listing
from tests.store.oracle import settle, whole_log

SELLER = EntityKey(EntityKind.SELLER, "s-1")
FIRST = [make_change(1, make_listing("c-1")), make_change(2, make_listing("c-2"))]
SECOND = [make_change(3, make_listing("c-1"), ListingAct.REMOVED), make_change(4, make_listing("c-3"))]


@pytest.fixture
def home(aerospike_host: str) -> Iterator[Home]:
    """Give an empty home."""
    made = Home(aerospike_host)
    yield made
    made.close()


class Raw:
    """The records of a home, past the store."""

    def __init__(self, home: Home) -> None:
        """Connect."""
        name, port = home.host.split(":")
        self._prefix = home.prefix
        self._client = aerospike.client({"hosts": [(name, int(port))]})

    def write(self, set_: str, key: str, bins: dict[str, Any]) -> None:
        """Write bins of a record."""
        self._client.put((asd.NAMESPACE, f"{self._prefix}{set_}", key), bins)

    def bins(self, set_: str, key: str) -> dict[str, Any] | None:
        """Return a record, None when it is not there."""
        found = self._client.batch_read([(asd.NAMESPACE, f"{self._prefix}{set_}", key)]).batch_records[0]
        return None if found.record is None else found.record[2]

    def close(self) -> None:
        """Let go of it."""
        self._client.close()


@pytest.fixture
def raw(home: Home) -> Iterator[Raw]:
    """Give a look past the store."""
    with closing(Raw(home)) as made:
        yield made


# --- lists --------------------------------------------------------------------------------------


def assert_is_what_was_done(store: AerospikeStore, *done: list[ListingChange]) -> None:
    """Check that entries and audit say the same, and that it is this."""
    changes = [change for batch in done for change in batch]
    assert store.listings.changes(0, 100) == changes
    entries = {}
    for change in changes:
        entries[change.listing.key] = change.listing
        if change.act is ListingAct.REMOVED:
            del entries[change.listing.key]
    assert store.listings.read() == (len(changes), entries)


@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
def test_a_death_at_any_write_of_a_change_leaves_whole_or_nothing(home: Home, *, sent: bool) -> None:
    """Whoever looks next finishes a change that was begun; entries and audit never differ."""
    for at in range(1, 10):
        home.prefix = f"{home.prefix[:13]}{at}-"
        store = home.open()
        assert store.listings.change(0, FIRST)
        dying = home.open(lambda config, at=at: CrashingClient(config, at, sent=sent))
        try:
            assert dying.listings.change(2, SECOND)
        except Crash:
            assert_is_what_was_done(store, FIRST, *([SECOND] if store.listings.revision() == 4 else []))
            continue
        assert at > 2
        return
    pytest.fail("it never came to an end")


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_change_whose_answer_was_lost_is_made_once(home: Home, at: int) -> None:
    """A write in doubt is sent again, and the change is told to be made, once."""
    deaf = home.open(lambda config: DeafClient(config, at))
    assert deaf.listings.change(0, FIRST)
    assert_is_what_was_done(deaf, FIRST)


def test_one_who_slept_puts_nothing_back(home: Home) -> None:
    """A writer that is held up while settling a change, and wakes after others went on, changes nothing any more."""
    store = home.open()

    def meanwhile() -> None:
        assert store.listings.revision() == 2
        assert store.listings.change(2, SECOND)

    sleepy = home.open(lambda config: SleepyClient(config, 2, meanwhile))
    assert sleepy.listings.change(0, FIRST)
    assert_is_what_was_done(store, FIRST, SECOND)


# --- erasing ------------------------------------------------------------------------------------


def test_pages_of_a_log_that_are_erased_are_closed(home: Home, raw: Raw) -> None:
    """Full pages of what was dropped are emptied, readers go on behind them, and no place of the log moves.

    A writer that has not written since a page that is closed now was the last one puts nothing there any more.
    """
    store, idle, newer = home.open(), home.open(), home.open()
    tell(idle, make_purchase("p-first"))
    settle(store, [Submission(make_purchase(f"p-{number}")) for number in range(2 * PAGE + 9)])
    page = store.events("", 10_000)
    entries = [Entry(place, one.event.event_id) for place, one in zip(page.places, page.events, strict=True)]
    store.drop_events(entries[: PAGE + 5])
    assert (raw.bins("log", "events-0"), raw.bins("event", "p-0")) == ({"x": 1}, None)
    assert whole_log(store, limit=7) == page.events[PAGE + 5 :]
    assert store.events("", 1).places == [PAGE + 6]
    store.drop_events(entries[: 2 * PAGE])
    assert raw.bins("log", "events-1") == {"x": 1}
    assert whole_log(home.open()) == page.events[2 * PAGE :]
    assert tell(idle, make_purchase("p-new"))[0].revisions
    assert store.events(page.cursor, 10).places == [2 * PAGE + 11]
    store.drop_events([*entries, Entry(2 * PAGE + 11, "p-new")])
    settle(newer, [Submission(make_purchase(f"q-{number}")) for number in range(PAGE)])
    filled = store.events("", 10_000)
    assert [one.event.event_id for one in filled.events] == [f"q-{number}" for number in range(PAGE)]
    last = [Entry(place, one.event.event_id) for place, one in zip(filled.places, filled.events, strict=True)]
    store.drop_events(last[: PAGE - 11])
    assert raw.bins("log", "events-2") == {"x": 1}
    tell(idle, make_purchase("r-1"))
    assert whole_log(home.open())[-1].event.event_id == "r-1"
    assert len(whole_log(store)) == 12


def test_profiles_of_others_forget_the_ids_of_what_was_erased(home: Home, raw: Raw) -> None:
    """What guards a seller's profile against repeats does not name the purchases of a person who is forgotten."""
    store = home.open()
    tell(store, PURCHASE, make_purchase("p-2", user_id="u-2"))
    tell(store, make_purchase("p-3", event_time_ms=NOW_MS + 1))
    forget(store, Request("u-1", "asked for it", "ada"), datetime(2026, 7, 30, tzinfo=UTC))
    bins = home.bins(SELLER)
    assert [*bins["ev"]] == ["p-2"]
    assert "_id" not in bins
    assert bins["rev"] == 3
    assert raw.bins("event", "p-1") is None


def test_events_in_quarantine_are_the_persons_too(home: Home, raw: Raw) -> None:
    """An event that was given up is on no log that anybody reads, and goes all the same."""
    store = home.open()
    tell(store, PURCHASE, make_purchase("p-2", user_id="u-2"))
    raw.write("event", "p-1", {STATE: int(State.QUARANTINED)})
    receipt = forget(store, Request("u-1", "asked for it", "ada"), datetime(2026, 7, 30, tzinfo=UTC))
    assert (receipt.given_up, receipt.events) == (1, 0)
    assert raw.bins("event", "p-1") is None
    page = raw.bins("log", "events-0")
    assert page is not None
    assert page["l"] == ["gone-1", "p-2"]


def test_no_decision_can_be_found_by_its_purchase_any_more(home: Home, raw: Raw) -> None:
    """Of a purchase that was dropped, neither record nor name nor place in the log is left; the others stay."""
    store = home.open()
    store.put_decisions([make_decision("p-1"), make_decision("p-1", score=0.5), make_decision("p-2")])
    page = store.decision_log("", 10)
    dropped = [one for one in zip(page.places, page.decisions, strict=True) if one[1].purchase.purchase_id == "p-1"]
    store.drop_decisions([Entry(place, "p-1") for place, _ in dropped])
    assert store.decision_log("", 10).decisions == store.decisions("p-2") == [make_decision("p-2")]
    assert raw.bins("decision", "p-1|") is None
    log = raw.bins("log", "decisions-0")
    assert log is not None
    assert [one for one in log["l"] if one.startswith("p-1")] == []
