"""The tail of a log: the entries that were exported last, by which the next export knows the log again.

A log that came out of an older copy of its store goes on otherwise: from some place on other entries stand where
those of the snapshot stood, and its own would never be exported. So what stands there now is compared with what the
snapshot holds, value by value.

What came to the end of its life, or was dropped, stands there no more and proves nothing. Nor does an id that names
nobody: one that was erased, in the log or in the vault, and one whose pseudonym leads nowhere. All else of such an
entry is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from service.core.erasure import is_erased
from service.errors import BadSetting
from training.snapshot.log import Log
from training.snapshot.manifest import Draft
from training.snapshot.pseudonyms import revealed, without_derived_ids
from training.snapshot.read import read_partition
from training.snapshot.schema import ID_COLUMNS
from training.snapshot.vault import Vault

_DERIVED: Final = ""
"""Stands for an event id that follows from the other columns."""


class _Known(NamedTuple):
    """An entry as it is known again: its values, and its ids, None for one that names nobody."""

    values: tuple[object, ...]
    ids: tuple[str | None, ...]

    def may_be(self, other: _Known) -> bool:
        """Tell whether nothing speaks against it that the two are the same entry."""
        pairs = zip(self.ids, other.ids, strict=True)
        return self.values == other.values and all(one == two for one, two in pairs if None not in (one, two))


def check_same_log(log: Log, draft: Draft, folder: Path, vault: Vault) -> None:
    """Look whether a log is the one that a draft goes on from, by its last piece.

    Raises BadSetting when it is another, or when the snapshot's files of that piece cannot be read, and
    StoreUnavailable. Cost: one page of the log, and the files that hold the same entries.
    """
    mark = draft.mark(log.kind)
    there = _entries(log, _own_ids(log, log.tail(mark)))
    exported = _entries(log, _shown(_own_ids(log, _exported(log, draft, folder)), vault))
    # Each is looked for behind the one before it: some may be missing, and the order is the same.
    if log.reaches(mark) and all(any(entry.may_be(one) for one in exported) for entry in there):
        return
    raise BadSetting(
        f"the store's log of {log.kind} is not the one that the last snapshot was taken of, as when another store is "
        "named or an older copy was restored: name a new folder for its snapshots with --snapshots"
    )


def _exported(log: Log, draft: Draft, folder: Path) -> pl.DataFrame:
    """Return the rows of the last piece, as partitions hold them."""
    first = draft.rows(log.kind) - draft.mark(log.kind).tail_rows
    columns = ("position", *log.known_by)
    files = [
        read_partition(folder, one, columns)
        for one in draft.partitions
        if one.kind == log.kind and one.last_position >= first
    ]
    rows = pl.concat([log.table([], 0).select(columns), *files])
    return rows.filter(pl.col("position") >= first).sort("position")


def _own_ids(log: Log, table: pl.DataFrame) -> pl.DataFrame:
    """Return a table without the event ids that follow from its other columns."""
    if "event_id" not in log.known_by:
        return table
    return without_derived_ids(table).with_columns(pl.col("event_id").fill_null(_DERIVED))


def _shown(hidden: pl.DataFrame, vault: Vault) -> pl.DataFrame:
    """Return a table with ids for its pseudonyms, null for those that lead nowhere."""
    shown = revealed(hidden, vault)
    return shown.with_columns(
        pl.when((pl.col(name) == "") | (pl.col(name) != hidden.get_column(name))).then(name)
        for name in shown.columns
        if name in ID_COLUMNS
    )


def _entries(log: Log, table: pl.DataFrame) -> Iterator[_Known]:
    """Yield the entries of a table, in its order."""
    ids = [name for name in log.known_by if name in ID_COLUMNS]
    values = [name for name in log.known_by if name not in ID_COLUMNS]
    for row, named in zip(table.select(values).iter_rows(), table.select(ids).iter_rows(), strict=True):
        yield _Known(row, tuple(None if id_ is None or is_erased(id_) else id_ for id_ in named))
