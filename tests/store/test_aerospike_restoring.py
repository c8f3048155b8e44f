"""Putting profiles and events back in the clustered store, with writers that die, sleep or hear nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.core.profile import EMPTY
from service.store.protocol import LoggedEvent, Replacement
from tests.make import NOW_MS, make_image, make_purchase
from tests.store.clients import Crash, CrashingClient, DeafClient, SleepyClient
from tests.store.decisions import make_decision
from tests.store.home import PURCHASE, USER, Home, tell
from tests.store.oracle import assert_whole, whole_log

LATER = make_purchase("p-2", event_time_ms=NOW_MS + 1)
WRITES = 40
"""More writes than any of this takes."""


@pytest.fixture
def home(aerospike_host: str) -> Iterator[Home]:
    """Give an empty home."""
    made = Home(aerospike_host)
    yield made
    made.close()


@pytest.mark.parametrize("revision", [0, 1])
def test_a_replacement_whose_answer_is_lost_stands(home: Home, revision: int) -> None:
    """A write in doubt is sent again, which changes nothing more."""
    if revision:
        tell(home.open(), PURCHASE)
    image = make_image(USER, PURCHASE)
    deaf = home.open(connect=lambda config: DeafClient(config, 1))
    assert deaf.replace_images([Replacement(USER, revision, image)]) == [True]
    assert deaf.profile(USER) == image


def test_a_replacement_that_was_held_up_changes_nothing(home: Home) -> None:
    """While it was on its way an event came: it finds another revision there."""
    store = home.open()
    tell(store, PURCHASE)
    sleeper = home.open(connect=lambda config: SleepyClient(config, 1, lambda: assert_applied(home)))
    assert sleeper.replace_images([Replacement(USER, 1, make_image(USER, PURCHASE))]) == [False]
    assert store.profile(USER) == make_image(USER, PURCHASE, LATER)
    assert_whole(store)


def assert_applied(home: Home) -> None:
    """Apply an event while somebody else sleeps."""
    assert tell(home.open(), LATER)[0].revisions[0] == (USER, 2)


def log_of(number: int) -> list[LoggedEvent]:
    """Return more events than a page of the log holds, with decisions."""
    ids = [f"p-{number}-{at}" for at in range(300)]
    return [LoggedEvent(make_purchase(one), ((USER, 5),), make_decision(one, recorded=True)) for one in ids]


def dying(at: int, *, sent: bool) -> Callable[[dict[str, Any]], Any]:
    """Return how a process connects that dies at a write."""
    return lambda config: CrashingClient(config, at, sent=sent)


@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
def test_restoring_survives_a_crash_at_any_write(home: Home, *, sent: bool) -> None:
    """Whoever restores the same events again finds or makes each of them once, in their order."""
    store = home.open()
    expected: list[LoggedEvent] = []
    for at in range(1, WRITES):
        log = log_of(at)
        expected += log
        try:
            home.open(connect=dying(at, sent=sent)).restore(log)
        except Crash:
            store.restore(log)
        else:
            break
    assert at > 1
    assert whole_log(store) == expected
    assert store.profile(USER) is EMPTY[USER.kind]


def test_restoring_survives_an_answer_that_is_lost(home: Home) -> None:
    """A write in doubt is sent again, at every write in turn."""
    store = home.open()
    expected: list[LoggedEvent] = []
    for at in range(1, WRITES):
        clients: list[DeafClient] = []

        def connect(config: dict[str, Any], at: int = at, clients: list[DeafClient] = clients) -> DeafClient:
            clients.append(DeafClient(config, at))
            return clients[0]

        log = log_of(at)
        expected += log
        home.open(connect=connect).restore(log)
        if not clients[0].unheard:
            break
    assert whole_log(store) == expected
