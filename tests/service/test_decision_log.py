"""The decision log keeps what it was given, or counts it, and shows it to others once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from service.core.decision import DecisionRecord
from service.decision_log import ROUND_S, SHOWN, DecisionLog
from service.errors import StoreUnavailable
from service.metrics import Metrics
from service.served import Served
from service.settings import LmdbSettings, ScoringSettings
from service.store.lmdb import LmdbStore
from tests.running import wait_until
from tests.store.decisions import make_served


class MoodyStore(LmdbStore):
    """A store that takes decisions only while `awake` is set."""

    awake = threading.Event()
    asked = threading.Event()

    def put_decisions(self, decisions: Sequence[DecisionRecord]) -> None:
        """Take them, or be unavailable."""
        self.asked.set()
        if not self.awake.is_set():
            raise StoreUnavailable("asleep")
        super().put_decisions(decisions)


def moody(folder: Path) -> MoodyStore:
    """Return a store that sleeps."""
    store = MoodyStore(LmdbSettings(path=folder, max_size_bytes=1 << 26), "attempts", 10)
    store.awake = threading.Event()
    store.asked = threading.Event()
    return store


def test_decisions_wait_while_the_store_does_not_answer(tmp_path: Path) -> None:
    """Nothing is lost while it sleeps, and the order stays."""
    store, metrics = moody(tmp_path), Metrics()
    log = DecisionLog(store, ScoringSettings(decision_batch=2), metrics)
    log.start()
    for n in range(5):
        log.put(make_served(f"p-{n}"))
    assert store.asked.wait(5)
    store.awake.set()
    assert log.stop(5) == 0
    assert [one.purchase.event_id for one in store.decision_log("", 10).decisions] == [f"p-{n}" for n in range(5)]


def test_takers_get_everything_once_and_at_once(tmp_path: Path) -> None:
    """They see what is served while the store sleeps, more than may wait for it, and not again with every try."""
    store, shown = moody(tmp_path), list[str]()

    def take(batch: Sequence[Served]) -> None:
        shown.extend(served.record.purchase.event_id for served in batch)

    metrics = Metrics()
    log = DecisionLog(store, ScoringSettings(decision_batch=2, decision_queue=5), metrics, [take])
    log.start()
    for n in range(9):
        log.put(make_served(f"p-{n}"))
        wait_until(lambda: len(shown) == n + 1)  # noqa: B023  it is called before n moves on
    assert store.asked.wait(5)
    store.awake.set()
    assert log.stop(5) == 0
    assert shown == [f"p-{n}" for n in range(9)]
    assert [one.purchase.event_id for one in store.decision_log("", 10).decisions] == [f"p-{n}" for n in range(5)]
    assert metrics.registry.get_sample_value("fraud_decision_log_dropped_total") == 4.0


class SlowStore(LmdbStore):
    """A store of which each commit takes so long that more is served meanwhile."""

    commits: list[int]
    log: DecisionLog

    def put_decisions(self, decisions: Sequence[DecisionRecord]) -> None:
        """Take them, while one more is served."""
        self.commits.append(len(decisions))
        if len(self.commits) < 3:
            self.log.put(make_served(f"meanwhile-{len(self.commits)}"))
        super().put_decisions(decisions)


def test_what_comes_during_a_commit_shares_the_next_rounds(tmp_path: Path) -> None:
    """Else a busy worker would commit by ones and twos without end: a flush of the disk for each."""
    store = SlowStore(LmdbSettings(path=tmp_path, max_size_bytes=1 << 26), "attempts", 10)
    store.commits = []
    store.log = log = DecisionLog(store, ScoringSettings(), Metrics())
    for n in range(5):
        log.put(make_served(f"p-{n}"))
    begun_s = time.monotonic()
    log.start()
    wait_until(lambda: len(store.commits) == 3)
    assert time.monotonic() - begun_s >= 2 * ROUND_S
    assert log.stop(5) == 0
    assert store.commits == [5, 1, 1]
    assert len(store.decision_log("", 10).decisions) == 7


def test_takers_are_shown_little_at_a_time(tmp_path: Path) -> None:
    """What takes them milliseconds would hold up answers: all comes, in its order, and others have a turn between."""
    store, shown = moody(tmp_path), list[list[str]]()
    store.awake.set()

    def take(batch: Sequence[Served]) -> None:
        shown.append([one.record.purchase.event_id for one in batch])

    log = DecisionLog(store, ScoringSettings(), Metrics(), [take])
    everything = [f"p-{n}" for n in range(2 * SHOWN + 1)]
    for one in everything:
        log.put(make_served(one))
    log.start()
    assert log.stop(5) == 0
    assert shown == [everything[:SHOWN], everything[SHOWN : 2 * SHOWN], everything[2 * SHOWN :]]


def test_what_does_not_fit_is_dropped_and_counted(tmp_path: Path) -> None:
    """The queue holds what its setting says and no more."""
    metrics = Metrics()
    log = DecisionLog(moody(tmp_path), ScoringSettings(decision_queue=3), metrics)
    for n in range(5):
        log.put(make_served(f"p-{n}"))
    assert metrics.registry.get_sample_value("fraud_decision_log_dropped_total") == 2.0
    assert metrics.registry.get_sample_value("fraud_queue_waiting", {"queue": "decision_log"}) == 3.0


def test_what_cannot_be_kept_before_the_end_is_counted(tmp_path: Path) -> None:
    """A store that sleeps through the shutdown loses decisions, and the counter says how many."""
    metrics = Metrics()
    log = DecisionLog(moody(tmp_path), ScoringSettings(), metrics)
    log.start()
    log.put(make_served("p-1"))
    assert log.stop(5) == 1
    assert metrics.registry.get_sample_value("fraud_decision_log_failed_total") == 1.0
