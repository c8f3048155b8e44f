"""Papers in the embedded store: by folder and name, with a zero byte between them."""

from __future__ import annotations

from itertools import takewhile

from service.store.lmdb_environment import LmdbEnvironment
from service.store.lmdb_tables import Transaction


class LmdbPapers:
    """Keeps papers; see `Papers`."""

    def __init__(self, environment: LmdbEnvironment) -> None:
        """Take the environment."""
        self._environment = environment
        self._tables = environment.tables

    def put(self, folder: str, name: str, content: bytes) -> None:
        """Keep a paper. Raises StoreUnavailable."""
        self._environment.write(
            lambda transaction: transaction.put(_key(folder, name), content, db=self._tables.papers)
        )

    def add(self, folder: str, name: str, content: bytes) -> bytes:
        """Keep a paper unless there is one; return the one that stands there. Raises StoreUnavailable."""

        def work(transaction: Transaction) -> bytes:
            transaction.put(_key(folder, name), content, db=self._tables.papers, overwrite=False)
            there = transaction.get(_key(folder, name), db=self._tables.papers)
            assert there is not None, "it was put, or was there"
            return there

        return self._environment.write(work)

    def get(self, folder: str, name: str) -> bytes | None:
        """Return a paper, None when there is none. Raises StoreUnavailable."""
        return self._environment.read(lambda transaction: transaction.get(_key(folder, name), db=self._tables.papers))

    def names(self, folder: str) -> list[str]:
        """Return the names of the papers of a folder. Raises StoreUnavailable."""
        prefix = _key(folder, "")

        def work(transaction: Transaction) -> list[str]:
            with transaction.cursor(self._tables.papers) as cursor:
                if not cursor.set_range(prefix):
                    return []
                keys = takewhile(lambda key: key.startswith(prefix), cursor.iternext(values=False))
                return [key[len(prefix) :].decode() for key in keys]

        return self._environment.read(work)

    def drop(self, folder: str, name: str) -> None:
        """Let go of a paper, if there is one. Raises StoreUnavailable."""
        self._environment.write(lambda transaction: transaction.delete(_key(folder, name), db=self._tables.papers))


def _key(folder: str, name: str) -> bytes:
    return f"{folder}\0{name}".encode()
