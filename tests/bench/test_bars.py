"""How measurements are held against the bars, and what the peer is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from service.core.event import KINDS
from service.core.features import FEATURES
from tests.bench import bars, feast
from tests.bench.feast_peer import FeastJob
from tests.bench.figures import Ratio
from tests.bench.handlers import Job
from tests.bench.load import Load
from tests.bench.stores import ENTITIES, purchases


def loads(**calls_per_s: float) -> bars.Loads:
    """Return one round in which servers answered so many calls."""
    names = {"empty": bars.EMPTY, "lmdb": bars.ON_LMDB, "aerospike": bars.ON_AEROSPIKE}
    names |= {f"bare{threads}": name for threads, name in bars.BARE.items()}
    return {names[name]: [Load(100.0, figure)] for name, figure in calls_per_s.items()}


def test_a_score_on_aerospike_stands_against_the_best_bare_handler() -> None:
    """More threads make a bare handler better or worse; the service is held against its best."""
    found = bars.ratios(loads(empty=1000, lmdb=800, bare4=300, bare8=400, bare16=350, aerospike=300))
    assert found == {bars.LMDB_BAR: Ratio(0.8, 0.8, 0.8), bars.AEROSPIKE_BAR: Ratio(0.75, 0.75, 0.75)}


def test_without_aerospike_the_embedded_store_is_measured_alone() -> None:
    """A machine without the server has one bar."""
    assert list(bars.ratios(loads(empty=1000, lmdb=500))) == [bars.LMDB_BAR]


def sampled(cpu_us: float, p99_ms: float) -> feast.Sample:
    """Return what a server showed in a round."""
    return feast.Sample(cpu_us, 1e6 / cpu_us, p99_ms / 2, p99_ms)


PEERS = {"feast, 1 threads": [sampled(1600, 4.0)] * 3, "feast, 4 threads": [sampled(1500, 6.0)] * 3}


def test_each_figure_is_held_against_the_peer_at_its_best() -> None:
    """One number of threads is best for throughput, another for the tail."""
    found = feast.ratios({feast.EMPTY: [sampled(100, 1.0)] * 3, feast.OURS: [sampled(300, 1.5)] * 3, **PEERS})
    medians = {bar.what: round(figure.median, 3) for bar, figure in found.items()}
    assert list(medians.values()) == [0.2, 5.0, 0.375]


def test_rounds_in_which_the_machine_stalled_tell_nothing_of_tails() -> None:
    """Where an empty handler is late, nobody's latencies count; what CPU says still does."""
    empty = [sampled(100, 1.0), sampled(100, 80.0), sampled(100, 1.0)]
    ours = [sampled(300, 1.5), sampled(300, 90.0), sampled(300, 1.6)]
    samples = {feast.EMPTY: empty, feast.OURS: ours, **PEERS}
    assert feast.quiet(samples) == [0, 2]
    assert feast.ratios(samples)[feast.TAIL_BAR].most == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("p99_ms", "empty_ms", "code"), [(1.0, 1.0, 0), (3.0, 1.0, feast.FAILED), (9.0, 9.0, feast.VOID)]
)
def test_the_exit_code_says_what_became_of_the_bars(p99_ms: float, empty_ms: float, code: int) -> None:
    """All hold, one fails, or nothing can be said."""
    samples = {feast.EMPTY: [sampled(100, empty_ms)] * 3, feast.OURS: [sampled(300, p99_ms)] * 3, **PEERS}
    assert feast.report(samples, Console(quiet=True)) == code


def test_the_views_of_the_peer_hold_every_feature_once() -> None:
    """No feature is left out and none is read twice."""
    held = [name for names in feast.views().values() for name in names]
    assert sorted(held) == sorted(one.name for one in FEATURES)


def test_every_entity_is_met_once() -> None:
    """So that the values of an entity are those of one row."""
    scored = purchases()
    for field in ("user_id", "seller_id", "item_id", "card_hash"):
        assert len({getattr(one, field) for one in scored}) == ENTITIES == len(scored)


def test_jobs_come_back_as_they_were_written(tmp_path: Path) -> None:
    """What other processes are to do survives its file, to the last bit of a number."""
    job = Job([("profiles", "user", "u-1")], ["rev"], [0.1, 1 / 3], "model.txt")
    assert Job.read(job.write(tmp_path / "job")) == job
    kinds = {kind.name.lower(): ["one"] for kind in KINDS}
    peers = FeastJob("repo", "host:1", "profiles", "model.txt", ["one"], kinds, {"user": {"u-1": [1 / 3]}})
    assert FeastJob.read(peers.write(tmp_path / "peers")) == peers
