"""Papers in Aerospike: a record for each, and their names in a fixed number of records for each folder.

The name is put first: a crash leaves a name without a paper, never a paper that nobody finds.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

import aerospike
from aerospike_helpers.batch.records import Remove, Write
from aerospike_helpers.operations import map_operations, operations

from service.errors import StoreUnavailable
from service.store.aerospike_client import EXISTS, NOT_FOUND, OK, Key, reason_of
from service.store.aerospike_parts import Parts
from service.store.aerospike_update import KEY_ORDERED

SHARDS: Final = 64
"""Records of the names of a folder; each holds some 20,000. Never changed."""

_CONTENT: Final = "p"
_NAMES: Final = "m"
_FOR_EVER: Final = {"ttl": aerospike.TTL_NEVER_EXPIRE}


class AerospikePapers:
    """Keeps papers; see `Papers`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._connection = parts.connection
        self._sets = parts.sets

    def put(self, folder: str, name: str, content: bytes) -> None:
        """Keep a paper. Raises StoreUnavailable. Cost: two requests."""
        self._note(folder, name)
        self._connection.put([Write(self._key(folder, name), [operations.write(_CONTENT, content)], policy=_FOR_EVER)])

    def add(self, folder: str, name: str, content: bytes) -> bytes:
        """Keep a paper unless there is one; return the one that stands there. Raises StoreUnavailable."""
        self._note(folder, name)
        policy = {**_FOR_EVER, "exists": aerospike.POLICY_EXISTS_CREATE}
        [answer] = self._connection.put(
            [Write(self._key(folder, name), [operations.write(_CONTENT, content)], policy=policy)]
        )
        there = self.get(folder, name) if answer.code == EXISTS else content
        return content if there is None else there

    def get(self, folder: str, name: str) -> bytes | None:
        """Return a paper, None when there is none. Raises StoreUnavailable."""
        [bins] = self._connection.fetch([self._key(folder, name)], [_CONTENT])
        return None if bins is None else bytes(bins[_CONTENT])

    def names(self, folder: str) -> list[str]:
        """Return the names of the papers of a folder. Raises StoreUnavailable."""
        found = self._connection.fetch([self._names_key(folder, shard) for shard in range(SHARDS)], [_NAMES])
        return sorted(name for bins in found if bins is not None for name in bins.get(_NAMES, {}))

    def drop(self, folder: str, name: str) -> None:
        """Let go of a paper, if there is one. Raises StoreUnavailable."""
        for step in (
            Write(
                self._key(folder, name),
                [operations.write(_CONTENT, b"")],
                # What a cluster that keeps records on disk may bring back after a restart is then empty.
                policy={**_FOR_EVER, "exists": aerospike.POLICY_EXISTS_UPDATE},
            ),
            Remove(self._key(folder, name)),
            Write(
                self._names_key(folder, _shard(name)),
                [map_operations.map_remove_by_key(_NAMES, name, aerospike.MAP_RETURN_NONE)],
                policy=_FOR_EVER,
            ),
        ):
            [answer] = self._connection.submit([step])
            if answer.code not in (OK, NOT_FOUND):
                raise StoreUnavailable(reason_of(answer.code))

    def _note(self, folder: str, name: str) -> None:
        put_name = map_operations.map_put(_NAMES, name, 0, KEY_ORDERED)
        self._connection.put([Write(self._names_key(folder, _shard(name)), [put_name], policy=_FOR_EVER)])

    def _key(self, folder: str, name: str) -> Key:
        return self._sets.meta(f"paper-{folder}-{name}")

    def _names_key(self, folder: str, shard: int) -> Key:
        return self._sets.meta(f"papers-{folder}-{shard}")


def _shard(name: str) -> int:
    return crc32(name.encode()) % SHARDS
