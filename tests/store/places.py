"""Places where a store can be opened, from any process: the tests and the writers that they kill."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from service.core.profile import Habits
from service.settings import AerospikeSettings, LmdbSettings
from service.store.protocol import Store

TEST_SIZE_BYTES = 1 << 30


class Place(NamedTuple):
    """A store of nobody else: a directory, or a prefix of set names on a server."""

    kind: Literal["lmdb", "aerospike"]
    where: str
    """The directory, or host:port."""
    set_prefix: str = ""

    def open(self, *, habits: Habits = "attempts", max_parked: int = 1000, write_timeout_ms: int = 250) -> Store:
        """Open the store; LMDB only once at a time in one process."""
        if self.kind == "lmdb":
            from service.store.lmdb import LmdbStore  # noqa: PLC0415 - a writer loads only the store that it uses

            return LmdbStore(LmdbSettings(path=Path(self.where), max_size_bytes=TEST_SIZE_BYTES), habits, max_parked)
        from service.store.aerospike import AerospikeStore  # noqa: PLC0415 - as above

        settings = AerospikeSettings(
            hosts=(self.where,),
            set_prefix=self.set_prefix,
            # A busy test machine must not turn a slow read into an unreadable one; faults are injected on purpose.
            read_timeout_ms=1000,
            read_socket_timeout_ms=500,
            write_timeout_ms=write_timeout_ms,
        )
        return AerospikeStore(settings, habits, max_parked)
