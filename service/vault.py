"""What a folder of snapshots shares between the two halves: its lock, and the vault of pseudonyms.

The offline half fills the vault (`training/snapshot/vault.py`); whoever forgets a person changes it here. A row
says which id a pseudonym stands for; `owner` names the row of a purchase's user, or of an event's purchase. Once it
stands for an erased id, nothing leads from the pseudonym to the person, nor back; and what is exported later about
the same purchase still gets the same pseudonym.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Literal

from service.core.erasure import is_erased
from service.errors import BadSetting

IdKind = Literal["user", "seller", "item", "card", "purchase", "event"]

ID_KINDS: Final[tuple[IdKind, ...]] = ("user", "seller", "item", "card", "purchase", "event")
"""What ids name; the place of each, from 1, is stored. `event` are event ids that a caller made up."""

TABLE: Final = """
CREATE TABLE IF NOT EXISTS pseudonym (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    id TEXT NOT NULL,
    tail BLOB NOT NULL,
    owner INTEGER,
    UNIQUE (kind, id)
)
"""

_OWNER_SINCE: Final = "ALTER TABLE pseudonym ADD COLUMN owner INTEGER"
"""For vaults that an earlier release made."""

_OWNED: Final = """
WITH mine AS (
    SELECT number FROM pseudonym WHERE owner IN (SELECT number FROM pseudonym WHERE kind = ? AND id IN (?, ?))
)
SELECT kind, id FROM pseudonym WHERE number IN mine OR owner IN mine
"""
"""Purchases and events of a user, and events about those purchases."""

_NUMBER_DIGITS: Final = 10
"""Digits of the row's number in a pseudonym, behind the letter of its kind and an underscore."""

_WAIT_S: Final = 60.0
_CACHE_KIB: Final = 1 << 16
_PRIVATE_FILE: Final = 0o600


def vault_path(folder: Path) -> Path:
    """Return where the pseudonyms of a folder are kept."""
    return folder / "vault.sqlite"


@contextmanager
def connected(path: Path, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
    """Connect to a vault, making it when it is opened for writing; what is deleted there is overwritten.

    Raises BadSetting when it cannot be opened, read or written.
    """
    try:
        if writing:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE))
        # A reader may write too, where it can: only then it gets over a writer that died.
        uri = f"{path.resolve().as_uri()}?mode={'rw' if os.access(path, os.W_OK) else 'ro'}"
        with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)) as connection:
            for setting in (f"cache_size = -{_CACHE_KIB}", "temp_store = MEMORY", "secure_delete = ON"):
                connection.execute(f"PRAGMA {setting}")
            if writing:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(TABLE)
                if not any(column[1] == "owner" for column in connection.execute("PRAGMA table_info (pseudonym)")):
                    connection.execute(_OWNER_SINCE)
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise BadSetting(f"vault {path}: {error}") from error


def reveal(connection: sqlite3.Connection, pseudonym: str) -> str | None:
    """Return the id that a pseudonym stands for, None when it leads nowhere. Cost: some 10 µs."""
    number, tail = pseudonym[2 : 2 + _NUMBER_DIGITS], pseudonym[2 + _NUMBER_DIGITS :]
    row = connection.execute("SELECT kind, id, tail FROM pseudonym WHERE number = ?", (int(number, 16),)).fetchone()
    if row is None or f"{ID_KINDS[row[0] - 1][0]}_" != pseudonym[:2] or bytes(row[2]).hex() != tail:
        return None
    return str(row[1])


def forget_person(
    folder: Path, user_id: str, names: Mapping[tuple[IdKind, str], str], erased: Callable[[IdKind, str], str]
) -> int:
    """Let the pseudonyms of a person stand for erased ids, all at once and durably; return how many did.

    `names` gives erased ids for what is known of the person, the user's own among them; `erased` makes those of
    purchases and events that only the vault still knows as the person's. Repeating it is harmless. Cost: one pass
    over the vault, a second for ten million rows. Raises BadSetting when the folder has no vault.
    """
    path = vault_path(folder)
    if not path.is_file():
        raise BadSetting(f"snapshots {folder}: there is no vault of pseudonyms: is it a folder of snapshots?")
    with connected(path, writing=True) as connection:
        connection.execute("BEGIN IMMEDIATE")
        owned = {
            (kind, id_): erased(kind, id_)
            for kind, id_ in _owned(connection, (user_id, names["user", user_id]))
            if not is_erased(id_)
        }
        renamed = sum(_rename(connection, kind, old, new) for (kind, old), new in {**owned, **names}.items())
        connection.execute("COMMIT")
    return renamed


def _owned(connection: sqlite3.Connection, users: Iterable[str]) -> list[tuple[IdKind, str]]:
    """Return what is known as the purchases and events of a user, who may have been renamed already."""
    place = ID_KINDS.index("user") + 1
    return [(ID_KINDS[kind - 1], id_) for kind, id_ in connection.execute(_OWNED, (place, *users)).fetchall()]


def _rename(connection: sqlite3.Connection, kind: IdKind, old: str, new: str) -> int:
    place = ID_KINDS.index(kind) + 1
    # An export between two attempts may have given the id a second pseudonym: that one then stands for nothing.
    taken = connection.execute("SELECT 1 FROM pseudonym WHERE kind = ? AND id = ?", (place, new)).fetchone()
    if taken:
        return connection.execute("DELETE FROM pseudonym WHERE kind = ? AND id = ?", (place, old)).rowcount
    change = "UPDATE pseudonym SET id = ? WHERE kind = ? AND id = ?"
    return connection.execute(change, (new, place, old)).rowcount


@contextmanager
def sole(folders: Iterable[Path]) -> Iterator[None]:
    """Hold the locks of folders of snapshots, so that nobody exports meanwhile; readers need none.

    The kernel lets go of them when the holder dies. Raises BadSetting when another process holds one.
    """
    held: list[int] = []
    try:
        for folder in sorted(folders):
            try:
                held.append(os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE))
                fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadSetting(f"snapshots {folder}: another process is taking or deleting one; try again") from None
            except OSError as error:
                raise BadSetting(f"snapshots {folder}: cannot be written: {error.strerror or error}") from error
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
