"""Taking a snapshot: what the store's log holds after the last one, as new partitions beside its own.

Decisions are read first and events after them, so that the events hold every revision that a decision read
(but for what was still being applied: on Aerospike the log ends there, for this time).

A chunk's ids get their pseudonyms, which are made durable; then its files are written and synced; then the
checkpoint that lists them replaces the one before. An export that was interrupted goes on there, and removes
what was written after it. The snapshot exists from the moment at which its manifest has its name.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from service.core.profile import Habits
from service.pace import Pace
from service.registry.files import sync_directory
from service.store.protocol import Store
from service.vault import vault_path
from training.data.events import Progress
from training.snapshot.folder import (
    LATEST,
    drop_checkpoint,
    next_id,
    private_folder,
    read_checkpoint,
    read_manifest,
    remove_unlisted,
    snapshots,
    sole_export,
    write_checkpoint,
    write_manifest,
    write_private,
)
from training.snapshot.log import CHUNK_DECISIONS, CHUNK_EVENTS, Chunk, Log, decision_log, event_log, place_of
from training.snapshot.manifest import Draft, Kind, Partition, SnapshotManifest, content_hash
from training.snapshot.pseudonyms import hidden
from training.snapshot.tail import check_same_log
from training.snapshot.vault import Vault, opened

MAX_EVENTS_PER_S: Final = 20_000


class ExportOptions(NamedTuple):
    """How a snapshot is taken: what the service's settings say of the data, and how fast the log is read.

    `max_events_per_s` bounds events and decisions alike; 0 = as fast as it goes. The chunks are what is held
    in memory and written together.
    """

    habits: Habits
    currency: str
    max_events_per_s: int = MAX_EVENTS_PER_S
    notes: str = ""
    chunk_events: int = CHUNK_EVENTS
    chunk_decisions: int = CHUNK_DECISIONS


class Taken(NamedTuple):
    """What an export did; `made` is False when nothing was new, and then the manifest is the last one's."""

    manifest: SnapshotManifest
    made: bool
    events: int
    decisions: int
    new_bytes: int


def take_snapshot(store: Store, folder: Path, options: ExportOptions, now: datetime, progress: Progress) -> Taken:
    """Take a snapshot into a folder, going on where the last one ended or where an export was interrupted.

    Holds one chunk of the log in memory. Goes as far as each log went when its turn came. Raises BadSetting
    when the folder cannot be used, belongs to another store or is in use, StoreUnavailable when the store does
    not answer; running it again goes on.
    """
    pace = Pace(options.max_events_per_s)
    with sole_export(folder):
        parent = read_manifest(folder, LATEST) if snapshots(folder) else None
        draft = _resumed(folder, parent)
        remove_unlisted(folder)
        logs = (decision_log(store, options.chunk_decisions), event_log(store, options.chunk_events))
        with opened(vault_path(folder), writing=True) as vault:
            for log in logs:
                check_same_log(log, draft, folder, vault)
            export = _Export(folder, vault, store.row_layout)
            for log in logs:
                draft = export.follow(log, draft, pace, progress)
        if parent is not None and draft.partitions == parent.partitions:
            drop_checkpoint(folder)
            return Taken(parent, made=False, events=0, decisions=0, new_bytes=0)
        manifest = SnapshotManifest(
            **dict(draft),
            created_at=now,
            habits=options.habits,
            currency=options.currency,
            content_sha256=content_hash(draft.partitions),
            notes=options.notes,
        )
        write_manifest(folder, manifest)
        drop_checkpoint(folder)
    return _taken(manifest, parent)


def _resumed(folder: Path, parent: SnapshotManifest | None) -> Draft:
    """Return the draft to go on from: that of an interrupted export of the same parent, else the parent's."""
    id_, parent_id = next_id(folder), parent.id if parent else None
    checkpoint = read_checkpoint(folder)
    if checkpoint is not None and (checkpoint.id, checkpoint.parent) == (id_, parent_id):
        return checkpoint
    drop_checkpoint(folder)
    if parent is None:
        return Draft(id=id_)
    inherited = {name: value for name, value in dict(parent).items() if name in Draft.model_fields}
    return Draft(**{**inherited, "id": id_, "parent": parent_id})


def _taken(manifest: SnapshotManifest, parent: SnapshotManifest | None) -> Taken:
    shared = set(parent.partitions) if parent else set()
    new = [partition for partition in manifest.partitions if partition not in shared]
    rows = {kind: sum(one.rows for one in new if one.kind == kind) for kind in ("events", "decisions")}
    return Taken(manifest, True, rows["events"], rows["decisions"], sum(one.bytes for one in new))


class _Export(NamedTuple):
    """Where partitions go, who gives pseudonyms, and where the names of a row layout come from."""

    folder: Path
    vault: Vault
    row_layout: Callable[[str], tuple[str, ...]]

    def follow(self, log: Log, draft: Draft, pace: Pace, progress: Progress) -> Draft:
        """Write what a log holds after the draft's mark, chunk by chunk; returns the draft with it."""
        mark, done = draft.mark(log.kind), draft.rows(log.kind)
        end = log.end(mark)
        total = done + end - place_of(mark.cursor)
        ended = False
        while not ended:
            chunk = log.chunk(
                draft.mark(log.kind),
                draft.rows(log.kind),
                end,
                pace,
                lambda rows: progress(f"exporting {log.kind}", rows, total),
            )
            draft = self._with(draft, log, chunk)
            if chunk.table.height:
                write_checkpoint(self.folder, draft)
            ended = chunk.ended
        return draft

    def _with(self, draft: Draft, log: Log, chunk: Chunk) -> Draft:
        """Write the files of a chunk; returns the draft that lists them."""
        last = max((one.chunk for one in draft.partitions if one.kind == log.kind), default=0)
        table = hidden(chunk.table, self.vault)
        self.vault.keep()
        partitions = tuple(self._written(draft.id, log, last + 1, table))
        changes = {
            log.kind: chunk.mark,
            f"rows_{log.kind}": draft.rows(log.kind) + table.height,
            "partitions": draft.partitions + partitions,
        }
        if log.kind == "events" and table.height:
            newest_ms = int(table.get_column("ingest_time_ms").to_numpy().max())
            changes["newest_ingest_ms"] = max(draft.newest_ingest_ms, newest_ms)
        if log.kind == "decisions":
            changes["layouts"] = draft.layouts | self._new_layouts(draft, table)
        return draft.model_copy(update=changes)

    def _written(self, id_: str, log: Log, number: int, table: pl.DataFrame) -> Iterator[Partition]:
        day = pl.from_epoch(log.day_column, time_unit="ms").dt.strftime("%Y-%m-%d").alias("day")
        days = table.with_columns(day).partition_by("day", include_key=False, as_dict=True)
        for (name,), rows in sorted(days.items()):
            yield self._write(log.kind, str(name), f"{id_}-{number:06d}.parquet", number, rows)
        for (name,) in days:
            sync_directory(self.folder / "partitions" / log.kind / str(name))
        sync_directory(self.folder / "partitions" / log.kind)

    def _write(self, kind: Kind, day: str, name: str, number: int, rows: pl.DataFrame) -> Partition:
        path = Path("partitions", kind, day, name)
        buffer = io.BytesIO()
        rows.write_parquet(buffer, compression="zstd", statistics=False)
        content = buffer.getvalue()
        private_folder((self.folder / path).parent)
        write_private(self.folder / path, content)
        positions = rows.get_column("position")
        return Partition(
            kind=kind,
            chunk=number,
            day=day,
            path=path.as_posix(),
            rows=rows.height,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            first_position=positions.item(0),
            last_position=positions.item(-1),
        )

    def _new_layouts(self, draft: Draft, table: pl.DataFrame) -> dict[str, tuple[str, ...]]:
        """Return the names of the rows of layouts that the draft does not name yet."""
        layouts = set(table.get_column("row_layout").unique().to_list()) - {"", *draft.layouts}
        return {layout: names for layout in sorted(layouts) if (names := self.row_layout(layout))}
