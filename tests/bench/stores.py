"""Stores to measure on: a scratch Aerospike server beside the generator, and profiles of a market in each store."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from service.core.compiled import compile_row
from service.core.event import KINDS, Event
from service.core.features import FEATURES
from service.core.row import row_of
from service.settings import AerospikeSettings, LmdbSettings
from service.store.aerospike import AerospikeStore
from service.store.aerospike_event import LOGGED_BINS
from service.store.aerospike_profile import PROFILE_BINS
from service.store.aerospike_sets import Sets
from service.store.lmdb import LmdbStore
from service.store.protocol import Store
from tests import asd
from tests.bench.handlers import Job
from tests.bench.market import Fill, fill_store, purchase_of

ENTITIES: Final = 500
"""Of each kind, where it is not their number that is measured."""

MAX_PARKED: Final = 1000


@contextmanager
def aerospike_server() -> Iterator[str]:
    """Give host:port of the server that FRAUD_TEST_AEROSPIKE names, else of a scratch one; "" when there is none.

    A scratch server runs on the processor of whoever starts it: see `stand_aside`.
    """
    named = os.environ.get("FRAUD_TEST_AEROSPIKE", "")
    if named or not asd.installed():
        yield named
        return
    with TemporaryDirectory() as folder:
        server = asd.Asd(Path(folder))
        server.start()
        try:
            yield server.host
        finally:
            server.stop()


def small_market(store: Store, fill: Fill) -> list[Event]:
    """Fill a store with `ENTITIES` of each kind, close it, and return a purchase of each of them."""
    with closing(store):
        fill_store(store, dict.fromkeys(KINDS, ENTITIES), fill, dict.fromkeys(KINDS, 0))
    return purchases()


def purchases() -> list[Event]:
    """Return purchases that together meet every entity of a small market once."""
    return [purchase_of(n, n * 7 % ENTITIES, n * 37 % ENTITIES, n * 217 % ENTITIES, n) for n in range(ENTITIES)]


def open_lmdb(path: Path, max_size_bytes: int = 1 << 34) -> LmdbStore:
    """Open an embedded store."""
    return LmdbStore(LmdbSettings(path=path, max_size_bytes=max_size_bytes), "attempts", MAX_PARKED)


def open_aerospike(host: str, set_prefix: str) -> AerospikeStore:
    """Open a clustered store, with time enough for a busy machine."""
    return AerospikeStore(patient(host, set_prefix), "attempts", MAX_PARKED)


def patient(host: str, set_prefix: str) -> AerospikeSettings:
    """Return settings under which no read is given up."""
    return AerospikeSettings(
        hosts=(host,), set_prefix=set_prefix, read_timeout_ms=1000, read_socket_timeout_ms=1000, write_timeout_ms=2000
    )


def job_of(host: str, set_prefix: str, purchase: Event, model: Path) -> Job:
    """Return what the bare handler does for a purchase: the records that its score reads, and its row."""
    sets = Sets(patient(host, set_prefix))
    ids = (purchase.user_id, purchase.seller_id, purchase.item_id, purchase.card_hash)
    keys = [(sets.namespace, name, entity) for name, entity in zip(sets.profile_sets, ids, strict=True)]
    with closing(open_aerospike(host, set_prefix)) as store:
        row = row_of(compile_row([one.formula for one in FEATURES]), purchase, store.read([purchase], 1.0)[0].images)
    return Job([*keys, sets.event(purchase.purchase_id)], [*PROFILE_BINS, *LOGGED_BINS], row, str(model))


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
