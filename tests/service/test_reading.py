"""Guarded reads: when the store is asked, for how long, and what a score gets when it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.core.event import KINDS, EntityKind, Event
from service.metrics import Metrics
from service.reading import Breaker, GuardedReads, Standing, reads_of
from service.settings import BreakerSettings, LmdbSettings, Settings
from service.store.lmdb import LmdbStore
from service.store.protocol import View
from tests.make import make_purchase
from tests.store.clients import Clock

SETTINGS = BreakerSettings(reads=8, bad_reads=4, slow_ms=10, open_ms=100, max_open_ms=400, fair_ms=3, good_reads=2)
BUDGET_S = 0.018
RESERVE_S = 0.003


class MoodyStore(LmdbStore):
    """A store whose reads take as long as it is told to, by a clock of its own, and fail when it is told so."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Begin quick and well."""
        super().__init__(LmdbSettings(path=path, max_size_bytes=1 << 24), "attempts", 10)
        self.clock = clock
        self.takes_s = 0.0
        self.deaf: Sequence[EntityKind] = ()
        self.timeouts_s: list[float] = []

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Take the time, and leave out what it is deaf to."""
        self.timeouts_s.append(timeout_s)
        self.clock.now_s += min(self.takes_s, timeout_s)
        return [self._without(view) for view in super().read(purchases, timeout_s)]

    def _without(self, view: View) -> View:
        images: list[Any] = [
            None if kind in self.deaf else image for kind, image in zip(KINDS, view.images, strict=True)
        ]
        return View(tuple(images), tuple(self.deaf), view.recorded)


class Bench:
    """Guarded reads of a moody store, on a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        """Put it together."""
        self.clock = Clock(1000.0)
        self.metrics = Metrics()
        self.store = MoodyStore(folder, self.clock)
        self.reads = GuardedReads(self.store, SETTINGS, RESERVE_S, self.metrics, self.clock)

    def read(self, times: int = 1, *, budget_s: float = BUDGET_S) -> list[View]:
        """Read one purchase some times; return what came of each."""
        return [self.reads.read([make_purchase()], budget_s)[0] for _ in range(times)]

    def asked(self) -> int:
        """Return how often the store was asked."""
        return len(self.store.timeouts_s)

    def told(self, name: str, **labels: str) -> float | None:
        """Return a metric."""
        return self.metrics.registry.get_sample_value(f"fraud_store_{name}", labels)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give a bench."""
    made = Bench(tmp_path)
    yield made
    made.store.close()


def test_a_read_leaves_time_for_the_score(bench: Bench) -> None:
    """It gets what the reserve leaves, at least half of a short deadline, and is given up when that is under a ms."""
    for budget_s in (0.018, 0.004, 0.0015):
        (view,) = bench.read(budget_s=budget_s)
        assert view.given_up == (budget_s == 0.0015)
    assert bench.store.timeouts_s == [0.018 - 0.003, 0.002]
    assert bench.told("reads_skipped_total", cause="time") == 1.0


def test_what_is_not_asked_for_is_flagged(bench: Bench) -> None:
    """A read that was given up names every profile that the purchase names, and no other, as unreadable."""
    whole, without = bench.reads.read([make_purchase(), make_purchase("p-2", item_id="", card_hash="")], 0.0)
    assert (whole.images, whole.unreadable, whole.recorded) == ((None,) * 4, KINDS, None)
    assert without.unreadable == (EntityKind.USER, EntityKind.SELLER)
    assert whole.given_up
    assert without.given_up


def test_most_of_the_last_reads_bad_open_it(bench: Bench) -> None:
    """The fourth bad one of eight opens the breaker; the store is asked no more, and the score is told at once."""
    for takes_s in (0.011, 0.0, 0.011, 0.0, 0.011, 0.0):
        bench.store.takes_s = takes_s
        bench.read()
    assert bench.told("breaker", what="read") == Standing.CLOSED
    bench.store.takes_s = 0.011
    assert not bench.read()[0].given_up
    now_s = bench.clock.now_s
    assert all(view.given_up for view in bench.read(5))
    assert (bench.clock.now_s, bench.asked()) == (now_s, 7)
    assert bench.told("breaker", what="read") == Standing.OPEN
    assert bench.told("breaker_opened_total", what="read") == 1.0
    assert bench.told("reads_bad_total") == 4.0
    assert bench.told("reads_skipped_total", cause="breaker") == 5.0


def test_few_bad_reads_among_good_ones_open_nothing(bench: Bench) -> None:
    """Three of eight, for ever, leave it closed."""
    for number in range(200):
        bench.store.takes_s = 0.011 if number % 8 < 3 else 0.009
        bench.read()
    assert bench.asked() == 200


def test_a_store_that_does_not_answer_is_bad_however_quickly(bench: Bench) -> None:
    """Connections that are refused at once count; a single profile that cannot be read does not."""
    bench.store.deaf = (EntityKind.CARD,)
    bench.read(20)
    assert bench.asked() == 20
    bench.store.deaf = KINDS
    bench.read(20)
    assert bench.asked() == 24


def test_too_little_time_says_nothing_about_the_store(bench: Bench) -> None:
    """No answer within less than `fair_ms` is the deadline's fault: it neither opens nor prolongs anything."""
    bench.store.deaf = KINDS
    bench.read(20, budget_s=0.005)
    assert bench.asked() == 20
    bench.read(4)
    assert bench.told("breaker", what="read") == Standing.OPEN
    bench.clock.now_s += 0.1
    bench.read(3, budget_s=0.005)
    assert bench.told("breaker", what="read") == Standing.PROBING
    bench.store.deaf = ()
    bench.read(2)
    assert bench.told("breaker", what="read") == Standing.CLOSED


def test_a_batch_may_take_longer(bench: Bench) -> None:
    """A batch of 64 has three times the time of one purchase before it counts as slow."""
    purchases = [make_purchase(f"p-{n}") for n in range(64)]
    for takes_s, bad in ((0.029, 0.0), (0.031, 1.0)):
        bench.store.takes_s = takes_s
        bench.reads.read(purchases, 1.0)
        assert bench.told("reads_bad_total") == bad


def opened(bench: Bench) -> None:
    """Break the store and read until nobody asks it."""
    bench.store.deaf = KINDS
    bench.read(4)
    assert bench.told("breaker", what="read") == Standing.OPEN


def test_one_read_at_a_time_tries_the_store(bench: Bench) -> None:
    """After the wait a single read goes through while others are told at once; two good ones close it."""
    opened(bench)
    bench.clock.now_s += 0.1
    assert bench.told("breaker", what="read") == Standing.PROBING
    breaker = bench.reads.breaker
    assert breaker.probe()
    assert bench.read()[0].given_up
    breaker.probed(bad=False)
    bench.store.deaf = ()
    assert not bench.read()[0].given_up
    assert bench.told("breaker", what="read") == Standing.CLOSED
    assert bench.read(3) == bench.store.read([make_purchase()], 1.0) * 3


def test_waits_double_up_to_their_bound(bench: Bench) -> None:
    """Each bad try doubles the wait, 100 to 400 ms, and a store that stays bad is tried no more often than that."""
    opened(bench)
    for wait_s in (0.1, 0.2, 0.4, 0.4):
        asked = bench.asked()
        bench.clock.now_s += wait_s - 0.001
        bench.read()
        assert bench.asked() == asked
        bench.clock.now_s += 0.002
        bench.read()
        assert bench.asked() == asked + 1


def test_a_store_that_breaks_again_soon_waits_longer(bench: Bench) -> None:
    """Opening again within the longest wait goes on to double it; later it begins anew."""
    opened(bench)
    for quiet_s, wait_s in ((0.0, 0.2), (0.5, 0.1)):
        bench.clock.now_s += 0.4
        bench.store.deaf = ()
        bench.read(2)
        assert bench.told("breaker", what="read") == Standing.CLOSED
        bench.clock.now_s += quiet_s
        opened(bench)
        bench.clock.now_s += wait_s - 0.001
        assert bench.told("breaker", what="read") == Standing.OPEN
        bench.clock.now_s += 0.002
        assert bench.told("breaker", what="read") == Standing.PROBING


class BrokenStore(MoodyStore):
    """A store that raises what no store should."""

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Raise it."""
        super().read(purchases, timeout_s)
        raise RuntimeError


def test_a_try_that_ends_in_an_error_does_not_stop_tries(tmp_path: Path) -> None:
    """Whatever a read raises counts as bad and lets the next one try."""
    clock = Clock(0.0)
    store = BrokenStore(tmp_path, clock)
    reads = GuardedReads(store, SETTINGS, RESERVE_S, Metrics(), clock)
    for _ in range(10):
        with suppress(RuntimeError):
            reads.read([make_purchase()], BUDGET_S)
    assert len(store.timeouts_s) == 4
    clock.now_s += 0.1
    with pytest.raises(RuntimeError):
        reads.read([make_purchase()], BUDGET_S)
    assert reads.breaker.standing is Standing.OPEN
    store.close()


def test_an_embedded_store_is_read_as_it_is(tmp_path: Path) -> None:
    """Mapped memory needs no guard: the scorer gets the store itself, and a clustered one behind a breaker."""
    clock = Clock(0.0)
    store = MoodyStore(tmp_path, clock)
    assert reads_of(store, Settings(store={"kind": "lmdb"}), Metrics()) is store
    assert isinstance(reads_of(store, Settings(store={"kind": "aerospike"}), Metrics()), GuardedReads)
    store.close()


def test_a_breaker_that_could_never_open_is_refused() -> None:
    """More bad reads than are looked at is a bad setting."""
    with pytest.raises(ValidationError, match="bad_reads must not exceed reads"):
        BreakerSettings(reads=5, bad_reads=6)


def test_one_probe_at_a_time_under_threads() -> None:
    """However many ask, one may try until it has told of it."""
    clock, opens = Clock(0.0), list[int]()
    breaker = Breaker("read", SETTINGS, lambda: opens.append(1), clock)
    for _ in range(9):
        breaker.note(bad=True)
    assert opens == [1]
    clock.now_s = 0.2
    assert [breaker.probe() for _ in range(5)] == [True, False, False, False, False]
    breaker.probed(bad=True)
    assert not breaker.probe()
