"""Exactly once under fire: racing writers are killed, the store is stalled, and the oracle must still be equal."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest

from service.core.event import FOLLOW_UPS, Event, EventKind, Settlement
from service.core.windows import DAY_MS, HOUR_MS
from service.store.protocol import Status, Store
from tests import asd
from tests.make import NOW_MS, make_event, make_purchase
from tests.store.oracle import assert_whole
from tests.store.places import Place
from tests.store.writer import Errand, Journal, read_journal, run

EVENTS = 2000
WRITERS = 4
KILLS = 24
STALLS = 24
TIMEOUT_S = 120.0
SWEEPS = 200

# Forked from a server that has imported everything and opened nothing: a writer starts in milliseconds.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.store.writer", "service.store.lmdb"])


def make_market(random: Random) -> list[Event]:
    """Return events of all kinds, each with what it names among them, in no order; few entities, so all collide."""
    events: list[Event] = []

    def soon() -> dict[str, int]:
        time_ms = NOW_MS + random.randrange(3 * DAY_MS)
        return {"event_time_ms": time_ms, "ingest_time_ms": time_ms + random.choice((0, 0, 0, HOUR_MS, 40 * DAY_MS))}

    for number in range(40):
        events.append(make_event(EventKind.USER_REGISTERED, user_id=f"u-{number}", **soon()))
        events.append(make_event(EventKind.CARD_REPORTED, card_hash=f"c-{number % 30}", **soon()))
    number = 0
    while len(events) < EVENTS:
        number += 1
        purchase_id = f"p-{number}"
        purchase = make_purchase(
            purchase_id,
            user_id=f"u-{random.randrange(40)}",
            seller_id=random.choice(("s-1", "s-2", "s-3", "")),
            item_id=random.choice(("i-1", "i-2", "")),
            card_hash=f"c-{random.randrange(30)}",
            amount_minor=random.randrange(100_000),
            **soon(),
        )
        events.append(purchase)
        chance = random.random()
        if chance < 0.4:
            settlement = random.choice((Settlement.DECLINED, Settlement.COMPLETED))
            settled = make_event(EventKind.PURCHASE_SETTLED, purchase_id=purchase_id, settlement=settlement, **soon())
            events.append(settled)
        if chance < 0.3:
            events.append(make_event(EventKind.FRAUD_CONFIRMED, purchase_id=purchase_id, **soon()))
        if chance < 0.1:
            events.append(make_event(EventKind.FRAUD_CLEARED, purchase_id=purchase_id, **soon()))
    events = list({event.event_id: event for event in events}.values())[:EVENTS]
    random.shuffle(events)
    return events


def batches_of(random: Random, events: Sequence[Event]) -> list[list[Event]]:
    """Cut deliveries into batches of all sizes."""
    batches, at = [], 0
    while at < len(events):
        size = random.choice((1, 2, 5, 10))
        batches.append(list(events[at : at + size]))
        at += size
    return batches


class Writer:
    """One of the racing writers: a process that is started again whenever it was killed."""

    def __init__(self, place: Place, batches: list[list[Event]], directory: Path, *, retries: bool) -> None:
        """Start the first process."""
        self._place, self._batches, self._directory, self._retries = place, batches, directory, retries
        self._total = len(batches)
        self._lives: list[Journal] = []
        self._process = self._start()

    @property
    def acknowledged(self) -> dict[str, Status]:
        """Return what was acknowledged in any life, by event id."""
        known: dict[str, Status] = {}
        for life in (*self._lives, read_journal(self._journal())):
            known |= life.acknowledged
        return known

    @property
    def progress(self) -> float:
        """Return the share of its batches that it has begun."""
        return 1 - (len(self._batches) - read_journal(self._journal()).begun) / self._total

    def alive(self) -> bool:
        """Tell whether it still has something to deliver; a life that ended by itself must have ended well."""
        if self._process.is_alive():
            return True
        assert self._process.exitcode == 0, f"a writer ended with {self._process.exitcode}"
        return False

    def kill(self) -> None:
        """Kill the process as `kill -9` does, and start another with what is left to do."""
        self._process.kill()
        self._process.join()
        life = read_journal(self._journal())
        self._lives.append(life)
        # Whoever retries delivers the batch that was under way once more, whoever does not forgets it.
        self._batches = self._batches[life.begun - 1 if self._retries and life.begun else life.begun :]
        self._process = self._start()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Stop it in its tracks for a while, with whatever lock it holds."""
        self._signal(signal.SIGSTOP)
        yield
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def _start(self) -> BaseProcess:
        errand = Errand(self._place, self._batches, self._journal(), self._retries)
        process = _processes.Process(target=run, args=(errand,), daemon=True)
        process.start()
        return process

    def _journal(self) -> Path:
        return self._directory / f"life-{len(self._lives)}"


def run_under_fire(random: Random, writers: Sequence[Writer], server: asd.Asd | None) -> None:
    """Kill writers and stall the server (or else a writer) at random moments, spread over all of the work."""
    faults = ["kill"] * KILLS + ["stall"] * STALLS
    random.shuffle(faults)
    moments = sorted(random.uniform(0, 0.9) for _ in faults)
    deadline = time.monotonic() + TIMEOUT_S
    while alive := [writer for writer in writers if writer.alive()]:
        assert time.monotonic() < deadline, "the writers do not come to an end"
        if not faults or sum(writer.progress for writer in writers) < moments[0] * len(writers):
            time.sleep(0.01)
            continue
        moments.pop(0)
        victim = random.choice(alive)
        time.sleep(random.uniform(0, 0.02))
        if faults.pop() == "kill":
            victim.kill()
        else:
            with server.stalled() if server else victim.stalled():
                time.sleep(random.uniform(0.03, 0.12))
    assert not faults, "the work was done before all faults were injected"


def settled(place: Place) -> Store:
    """Open the store and finish what the dead left behind."""
    store = place.open()
    for _ in range(SWEEPS):
        swept = store.sweep(0.0)
        assert swept.quarantined == 0
        if swept == (0, 0, 0):
            return store
        time.sleep(0.01)
    raise AssertionError("something is pending for ever")


def send(
    place: Place, deliveries: Sequence[Sequence[Event]], random: Random, path: Path, *, retries: bool
) -> list[Writer]:
    """Start one writer for each list of deliveries."""
    writers = []
    for number, events in enumerate(deliveries):
        directory = path / f"writer-{number}"
        directory.mkdir()
        writers.append(Writer(place, batches_of(random, events), directory, retries=retries))
    return writers


@pytest.fixture
def stallable(request: pytest.FixtureRequest, place: Place) -> asd.Asd | None:
    """Give the scratch server when the place is on it: a server of somebody else is not stalled."""
    if place.kind == "lmdb" or "FRAUD_TEST_AEROSPIKE" in os.environ:
        return None
    server: asd.Asd = request.getfixturevalue("server")
    return server


@pytest.mark.parametrize("seed", [1])
def test_everything_delivered_twice_counts_once(
    place: Place, stallable: asd.Asd | None, tmp_path: Path, seed: int
) -> None:
    """2,000 events, each from two of four racing writers that retry: all of them, once, and the oracle's profiles."""
    random = Random(seed)
    market = make_market(random)
    deliveries: list[list[Event]] = [[] for _ in range(WRITERS)]
    for event in market:
        for one in random.sample(deliveries, 2):
            one.append(event)
    for events in deliveries:
        random.shuffle(events)
    writers = send(place, deliveries, random, tmp_path, retries=True)
    run_under_fire(random, writers, stallable)
    for writer, events in zip(writers, deliveries, strict=True):
        assert set(writer.acknowledged) == {event.event_id for event in events}
    store = settled(place)
    log = assert_whole(store)
    assert sorted(one.event.event_id for one in log) == sorted(event.event_id for event in market)
    content = {event.event_id: event for event in market}
    assert all(one.event == content[one.event.event_id] for one in log)
    assert store.parked() == 0
    store.close()


@pytest.mark.parametrize("seed", [2])
def test_what_nobody_retries_is_whole_or_absent(
    place: Place, stallable: asd.Asd | None, tmp_path: Path, seed: int
) -> None:
    """2,000 events, each delivered once and never again: what was acknowledged is in, and nothing is half in."""
    random = Random(seed)
    market = make_market(random)
    writers = send(place, [market[at::WRITERS] for at in range(WRITERS)], random, tmp_path, retries=False)
    run_under_fire(random, writers, stallable)
    acknowledged = {event_id: status for writer in writers for event_id, status in writer.acknowledged.items()}
    store = settled(place)
    logged = {one.event.event_id for one in assert_whole(store)}
    assert len(acknowledged) > EVENTS // 2
    assert logged <= {event.event_id for event in market}
    counted = {event_id for event_id, status in acknowledged.items() if status is not Status.PARKED}
    assert counted <= logged
    for event in market:
        if acknowledged.get(event.event_id) is Status.PARKED:
            assert (event.event_id in logged) == (event.purchase_id in logged), event
    waiting = {event_id for event_id, status in acknowledged.items() if status is Status.PARKED} - logged
    in_doubt = {event.event_id for event in market if event.kind in FOLLOW_UPS} - set(acknowledged) - logged
    assert len(waiting) <= store.parked() <= len(waiting) + len(in_doubt)
    store.close()
