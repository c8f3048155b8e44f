"""Parts of the entities, replayed alone, and the rows that come of what they read.

Stage 0 (`training.replay.scatter_stream`, `training.replay.scatter_snapshot`) leaves operations by part, and what the
purchases of the rows say themselves. Stage 1 replays each part, one row of state at a time, and leaves what its
reads gave, block of rows by block of rows. Stage 2 collects, for each block, the readings of all parts and
evaluates the formulas. Every task may run on a machine of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from service.core.event import KINDS, EntityKind
from service.core.features import Feature
from service.core.formula import Reading, readings
from service.core.profile import Habits
from training.data.events import Progress
from training.replay.cluster import Cluster
from training.replay.kernel import READ_ALONE, Integers, Reals, compile_program, run_by_entity
from training.replay.order import Flags
from training.replay.scatter import EntityOperations, gathered, operation_files
from training.replay.stream import BLOCK_ROWS, Bought, Rows, amounts_of, empty_matrix, evaluate, matrix_path

_FACTS: Final = 1 + len(Bought._fields)
_FACTS_NAME: Final = "facts"
_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4")


class EntityRows(NamedTuple):
    """Rows in their order, and which of them can be believed.

    A row is not `sound` when the source lacks an update that a profile had seen when it was read.
    """

    rows: Rows
    sound: Flags


@dataclass(frozen=True, slots=True)
class Job:
    """One replay: what every task is told.

    `folder` is seen by all workers and holds what the stages leave for each other. The matrix becomes a file
    of `scratch`, which they see too; None = it is wanted in memory. `by_revision` tells that `when` counts
    revisions, so that missing ones are noticed.
    """

    folder: Path
    features: tuple[Feature, ...]
    habits: Habits
    parts: int
    rows: int
    scratch: Path | None
    by_revision: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """A task: replay the entities of one kind and part."""

    job: Job
    kind: EntityKind
    part: int


@dataclass(frozen=True, slots=True)
class _Block:
    """A task: build the rows of one block."""

    job: Job
    number: int


def write_facts(folder: Path, first_row: int, positions: Integers, bought: Bought) -> None:
    """Note what the purchases of rows say themselves; a stage 0 writes it for all rows."""
    path = folder / _FACTS_NAME
    path.touch()  # may be there already, and tasks write side by side
    with path.open("r+b") as file:
        file.seek(first_row * _FACTS * 8)
        file.write(np.column_stack([positions, *bought]).astype(np.int64).tobytes())


def rows_by_entity(job: Job, cluster: Cluster, progress: Progress) -> EntityRows:
    """Replay what was scattered into the folder of a job, and return the rows.

    Cost: some 600 bytes on disk for each row while it runs, besides the matrix; about 4 µs for each event.
    """
    parts = [_Part(job, kind, part) for kind in KINDS for part in range(job.parts)]
    blocks = [_Block(job, number) for number in range(-(-job.rows // BLOCK_ROWS))]
    total = len(parts) + len(blocks)
    (job.folder / _FACTS_NAME).touch()
    for done, part in enumerate(cluster.map(_replay_part, parts), 1):
        progress("replaying", done, total)
        for path in operation_files(job.folder, part.kind, part.part):
            path.unlink()
    matrix = empty_matrix(job.rows, len(job.features), _matrix_folder(job))
    sound = [np.ones(0, np.bool_)]
    for done, one in enumerate(cluster.map(_build_block, blocks), 1 + len(parts)):
        progress("replaying", done, total)
        sound.append(one)
    positions = _facts(job, 0, job.rows)[:, 0].copy()
    rows = Rows(positions, np.array(matrix) if job.scratch is None else matrix)
    return EntityRows(rows, np.concatenate(sound))


def _matrix_folder(job: Job) -> Path:
    return job.folder if job.scratch is None else job.scratch


# --- stage 1: the profiles of a part ---------------------------------------------------------------


def _replay_part(task: _Part) -> _Part:
    """Replay the entities of a part, and leave what the rows read, in a batch for each block of rows."""
    job = task.job
    program = compile_program(task.kind, _needed(job), job.habits)
    operations = gathered(job.folder, task.kind, task.part)
    reading = np.flatnonzero(operations.row >= 0)
    reading = reading[np.argsort(operations.row[reading], kind="stable")]
    place = np.full(operations.row.size, -1)
    place[reading] = np.arange(reading.size)
    read = np.full((reading.size, len(program.readings)), np.nan)
    ids = {**operations.others, task.kind: operations.entity}
    run_by_entity(
        operations.entity,
        place,
        operations.action,
        operations.time_ms,
        operations.ingest_time_ms,
        amounts_of(operations.amount, operations.quantity, ids),
        program.steps,
        program.begins,
        program.reads,
        np.zeros(program.width, np.int64),
        read,
    )
    sound = _whole(operations)[reading] if job.by_revision else np.ones(reading.size, np.bool_)
    _write_readings(task, operations.row[reading], sound, read)
    return task


def _whole(operations: EntityOperations) -> Flags:
    """Tell which operations find all updates before them that their revision counts."""
    updates = (operations.action != READ_ALONE).astype(np.int64)
    before = np.cumsum(updates) - updates
    entity = operations.entity
    first = np.flatnonzero(np.append(True, entity[1:] != entity[:-1])[: entity.size])
    before -= np.repeat(before[first], np.diff(np.append(first, entity.size)))
    whole: Flags = before == (operations.when - 1) // 2
    return whole


def _write_readings(task: _Part, rows: Integers, sound: Flags, read: Reals) -> None:
    names = ["row", "sound", *map(str, range(read.shape[1]))]
    types = [pa.int64(), pa.bool_(), *[pa.float64()] * read.shape[1]]
    schema = pa.schema(list(zip(names, types, strict=True)))
    ends = np.searchsorted(rows, np.arange(0, task.job.rows + BLOCK_ROWS, BLOCK_ROWS))
    with pa.ipc.new_file(_readings_path(task), schema, options=_OPTIONS) as writer:
        for begin, end in pairwise(ends.tolist()):
            block = np.ascontiguousarray(read[begin:end].T)
            columns = [pa.array(rows[begin:end]), pa.array(sound[begin:end]), *map(pa.array, block)]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _readings_path(task: _Part) -> Path:
    return task.job.folder / f"readings-{task.kind.name.lower()}-{task.part:05}.arrow"


def _needed(job: Job) -> list[Reading]:
    return readings([feature.formula for feature in job.features])


# --- stage 2: the rows of a block ------------------------------------------------------------------


def _build_block(task: _Block) -> Flags:
    """Collect what all parts read for a block of rows, evaluate the formulas, and tell which rows are sound."""
    job = task.job
    begin = task.number * BLOCK_ROWS
    facts = _facts(job, begin, min(begin + BLOCK_ROWS, job.rows))
    columns: dict[Reading, Reals] = {}
    sound = np.ones(len(facts), np.bool_)
    for kind in KINDS:
        wanted = compile_program(kind, _needed(job), job.habits).readings
        read = np.full((len(wanted), len(facts)), np.nan)
        for part in range(job.parts):
            with pa.memory_map(str(_readings_path(_Part(job, kind, part)))) as file, pa.ipc.open_file(file) as reader:
                batch = reader.get_batch(task.number)
                rows = batch.column(0).to_numpy() - begin
                sound[rows] &= batch.column(1).to_numpy(zero_copy_only=False)
                for at in range(len(wanted)):
                    read[at, rows] = batch.column(2 + at).to_numpy()
        columns |= zip(wanted, read, strict=True)
    formulas = [feature.formula for feature in job.features]
    matrix = np.load(matrix_path(_matrix_folder(job)), mmap_mode="r+")
    matrix[begin : begin + len(facts)] = evaluate(formulas, Bought(*facts[:, 1:].T), columns)
    matrix.flush()
    return sound


def _facts(job: Job, begin: int, end: int) -> Integers:
    with (job.folder / _FACTS_NAME).open("rb") as file:
        file.seek(begin * _FACTS * 8)
        return np.frombuffer(file.read((end - begin) * _FACTS * 8), np.int64).reshape(-1, _FACTS)
