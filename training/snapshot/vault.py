"""The vault: which pseudonym stands for which id, and nothing else does.

A pseudonym is the kind's letter, then 32 hex digits: the number of its row here (10) and random ones (22).
The row is the key: without it nothing leads from the pseudonym to the id, and nobody who has the id can
find the pseudonym. The number makes a look-up one step; the random digits keep a pseudonym from naming the row
of another vault, or one that took its number in a vault restored from a copy.

One SQLite file that only its owner may read; what is deleted is overwritten. Not thread-safe: each user opens
its own. A reader waits for a writer, who holds it for the ids of one chunk. The file itself is described in
`service.vault`, where a forgotten person's pseudonyms come to stand for nobody.
"""

from __future__ import annotations

import itertools
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from service.vault import ID_KINDS, IdKind, connected, vault_path

_LETTERS: Final = {kind: f"{kind[0]}_" for kind in ID_KINDS}
_NUMBER_BYTES: Final = 5
_TAIL_BYTES: Final = 11


class Vault:
    """Gives pseudonyms for ids, and ids for pseudonyms. Made by `opened`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Look things up through this connection."""
        self._connection = connection
        connection.execute("CREATE TEMP TABLE wanted (wanted)")

    def hide(self, kind: IdKind, ids: pl.Series) -> pl.DataFrame:
        """Return columns `id` and `pseudonym` of distinct ids; those that are new get one.

        New ones are durable when `keep` has returned. Cost: 3 µs for an id that is known, 4 µs for a new one.
        """
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        place = ID_KINDS.index(kind) + 1
        wanted = ids.sort()
        self._want(wanted)
        known = self._found("JOIN pseudonym ON kind = ? AND id = wanted", place)
        new = wanted.filter(~wanted.is_in(known.get_column("id").implode()))
        return pl.concat([known, self._with_rows(place, new)])

    def keep(self) -> None:
        """Make the pseudonyms that were given durable."""
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def reveal(self, pseudonyms: pl.Series) -> pl.DataFrame:
        """Return columns `id` and `pseudonym` of those whose row is still there. Cost: 1 µs for each."""
        self._want(_numbers(pseudonyms).drop_nulls().unique().sort())
        return self._found("JOIN pseudonym ON number = wanted")

    def own(self, owned: pl.Series, owners: pl.Series, *, anew: bool) -> None:
        """Note whose purchases are, and about whose purchases or users events are, as parallel columns of pseudonyms.

        So they can be forgotten with the person when no store knows them any more. What has an owner keeps it unless
        `anew`. Durable when `keep` has returned. Cost: 2 µs for each.
        """
        keeps = "" if anew else " AND owner IS NULL"
        self._connection.executemany(
            f"UPDATE pseudonym SET owner = ? WHERE number = ?{keeps}",  # noqa: S608  ours
            zip(_numbers(owners).to_list(), _numbers(owned).to_list(), strict=True),
        )

    def forget(self, kind: IdKind, id_: str) -> int:
        """Destroy the row of an id: from then on its pseudonym names nobody. Returns how many there were, 0 or 1.

        An id that is exported again later gets another pseudonym.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        deleted = self._connection.execute(
            "DELETE FROM pseudonym WHERE kind = ? AND id = ?", (ID_KINDS.index(kind) + 1, id_)
        ).rowcount
        self._connection.execute("COMMIT")
        return deleted

    def _want(self, values: pl.Series) -> None:
        self._connection.execute("DELETE FROM temp.wanted")
        self._connection.executemany("INSERT INTO temp.wanted VALUES (?)", zip(values.to_list(), strict=True))

    def _found(self, join: str, *values: int) -> pl.DataFrame:
        """Return `id` and `pseudonym` of the rows that are wanted."""
        found = self._connection.execute(f"SELECT id, number, kind, tail FROM temp.wanted {join}", values).fetchall()  # noqa: S608  ours
        ids, numbers, kinds, tails = zip(*found, strict=True) if found else ((), (), (), ())
        return _table(pl.Series(ids, dtype=pl.String), np.array(numbers, np.int64), list(kinds), b"".join(tails))

    def _with_rows(self, place: int, ids: pl.Series) -> pl.DataFrame:
        """Give new ids their rows, numbered after all that ever were; returns `id` and `pseudonym`."""
        last = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'pseudonym'").fetchone()
        first = 1 + (last[0] if last else 0)
        numbers = np.arange(first, first + ids.len())
        tails = secrets.token_bytes(_TAIL_BYTES * ids.len())
        each = (tails[at : at + _TAIL_BYTES] for at in range(0, len(tails), _TAIL_BYTES))
        self._connection.executemany(
            "INSERT INTO pseudonym (number, kind, id, tail) VALUES (?, ?, ?, ?)",
            zip(numbers.tolist(), itertools.repeat(place), ids.to_list(), each, strict=False),
        )
        return _table(ids, numbers, [place] * ids.len(), tails)


@contextmanager
def opened(path: Path, *, writing: bool = False) -> Iterator[Vault]:
    """Open the vault, making it when it is opened for writing; what was not kept is lost.

    Raises BadSetting when it cannot be opened, read or written.
    """
    with connected(path, writing=writing) as connection:
        yield Vault(connection)


def forget(folder: Path, kind: IdKind, id_: str) -> int:
    """Make the pseudonym of an id irreversible in all snapshots of a folder; returns how many rows went, 0 or 1.

    Raises BadSetting when there is no vault.
    """
    with opened(vault_path(folder), writing=True) as vault:
        return vault.forget(kind, id_)


def _numbers(pseudonyms: pl.Series) -> pl.Series:
    """Return the numbers of the rows that pseudonyms name, null for what is no pseudonym."""
    return pseudonyms.str.slice(2, 2 * _NUMBER_BYTES).str.to_integer(base=16, strict=False)


def _table(ids: pl.Series, numbers: npt.NDArray[np.int64], kinds: Sequence[int], tails: bytes) -> pl.DataFrame:
    """Return ids beside their pseudonyms: the letter of the kind, the number in ten hex digits, the tail in 22."""
    head = numbers.astype(">i8").view(np.uint8).reshape(-1, 8)[:, -_NUMBER_BYTES:]
    tokens = np.hstack([head, np.frombuffer(tails, np.uint8).reshape(-1, _TAIL_BYTES)])
    width = pa.binary(_NUMBER_BYTES + _TAIL_BYTES)
    packed = pa.FixedSizeBinaryArray.from_buffers(width, ids.len(), [None, pa.py_buffer(tokens.tobytes())])
    letters = pl.Series(kinds, dtype=pl.UInt8).replace_strict(
        {place: _LETTERS[kind] for place, kind in enumerate(ID_KINDS, 1)}, return_dtype=pl.String
    )
    digits = pl.Series(packed.cast(pa.large_binary())).bin.encode("hex")
    return pl.DataFrame({"id": ids, "pseudonym": letters + digits})
