"""The tail of a log: the entries that were exported last, by which the next export knows the log again.

A log that came out of an older copy of its store goes on otherwise: from some place on other entries stand where
those of the snapshot stood, and its own would never be exported. So what stands there now is compared with what the
snapshot holds, value by value.

What came to the end of its life, or was dropped, stands there no more and proves nothing. Nor does an id that names
nobody: one that was erased, in the log or in the vault, and one whose pseudonym leads nowhere. All else of such an
entry is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from service.core.erasure import is_erased
from service.errors import BadSetting
from service.tail import DECISION_IDS, DECISION_VALUES, DERIVED, EVENT_IDS, EVENT_VALUES, Known, is_same
from service.verified import Held
from training.snapshot.log import Log
from training.snapshot.manifest import Draft, Kind
from training.snapshot.pseudonyms import revealed, without_derived_ids
from training.snapshot.read import SCHEMAS, read_partition
from training.snapshot.schema import ID_COLUMNS
from training.snapshot.vault import Vault


def check_same_log(log: Log, draft: Draft, folder: Path, vault: Vault) -> None:
    """Look whether a log is the one that a draft goes on from, by its last piece.

    Raises BadSetting when it is another, or when the snapshot's files of that piece cannot be read, and
    StoreUnavailable. Cost: one page of the log, and the files that hold the same entries.
    """
    mark = draft.mark(log.kind)
    there = _entries(log, _own_ids(log, log.tail(mark)))
    exported = _entries(log, _shown(_own_ids(log, _exported(log, draft, folder)), vault))
    if log.reaches(mark) and is_same(there, exported):
        return
    raise BadSetting(
        f"the store's log of {log.kind} is not the one that the last snapshot was taken of, as when another store is "
        "named or an older copy was restored: name a new folder for its snapshots with --snapshots"
    )


def held_tail(folder: Path, draft: Draft, kind: Kind) -> Iterator[Held]:
    """Yield the entries of the last piece as the mark of a verified snapshot keeps them; see `service.tail`."""
    values, ids = (EVENT_VALUES, EVENT_IDS) if kind == "events" else (DECISION_VALUES, DECISION_IDS)
    rows = _last_rows(folder, draft, kind, (*values, *ids))
    for row in rows.select(*values, *ids).iter_rows():
        yield Held(values=row[: len(values)], pseudonyms=row[len(values) :])


def _exported(log: Log, draft: Draft, folder: Path) -> pl.DataFrame:
    """Return the rows of the last piece, as partitions hold them."""
    return _last_rows(folder, draft, log.kind, log.known_by)


def _last_rows(folder: Path, draft: Draft, kind: Kind, columns: Sequence[str]) -> pl.DataFrame:
    """Return columns of the rows of the last piece, and their positions."""
    first = draft.rows(kind) - draft.mark(kind).tail_rows
    columns = ("position", *columns)
    files = [
        read_partition(folder, one, columns)
        for one in draft.partitions
        if one.kind == kind and one.last_position >= first
    ]
    none = pl.DataFrame(schema={name: SCHEMAS[kind][name] for name in columns})
    return pl.concat([none, *files]).filter(pl.col("position") >= first).sort("position")


def _own_ids(log: Log, table: pl.DataFrame) -> pl.DataFrame:
    """Return a table without the event ids that follow from its other columns."""
    if "event_id" not in log.known_by:
        return table
    return without_derived_ids(table).with_columns(pl.col("event_id").fill_null(DERIVED))


def _shown(hidden: pl.DataFrame, vault: Vault) -> pl.DataFrame:
    """Return a table with ids for its pseudonyms, null for those that lead nowhere."""
    shown = revealed(hidden, vault)
    return shown.with_columns(
        pl.when((pl.col(name) == "") | (pl.col(name) != hidden.get_column(name))).then(name)
        for name in shown.columns
        if name in ID_COLUMNS
    )


def _entries(log: Log, table: pl.DataFrame) -> Iterator[Known]:
    """Yield the entries of a table, in its order."""
    ids = [name for name in log.known_by if name in ID_COLUMNS]
    values = [name for name in log.known_by if name not in ID_COLUMNS]
    for row, named in zip(table.select(values).iter_rows(), table.select(ids).iter_rows(), strict=True):
        yield Known(row, tuple(None if id_ is None or is_erased(id_) else id_ for id_ in named))
