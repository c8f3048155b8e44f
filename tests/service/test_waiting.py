"""Answers that cease to wait for a store that takes nothing: of `Score` with `record=true`, and of `Record`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.ingester import SLOW_S, Ingester
from service.metrics import Metrics
from service.reading import Standing
from service.recorder import FAIR_S, Recorder
from service.settings import BreakerSettings, LmdbSettings
from service.store.lmdb import LmdbStore
from service.store.protocol import Outcome, Status, Submission
from tests.answers import recorded
from tests.make import make_purchase
from tests.running import wait_until

SETTINGS = BreakerSettings(reads=4, bad_reads=2, open_ms=50, max_open_ms=50, good_reads=1)


class StubbornStore(LmdbStore):
    """A store that takes nothing, after a while, until it is told to be good."""

    def __init__(self, path: Path) -> None:
        """Begin stubborn."""
        super().__init__(LmdbSettings(path=path, max_size_bytes=1 << 24), "attempts", 10)
        self.takes_s = 0.0
        self.stubborn = True
        self.calls = 0

    def apply(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Take nothing, or everything."""
        self.calls += 1
        time.sleep(self.takes_s)
        if self.stubborn:
            return [Outcome(Status.RETRY, reason="stubborn")] * len(submissions)
        return super().apply(submissions)


@pytest.fixture
def store(tmp_path: Path) -> StubbornStore:
    """Give a store that is stubborn, and slow enough for it to count."""
    made = StubbornStore(tmp_path)
    made.takes_s = 10 * max(SLOW_S, FAIR_S)  # a busy machine may begin to wait late
    return made


def gauge(metrics: Metrics, what: str) -> float | None:
    """Return how a breaker stands."""
    return metrics.registry.get_sample_value("fraud_store_breaker", {"what": what})


def test_purchases_are_written_though_nobody_waits_for_them(store: StubbornStore) -> None:
    """After two waits in vain answers wait no more, each write is begun all the same, and a good one ends that."""
    metrics = Metrics()
    recorder = Recorder(store, 2, 10, metrics, SETTINGS)

    def record(number: int) -> Outcome:
        return recorded(recorder, Submission(make_purchase(f"p-{number}")), time.monotonic() + 10)

    assert [record(n).reason for n in range(2)] == ["stubborn"] * 2
    assert gauge(metrics, "record") == Standing.OPEN
    assert record(2) == Outcome(Status.RETRY, reason="the store was slow lately; it may still become durable")
    store.stubborn = False
    time.sleep(0.06)
    assert record(3).status is Status.APPLIED
    assert gauge(metrics, "record") == Standing.CLOSED
    recorder.stop()
    assert store.calls == 4
    assert metrics.registry.get_sample_value("fraud_given_up_total", {"stage": "record"}) == 3
    store.close()


def test_a_short_wait_says_nothing_about_the_store(store: StubbornStore) -> None:
    """Callers who leave no time for it do not make answers for others cease to wait."""
    metrics = Metrics()
    recorder = Recorder(store, 4, 10, metrics, SETTINGS)
    for number in range(6):
        recorded(recorder, Submission(make_purchase(f"p-{number}")), time.monotonic())
    assert gauge(metrics, "record") == Standing.CLOSED
    recorder.stop()
    store.close()


def test_a_stop_does_not_wait_longer_than_it_may(store: StubbornStore) -> None:
    """What was not begun by then is given up and counted; its callers were told so."""
    store.takes_s = 0.3
    recorder = Recorder(store, 1, 10, Metrics(), SETTINGS)
    for number in range(5):
        recorded(recorder, Submission(make_purchase(f"p-{number}")), time.monotonic())
    wait_until(lambda: store.calls == 1)
    assert recorder.stop(0.0) == 4
    assert recorder.stop() == 0
    assert store.calls == 1
    store.close()


def test_events_are_told_at_once_that_nothing_is_taken(store: StubbornStore) -> None:
    """After two calls in vain the store is not asked, each event is RETRY, and one call at a time tries it."""
    metrics = Metrics()
    ingester = Ingester(store, metrics, SETTINGS)
    batch = [make_purchase("p-1"), make_purchase("p-2")]
    for _ in range(2):
        ingester.record(batch)
    assert gauge(metrics, "ingest") == Standing.OPEN
    assert {one.status for one in ingester.record(batch)} == {Status.RETRY}
    assert store.calls == 2
    store.stubborn = False
    time.sleep(0.06)
    assert [one.status for one in ingester.record(batch)] == [Status.APPLIED] * 2
    assert gauge(metrics, "ingest") == Standing.CLOSED
    store.close()


def test_a_store_that_says_no_at_once_is_asked_each_time(store: StubbornStore) -> None:
    """A quick RETRY costs nobody's time, as one of a full store does: then every call hears the store's own reason."""
    store.takes_s = 0.0
    ingester = Ingester(store, Metrics(), SETTINGS)
    outcomes = [ingester.record([make_purchase(f"p-{number}")])[0].reason for number in range(6)]
    assert outcomes == ["stubborn"] * 6
    assert store.calls == 6
    store.close()
