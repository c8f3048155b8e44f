"""The newest event time that was applied: where the event clock goes on after a restart."""

from __future__ import annotations

import os
from typing import Final

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Write
from aerospike_helpers.operations import operations

from service.store.aerospike_client import Connection
from service.store.aerospike_profile import TIME
from service.store.aerospike_sets import Sets
from service.store.aerospike_update import max_of

_SHARDS: Final = 8
"""Records that processes are spread over, so that they do not all write the same one."""

_NEWEST: Final = "newest"
_RAISE: Final = max_of(_NEWEST, exp.IntBin(TIME))
_POLICY: Final = {"ttl": aerospike.TTL_NEVER_EXPIRE}


class NewestEvent:
    """Keeps the maximum of all event times; what this process knows to be kept is not written again."""

    def __init__(self, connection: Connection, sets: Sets) -> None:
        """Know nothing yet."""
        self._connection = connection
        self._keys = [sets.meta(f"newest-{shard}") for shard in range(_SHARDS)]
        self._kept_ms = 0

    def read(self) -> int:
        """Return it, 0 for none. Raises StoreUnavailable."""
        found = self._connection.fetch(self._keys, [_NEWEST])
        return max((int(bins.get(_NEWEST, 0)) for bins in found if bins is not None), default=0)

    def writes(self, event_ms: int) -> list[Write]:
        """Return the write that keeps a time, none when it is kept already."""
        if event_ms <= self._kept_ms:
            return []
        key = self._keys[os.getpid() % _SHARDS]
        return [Write(key, [operations.write(TIME, event_ms), _RAISE], policy=_POLICY)]

    def kept(self, event_ms: int) -> None:
        """Learn that a write succeeded."""
        self._kept_ms = max(self._kept_ms, event_ms)
