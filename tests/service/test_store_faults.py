"""A store that is slow, stalled, gone, started late, full or locked: answers come, say what they lack, and heal."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from service.app import App
from service.client import FraudClient
from service.pb import fraud_pb2 as pb
from service.settings import Settings
from tests import asd
from tests.broken import Cluster
from tests.running import wait_until
from tests.service.bad import purchase
from tests.service.conftest import serving, settings_in
from tests.store.oracle import assert_whole

_NUMBERS: Final = itertools.count()

READS: Final = "fraud_store_reads_skipped_total", {"cause": "breaker"}
OPENED: Final = "fraud_store_breaker_opened_total", {"what": "read"}
NOT_WAITED: Final = "fraud_store_breaker_opened_total", {"what": "record"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a server behind a proxy."""
    if not asd.installed():
        pytest.skip("put the Aerospike server `asd` on the PATH to run this on Aerospike")
    made = Cluster(tmp_path_factory.mktemp("asd"))
    yield made
    made.stop()


def on(cluster: Cluster, folder: Path) -> Settings:
    """Return settings of a service on a cluster, in sets of its own and with a write that is soon given up."""
    aerospike = {"hosts": (cluster.host,), "set_prefix": f"f{next(_NUMBERS)}-", "write_timeout_ms": 100}
    return settings_in(folder, store={"kind": "aerospike", "aerospike": aerospike, "sweep_every_s": 1})


@contextmanager
def asked(settings: Settings) -> Iterator[tuple[App, FraudClient]]:
    """Run a service and connect to it."""
    with serving(settings) as app, FraudClient(f"127.0.0.1:{app.server.port}", score_deadline_ms=5000) as client:
        yield app, client


def fresh(letter: str = "p") -> pb.Purchase:
    """Return a purchase that nobody has seen."""
    return purchase(purchase_id=f"{letter}-{next(_NUMBERS)}", event_time_ms=0)


def told(app: App, metric: tuple[str, dict[str, str]]) -> float:
    """Return a metric."""
    return app.metrics.registry.get_sample_value(*metric) or 0.0


def whole(client: FraudClient) -> bool:
    """Tell whether a score was made of everything that it asks for."""
    return not client.score(fresh()).degraded


def faults(cluster: Cluster) -> dict[str, Callable[[], AbstractContextManager[object]]]:
    """Return the ways to make a cluster unreadable."""
    return {
        "slow": lambda: cluster.proxy.delayed(200),
        "stalled": cluster.server.stalled,
        "gone": cluster.proxy.gone,
        "stopped": cluster.restarted,
    }


@pytest.mark.parametrize("name", ["slow", "stalled", "gone", "stopped"])
def test_scores_go_on_without_the_store_and_heal(cluster: Cluster, tmp_path: Path, name: str) -> None:
    """Every score is answered and flagged while it lasts, most without asking the store; then all are whole again."""
    with asked(on(cluster, tmp_path)) as (app, client):
        assert whole(client)
        with faults(cluster)[name]():
            answers = [client.score(fresh()) for _ in range(60)]
            assert [one.degraded for one in answers[-40:]] == [True] * 40
            assert {one.cause for one in answers[-1].missing} == {pb.UNREADABLE}
            assert answers[-1].decision != pb.APPROVE
            assert told(app, OPENED) >= 1
            assert told(app, READS) >= 20
        wait_until(lambda: all(whole(client) for _ in range(20)))


def test_a_read_that_was_not_sent_stands_in_the_record(cluster: Cluster, tmp_path: Path) -> None:
    """The decision that is kept says that the read was given up."""
    with asked(on(cluster, tmp_path)) as (app, client):
        last = fresh()
        with cluster.proxy.gone():
            for _ in range(20):
                client.score(fresh())
            client.score(last)
        wait_until(lambda: app.store.decisions(last.purchase_id) != [], 30.0)
        (kept,) = app.store.decisions(last.purchase_id)
        assert kept.degraded
        assert "read" in kept.given_up


def test_answers_cease_to_wait_for_durability(cluster: Cluster, tmp_path: Path) -> None:
    """While nothing becomes durable, `record=true` answers `recorded=false` without waiting; recorded again, once."""
    with asked(on(cluster, tmp_path)) as (app, client):
        bought = [fresh("b") for _ in range(40)]
        with cluster.server.stalled():
            answers = [client.score(one, record=True) for one in bought]
            assert not any(one.recorded for one in answers)
            assert told(app, NOT_WAITED) == 1
        wait_until(lambda: kept(client, [pb.Event(purchase=one) for one in bought]))
        wait_until(lambda: client.score(fresh("b"), record=True).recorded)
        wait_until(lambda: app.store.sweep(0.0).waiting == 0)
        ids = [one.event.event_id for one in assert_whole(app.store)]
        assert {one.purchase_id for one in bought} <= set(ids)


def kept(client: FraudClient, events: list[pb.Event]) -> bool:
    """Record events; tell whether all of them are durable."""
    return {one.status for one in client.record(events)} <= {pb.APPLIED, pb.DUPLICATE, pb.LATE}


def test_cut_connections_lose_and_double_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """With its connections cut again and again under writers, each event that was acknowledged is there once."""
    events = [pb.Event(purchase=fresh("c")) for _ in range(200)]
    with asked(on(cluster, tmp_path)) as (app, client):

        def write(mine: list[pb.Event]) -> None:
            for event in mine:
                while not kept(client, [event]):
                    pass

        writers = [threading.Thread(target=write, args=(events[at::4],)) for at in range(4)]
        with cluster.cut():
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
        wait_until(lambda: app.store.sweep(0.0).waiting == 0)
        log = assert_whole(app.store)
        assert sorted(one.event.event_id for one in log) == sorted(one.purchase.purchase_id for one in events)


def test_a_service_starts_without_its_store(cluster: Cluster, tmp_path: Path) -> None:
    """Started while the store is down it answers, flagged as degraded, and is whole once the store is there."""
    with cluster.restarted():
        running = asked(on(cluster, tmp_path))
        _, client = running.__enter__()
        assert client.score(fresh()).degraded
    try:
        wait_until(lambda: whole(client))
        wait_until(lambda: client.score(fresh("b"), record=True).recorded)
    finally:
        running.__exit__(None, None, None)


def test_a_full_namespace_stops_no_score(cluster: Cluster, tmp_path: Path) -> None:
    """Scores are whole, none says that it was recorded, and what was refused is taken when there is room again."""
    cluster.prepare()
    with asked(on(cluster, tmp_path)) as (app, client):
        assert client.score(fresh("b"), record=True).recorded
        bought = fresh("b")
        with cluster.full():
            wait_until(lambda: not client.score(fresh("x"), record=True).recorded)
            assert not client.score(bought, record=True).recorded
            assert whole(client)
            (outcome,) = client.record([pb.Event(purchase=fresh("b"))])
            assert outcome.status == pb.RETRY
            assert outcome.reason
        wait_until(lambda: kept(client, [pb.Event(purchase=bought)]))
        wait_until(lambda: app.store.sweep(0.0).waiting == 0)
        assert bought.purchase_id in {one.event.event_id for one in assert_whole(app.store)}


def test_scores_do_not_wait_for_the_lock_of_writers(tmp_path: Path) -> None:
    """While another process holds the embedded store's lock, scores are whole and say `recorded=false`."""
    with asked(settings_in(tmp_path, server={"record_budget_ms": 100})) as (_, client):
        assert client.score(fresh("b"), record=True).recorded
        with locked(tmp_path / "store"):
            answers = [client.score(fresh("b"), record=True) for _ in range(20)]
        assert not any(one.degraded or one.recorded for one in answers)
        wait_until(lambda: client.score(fresh("b"), record=True).recorded)


_HOLD: Final = """
import lmdb, sys
with lmdb.open(sys.argv[1], max_dbs=64, map_size=1 << 28).begin(write=True) as transaction:
    print("held", flush=True)
    sys.stdin.read()
    transaction.abort()
"""


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the lock of writers, in another process."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.stdin.close()
            holder.wait()
