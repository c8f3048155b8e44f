"""The parts of the store that everything in it works with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from service.settings import AerospikeSettings
from service.store.aerospike_client import Connect, Connection, Tally
from service.store.aerospike_event import Ledger
from service.store.aerospike_log import Log
from service.store.aerospike_newest import NewestEvent
from service.store.aerospike_parked import Parked
from service.store.aerospike_sets import Sets


class Parts(NamedTuple):
    """One of each, for one store."""

    settings: AerospikeSettings
    tally: Tally
    connection: Connection
    sets: Sets
    ledger: Ledger
    log: Log
    parked: Parked
    newest: NewestEvent


def make_parts(settings: AerospikeSettings, connect: Connect, clock: Callable[[], float]) -> Parts:
    """Connect, and make them. Raises BadSetting for hosts that are none."""
    tally = Tally()
    connection = Connection(settings, tally, connect)
    sets = Sets(settings)
    return Parts(
        settings,
        tally,
        connection,
        sets,
        Ledger(connection, sets, settings, clock, tally),
        Log(connection, sets, "events", sets.event),
        Parked(connection, sets),
        NewestEvent(connection, sets),
    )
