"""A home for Aerospike tests: sets of nobody else, stores opened on them, and the events of their scenes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import aerospike

from service.core.event import EntityKey, EntityKind, Event, EventKind
from service.settings import AerospikeSettings
from service.store.aerospike import AerospikeStore
from service.store.protocol import Outcome, Store, Submission
from tests import asd
from tests.make import NOW_MS, make_event, make_purchase

USER = EntityKey(EntityKind.USER, "u-1")
HORIZON_S = 900
PATIENCE_S = 30.0

PURCHASE = make_purchase()
CONFIRMED = make_event(EventKind.FRAUD_CONFIRMED, event_time_ms=NOW_MS + 1)
CLEARED = make_event(EventKind.FRAUD_CLEARED, event_time_ms=NOW_MS + 2)
REPORTED = make_event(EventKind.CARD_REPORTED)


def make_settings(host: str, **fields: Any) -> AerospikeSettings:
    """Return settings with time enough for a busy machine."""
    patient = {"read_timeout_ms": 1000, "read_socket_timeout_ms": 500, "min_connections": 1}
    return AerospikeSettings(hosts=(host,), **{**patient, **fields})


class Home:
    """Sets of nobody else on a server, and the stores that were opened on them."""

    def __init__(self, host: str) -> None:
        """Open nothing yet."""
        self.host = host
        self.prefix = f"t{uuid.uuid4().hex[:12]}-"
        self._opened: list[AerospikeStore] = []

    def open(self, connect: Any = aerospike.client, clock: Any = time.time, **fields: Any) -> AerospikeStore:
        """Open the store once more, beside those that are open."""
        settings = make_settings(self.host, set_prefix=self.prefix, **fields)
        store = AerospikeStore(settings, "attempts", 1000, connect=connect, clock=clock)
        self._opened.append(store)
        return store

    def bins(self, key: EntityKey) -> dict[str, Any]:
        """Return everything that the record of a profile holds."""
        name, port = self.host.split(":")
        with closing(aerospike.client({"hosts": [(name, int(port))]})) as client:
            bins: dict[str, Any] = client.get((asd.NAMESPACE, f"{self.prefix}{key.kind.name.lower()}", key.id))[2]
            return bins

    def close(self) -> None:
        """Close everything."""
        for store in self._opened:
            store.close()


def tell(store: Store, *events: Event) -> list[Outcome]:
    """Apply events in one batch."""
    return store.apply([Submission(event) for event in events])


def scene(number: int, events: Sequence[Event]) -> list[Event]:
    """Return the same events about entities of their own: a server has room for four thousand sets, not for more."""
    return [
        make_event(
            event.kind,
            event_time_ms=event.event_time_ms,
            **{
                name: f"{value}-{number}"
                for name in ("user_id", "seller_id", "item_id", "card_hash", "purchase_id")
                if (value := getattr(event, name))
            },
        )
        for event in events
    ]
