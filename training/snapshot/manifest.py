"""The manifest of a snapshot: which partitions it consists of, where in the store's log it ends.

It lists all of its partitions, its parent's among them: a snapshot is read, verified and kept without its
parent, and shares with it what both list. Times are milliseconds since the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import groupby
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from service.core.profile import Habits
from service.registry.manifest import Count, Part, Sha256

ID_PATTERN: Final = r"s[0-9]{6,9}"

Kind = Literal["events", "decisions"]

KINDS: Final[tuple[Kind, ...]] = ("events", "decisions")


class Partition(Part):
    """One immutable file: the rows of one day out of one chunk of the log.

    A chunk is what was read in one go; its rows are spread over a file for each day (UTC) and stand in
    order of position in each. Days are those of ingest for events, those of the decision for decisions.
    """

    kind: Kind
    chunk: Count
    """Number of the chunk in the lineage, for its kind; chunks follow one another in the log."""
    day: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    path: Annotated[str, Field(pattern=r"^partitions/(events|decisions)/[0-9-]{10}/[0-9a-z-]+\.parquet$")]
    """Relative to the folder of snapshots."""
    rows: Annotated[int, Field(ge=1)]
    bytes: Annotated[int, Field(ge=1)]
    sha256: Sha256
    first_position: Count
    last_position: Count


class LogMark(Part):
    """How far a log was read, and where what was read last stands, so that another log is told apart.

    `tail_cursor` is where the last piece began that gave entries, `tail_rows` how many it gave; an export compares
    them with the last rows that the snapshot holds (`training.snapshot.tail`), and so does retention
    (`service.tail`). `gone` counts the places of the log that gave nothing: their entries had
    come to the end of their life, or were given up, before they were exported.
    """

    cursor: str = ""
    tail_cursor: str = ""
    tail_rows: Count = 0
    event_time_ms: int = 0
    ingest_time_ms: int = 0
    gone: Count = 0


class Draft(Part):
    """What an export has written so far: the checkpoint of one that goes on, and the body of the manifest."""

    format: Literal[1] = 1
    id: Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
    parent: str | None = None
    events: LogMark = LogMark()
    decisions: LogMark = LogMark()
    rows_events: Count = 0
    rows_decisions: Count = 0
    newest_ingest_ms: int = 0
    """Of all events; 0 for none."""
    partitions: tuple[Partition, ...] = ()
    """In the order in which they were written: within a kind by chunk, then by day."""
    layouts: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The names, in order, of the rows of its decisions, by row layout."""

    def rows(self, kind: Kind) -> int:
        """Return how many rows of a kind there are, which is the position of the next."""
        return self.rows_events if kind == "events" else self.rows_decisions

    def mark(self, kind: Kind) -> LogMark:
        """Return how far the log of a kind was read."""
        return self.events if kind == "events" else self.decisions


class SnapshotManifest(Draft):
    """Everything about a snapshot; it exists from the moment at which this has its name."""

    created_at: AwareDatetime
    habits: Habits
    """What the store made habits of when the snapshot was taken."""
    currency: str
    content_sha256: Sha256
    """Of the hashes of its partitions: names what it holds, whatever the snapshot is called."""
    notes: str = ""

    def bytes(self) -> int:
        """Return the size of all of its partitions."""
        return sum(partition.bytes for partition in self.partitions)

    def chunks(self, kind: Kind) -> list[list[Partition]]:
        """Return the partitions of a kind, chunk by chunk in the order of the log."""
        mine = sorted((one for one in self.partitions if one.kind == kind), key=_place)
        return [list(group) for _, group in groupby(mine, key=lambda partition: partition.chunk)]


def content_hash(partitions: Iterable[Partition]) -> str:
    """Return the hash that names the content of these partitions, 64 hex digits."""
    whole = hashlib.sha256(b"snapshot 1\n")
    for one in sorted(partitions, key=lambda partition: (partition.kind, *_place(partition))):
        whole.update(f"{one.kind} {one.chunk} {one.day} {one.rows} {one.sha256}\n".encode())
    return whole.hexdigest()


def _place(partition: Partition) -> tuple[int, str]:
    return partition.chunk, partition.day
