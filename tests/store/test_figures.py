"""What a store tells of itself: figures that a scrape may ask for at any time."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from service.settings import LmdbSettings
from service.store.lmdb import LmdbStore
from service.store_figures import StoreFigures
from tests.make import make_purchase
from tests.store.conftest import Bench
from tests.store.home import tell

OF_LMDB = {"max_size_bytes", "size_bytes", "readers", "max_readers", "full"}
OF_AEROSPIKE = {
    *("nodes", "connections_used", "connections_idle", "connections_opened_total", "connections_closed_total"),
    *("timeouts_total", "errors_total", "retries_total", "helped_total", "quarantined_total"),
    *("parking_refused_total", "unreadable_total"),
}


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """Return what a scrape sees, by name without the prefix."""
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {sample.name.removeprefix("fraud_store_"): sample.value for sample in samples}


def test_figures_are_metrics_until_it_is_closed(bench: Bench) -> None:
    """Every store tells what it has in use; once closed it tells nothing, and nothing breaks."""
    store = bench.open()
    registry = CollectorRegistry()
    registry.register(StoreFigures(store))
    tell(store, make_purchase())
    told = scraped(registry)
    assert set(told) == (OF_LMDB if bench.place.kind == "lmdb" else OF_AEROSPIKE)
    if bench.place.kind == "aerospike":
        assert told["nodes"] == 1
        assert told["connections_opened_total"] > 0
    else:
        assert 0 < told["size_bytes"] < told["max_size_bytes"]
    store.close()
    assert scraped(registry) == {}


def test_a_full_store_says_so(tmp_path: Path) -> None:
    """The figure is 1 from a write that found no room on."""
    store = LmdbStore(LmdbSettings(path=tmp_path, max_size_bytes=1 << 18), "attempts", 100)
    figures = {figure.name: figure.value for figure in store.figures()}
    assert figures["full"] == 0
    for number in range(60):
        tell(store, *(make_purchase(f"p-{number}-{n}", user_id=f"u-{number}-{n}") for n in range(20)))
    figures = {figure.name: figure.value for figure in store.figures()}
    assert figures["full"] == 1
    store.close()
