"""Reading a snapshot: its events and decisions in the order of the store's log, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from service.errors import BadSetting
from service.vault import vault_path
from training.snapshot.folder import read_manifest
from training.snapshot.manifest import Kind, Partition, SnapshotManifest
from training.snapshot.pseudonyms import DERIVED_FROM, revealed, with_derived_ids
from training.snapshot.schema import ADDED, DECISION_SCHEMA, EVENT_SCHEMA, ID_COLUMNS, Schema
from training.snapshot.vault import Vault, opened

PIECE_ROWS: Final = 1 << 17
"""Rows of one piece, at most."""

SCHEMAS: Final[Mapping[Kind, Schema]] = {"events": EVENT_SCHEMA, "decisions": DECISION_SCHEMA}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot to read: a plain value that may be sent to other processes.

    With `reveal` ids are shown where the folder has the keys (and the person's key still exists); everywhere
    else pseudonyms stand for them, the same one for the same id in all snapshots of a folder.
    """

    folder: Path
    manifest: SnapshotManifest
    reveal: bool = True

    def events(self, columns: Sequence[str] = tuple(EVENT_SCHEMA)) -> Iterator[pl.DataFrame]:
        """Yield these columns of `EVENT_SCHEMA` in pieces of up to `PIECE_ROWS` rows, in the order of the log.

        Holds one chunk of the log in memory (a quarter of a million rows). Raises BadSetting when a file is missing
        or is not what it was; `verify` says whether all are as they were written.
        """
        return self._pieces("events", columns)

    def decisions(self, columns: Sequence[str] = tuple(DECISION_SCHEMA)) -> Iterator[pl.DataFrame]:
        """Yield these columns of `DECISION_SCHEMA`, in the order of the decision log, as `events` does."""
        return self._pieces("decisions", columns)

    def has_keys(self) -> bool:
        """Tell whether ids are shown."""
        return self.reveal and vault_path(self.folder).is_file()

    def _pieces(self, kind: Kind, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        unknown = sorted(set(columns) - SCHEMAS[kind].keys())
        if unknown:
            raise BadSetting(f"snapshot {self.manifest.id}: its {kind} have no column {unknown[0]}")
        shows_ids = self.has_keys() and not ID_COLUMNS.isdisjoint(columns)
        with opened(vault_path(self.folder)) if shows_ids else nullcontext() as vault:
            for partitions in self.manifest.chunks(kind):
                chunk = self._chunk(partitions, columns)
                for piece in chunk.iter_slices(PIECE_ROWS):
                    yield _shown(piece, columns, vault)

    def _chunk(self, partitions: Sequence[Partition], columns: Sequence[str]) -> pl.DataFrame:
        """Return what was read of the log in one go, in its order."""
        derived = DERIVED_FROM if "event_id" in columns else ()
        needed = list(dict.fromkeys(("position", *columns, *derived)))
        files = [read_partition(self.folder, partition, needed) for partition in partitions]
        return files[0] if len(files) == 1 else pl.concat(files).sort("position")


def open_snapshot(folder: Path, id_: str, *, reveal: bool = True) -> Snapshot:
    """Return a snapshot by its id, "latest" for the newest. Raises BadSetting when there is none."""
    return Snapshot(folder, read_manifest(folder, id_), reveal)


def read_partition(folder: Path, partition: Partition, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return columns of one file, all as they stand there for None; those that it is too old to have are filled in.

    Raises BadSetting when it is not what the manifest says.
    """
    path = folder / partition.path
    try:
        lacking = set() if columns is None else _lacking(path, columns)
        there = None if columns is None else [name for name in columns if name not in lacking]
        frame = pl.read_parquet(path, columns=there)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = "cannot be read as Parquet" if path.exists() else "is not there"
        raise BadSetting(f"snapshot partition {path}: {reason}") from error
    if frame.height != partition.rows:
        raise BadSetting(f"snapshot partition {path}: has {frame.height} rows, not {partition.rows}")
    if lacking and columns is not None:
        filled = [pl.lit(ADDED[name], DECISION_SCHEMA[name]).alias(name) for name in sorted(lacking)]
        frame = frame.with_columns(filled).select(columns)
    return frame


def _lacking(path: Path, columns: Sequence[str]) -> set[str]:
    """Return the columns that the file of an earlier release has not. Cost: the footer, when one may be lacking."""
    newer = ADDED.keys() & set(columns)
    return newer - pl.read_parquet_schema(path).keys() if newer else set()


def _shown(piece: pl.DataFrame, columns: Sequence[str], vault: Vault | None) -> pl.DataFrame:
    if vault is not None:
        piece = revealed(piece, vault)
    if "event_id" in columns:
        piece = with_derived_ids(piece)
    return piece.select(columns)
