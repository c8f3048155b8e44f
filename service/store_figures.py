"""The figures of a store as metrics: `fraud_store_` and their names, read off the store whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from service.store.protocol import Store


class StoreFigures(Collector):
    """Collects what a store tells of itself; nothing once that is closed."""

    def __init__(self, store: Store) -> None:
        """Take the store."""
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Give a family for each figure."""
        for figure in self._store.figures():
            family = CounterMetricFamily if figure.grows else GaugeMetricFamily
            yield family(f"fraud_store_{figure.name}", figure.text, value=figure.value)
