"""Who waits for which purchase: `{event id: purchase id}`, spread over a fixed number of records by purchase.

A race with the purchase is won by whoever looks last: a follow-up is put here and then looks for its
purchase once more; a purchase is stored and then looks here. One of them sees the other. What a crash leaves
in between is found by the sweep, which goes through these records in turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from zlib import crc32

import aerospike
from aerospike_helpers.batch.records import Read, Write
from aerospike_helpers.operations import map_operations

from service.errors import StoreUnavailable
from service.store.aerospike_client import NOT_FOUND, OK, Answer, Connection, Key, reason_of
from service.store.aerospike_sets import Sets
from service.store.aerospike_update import KEY_ORDERED

SHARDS: Final = 64
"""Records; with 100,000 that wait each holds about 100 KiB. Never changed: a purchase looks in one of them."""

_WAITING: Final = "m"
_POLICY: Final = {"ttl": aerospike.TTL_NEVER_EXPIRE}


class Parked:
    """The ids of parked events, by the purchase that they wait for."""

    def __init__(self, connection: Connection, sets: Sets) -> None:
        """Keep no state: other processes park too."""
        self._connection = connection
        self._sets = sets

    def sizes(self) -> list[int]:
        """Return how many events wait in each of the records. Raises StoreUnavailable. Cost: one request."""
        size = [map_operations.map_size(_WAITING)]
        answers = self._connection.submit([Read(self._key(shard), size) for shard in range(SHARDS)])
        for answer in answers:
            if answer.code not in (OK, NOT_FOUND):
                raise StoreUnavailable(reason_of(answer.code))
        return [answer.bins.get(_WAITING) or 0 for answer in answers]

    def add(self, waiting: Mapping[str, str]) -> list[Answer]:
        """Let events wait, each for the purchase that it names; once, however often they are added."""
        return self._connection.submit(
            [
                Write(
                    self._key(_shard(purchase_id)),
                    [map_operations.map_put(_WAITING, event_id, purchase_id, KEY_ORDERED)],
                    policy=_POLICY,
                )
                for event_id, purchase_id in waiting.items()
            ]
        )

    def remove(self, waited: Mapping[str, str]) -> None:
        """Forget events that are settled; those that the store does not take out now, the sweep finds."""
        self._connection.submit(
            [
                Write(
                    self._key(_shard(purchase_id)),
                    [map_operations.map_remove_by_key(_WAITING, event_id, aerospike.MAP_RETURN_NONE)],
                    policy=_POLICY,
                )
                for event_id, purchase_id in waited.items()
            ]
        )

    def waiting_for(self, purchase_id: str) -> Read:
        """Return the read whose answer `ids_in` turns into the events that wait for a purchase."""
        by_purchase = map_operations.map_get_by_value(_WAITING, purchase_id, aerospike.MAP_RETURN_KEY)
        return Read(self._key(_shard(purchase_id)), [by_purchase])

    def waiting_in(self, shard: int) -> dict[str, str]:
        """Return everything in one of the records. Raises StoreUnavailable."""
        [found] = self._connection.fetch([self._key(shard)], [_WAITING])
        return {} if found is None else dict(found.get(_WAITING, {}))

    def _key(self, shard: int) -> Key:
        return self._sets.meta(f"parked-{shard}")


def ids_in(answer: Answer) -> list[str]:
    """Return the ids that an answer to `waiting_for` names."""
    return answer.bins.get(_WAITING) or []


def _shard(purchase_id: str) -> int:
    return crc32(purchase_id.encode()) % SHARDS
