"""Scattering a stream of events, which take effect in the order in which they stand.

One task reads the stream from its beginning to its end, for a follow-up acts where its purchase is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.core.event import KINDS, EntityKind
from service.core.profile import Habits
from training.replay.kernel import Integers
from training.replay.order import EventSource, Operations, Orderer, index
from training.replay.parts import write_facts
from training.replay.scatter import MET_KINDS, EntityOperations, Scatter, hashed_ids
from training.replay.stream import ID_COLUMNS, Bought


@dataclass(frozen=True, slots=True)
class StreamTask:
    """Scatter a whole stream into `parts` parts in a folder."""

    folder: Path
    source: EventSource
    habits: Habits
    parts: int


def scatter_stream(task: StreamTask) -> int:
    """Write the operations of a stream and the facts of its rows; returns how many rows there are.

    `when` of an operation is its number. Memory as that of `training.replay.order`. Cost: some 3 µs for each event.
    """
    orderer = Orderer(index(task.source, task.habits), task.habits, absent=np.int64(0))
    acted = rows = 0
    with Scatter(task.folder, 0, task.parts) as scatter:
        for frame in task.source((*Orderer.COLUMNS, *ID_COLUMNS)):
            ids = np.column_stack([hashed_ids(frame[column]) for column in ID_COLUMNS])
            operations = orderer.operations(frame, ids)
            when = acted + np.arange(operations.action.size)
            row = np.where(operations.row < 0, -1, operations.row + rows)
            for kind in KINDS:
                scatter.add(kind, _of_kind(operations, kind, when, row))
            at = operations.row >= 0
            bought = Bought(operations.time_ms[at], operations.amount[at], operations.quantity[at])
            write_facts(task.folder, rows, operations.positions, bought)
            acted += when.size
            rows += operations.positions.size
    return rows


def _of_kind(operations: Operations, kind: EntityKind, when: Integers, row: Integers) -> EntityOperations:
    by_kind = dict(zip(KINDS, operations.entities.T, strict=True))
    named = np.flatnonzero(by_kind[kind])
    return EntityOperations(
        entity=by_kind[kind][named],
        when=when[named],
        row=row[named],
        action=operations.action[named],
        time_ms=operations.time_ms[named],
        ingest_time_ms=operations.ingest_time_ms[named],
        amount=operations.amount[named],
        quantity=operations.quantity[named],
        others={other: by_kind[other][named] for other in MET_KINDS[kind]},
    )
