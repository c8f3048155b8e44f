"""Replay by entity: every profile by itself, its updates in the order of the revisions that they got.

In a store the log order of two events may differ from the order in which they changed a profile, and differ
from one of their profiles to the other: no order of the events is right for all. So operations are scattered to
parts of the entities, and each part is replayed alone. All of it are tasks, which run in threads of this process
or on a Dask cluster; rows are the same everywhere, and the same as those of `training.replay.stream` where events
took effect in the order of a stream.

`when` of an operation from a snapshot is 2r for the update that made revision r, which the row of that same
event reads before it acts, and 2r + 1 for a read of revision r alone: 1 is a read of an entity that is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from service.core.features import Feature
from service.core.profile import Habits
from training.data.events import Progress, silent
from training.replay.cluster import Cluster
from training.replay.order import EventSource
from training.replay.parts import EntityRows, Job, rows_by_entity
from training.replay.scatter_snapshot import (
    DecisionsTask,
    EventsTask,
    purchases_in,
    scatter_decisions,
    scatter_events,
    sections,
    write_named,
)
from training.replay.scatter_stream import StreamTask, scatter_stream
from training.snapshot.read import Snapshot

PART_EVENTS: Final = 1 << 18
"""Events for each part of the entities, about; a part is held in memory at once, some 250 bytes an operation."""

LEAST_PARTS: Final = 4

MOST_PARTS: Final = 100
"""Writers hold a file for each part and kind open at once, and a process may usually open a thousand."""


class Spread(NamedTuple):
    """How a replay is spread: where tasks run, into how many parts entities are divided, where files go.

    `parts` 0 lets the number of events decide. With `scratch`, a folder that every worker sees, the matrix is a
    file there; without, it is in memory, and what the stages leave for each other lies where temporary files go.
    """

    cluster: Cluster
    parts: int = 0
    scratch: Path | None = None

    @property
    def matrix_folder(self) -> Path | None:
        """Return where the matrix goes, whatever folder a worker was started in."""
        return None if self.scratch is None else self.scratch.absolute()


def parts_for(events: int) -> int:
    """Return how many parts a source of so many events is divided into."""
    return min(LEAST_PARTS + events // PART_EVENTS, MOST_PARTS)


def replay_stream_by_entity(
    source: EventSource,
    features: Sequence[Feature],
    habits: Habits,
    spread: Spread,
    progress: Progress = silent,
) -> EntityRows:
    """Return the rows of all purchases of a stream: those that `training.replay.stream.replay_all` gives, bit for bit.

    The stream is scattered by one task, which takes a third of the time.
    """
    cluster, parts = spread.cluster, spread.parts or LEAST_PARTS
    with _shared_folder(spread) as folder:
        progress("scattering", 0, 1)
        (rows,) = cluster.map(scatter_stream, [StreamTask(folder, source, habits, parts)])
        progress("scattering", 1, 1)
        job = Job(folder, tuple(features), habits, parts, rows, spread.matrix_folder, by_revision=False)
        return rows_by_entity(job, cluster, progress)


def replay_snapshot(
    snapshot: Snapshot,
    features: Sequence[Feature],
    spread: Spread,
    progress: Progress = silent,
) -> EntityRows:
    """Return the rows of all purchases of a snapshot, in the order of its log, as of right before their own updates.

    Habits are those of the store. Raises BadSetting when the snapshot cannot be read.
    """
    cluster = spread.cluster
    snapshot = replace(snapshot, folder=snapshot.folder.absolute())
    parts = spread.parts or parts_for(snapshot.manifest.rows_events)
    pieces = sections(snapshot)
    with _shared_folder(spread) as folder:
        write_named(folder, snapshot)
        tasks = []
        rows = 0
        for writer, (piece, count) in enumerate(zip(pieces, cluster.map(purchases_in, pieces), strict=True)):
            tasks.append(EventsTask(folder, piece, writer, parts, rows))
            rows += count
        _scatter(tasks, cluster, progress)
        job = Job(
            folder, tuple(features), snapshot.manifest.habits, parts, rows, spread.matrix_folder, by_revision=True
        )
        return rows_by_entity(job, cluster, progress)


def replay_decisions(
    snapshot: Snapshot,
    features: Sequence[Feature],
    spread: Spread,
    position: int = 0,
    progress: Progress = silent,
) -> EntityRows:
    """Return the rows of the decisions from `position` on, in the order of their log, from the revisions they read."""
    cluster = spread.cluster
    snapshot = replace(snapshot, folder=snapshot.folder.absolute())
    parts = spread.parts or parts_for(snapshot.manifest.rows_events)
    pieces = sections(snapshot)
    with _shared_folder(spread) as folder:
        write_named(folder, snapshot)
        tasks = [EventsTask(folder, piece, writer, parts, None) for writer, piece in enumerate(pieces)]
        _scatter(tasks, cluster, progress)
        (rows,) = cluster.map(scatter_decisions, [DecisionsTask(folder, snapshot, len(pieces), parts, position)])
        job = Job(
            folder, tuple(features), snapshot.manifest.habits, parts, rows, spread.matrix_folder, by_revision=True
        )
        return rows_by_entity(job, cluster, progress)


def _scatter(tasks: Sequence[EventsTask], cluster: Cluster, progress: Progress) -> None:
    progress("scattering", 0, len(tasks))
    for done, _ in enumerate(cluster.map(scatter_events, tasks), 1):
        progress("scattering", done, len(tasks))


@contextmanager
def _shared_folder(spread: Spread) -> Iterator[Path]:
    """Give a folder for what the stages leave for each other: in `scratch`, or where temporary files go."""
    with TemporaryDirectory(prefix="replay-", dir=spread.matrix_folder) as name:
        yield Path(name)
