"""Scattering a snapshot: its events with the revisions that they got, and the reads of its decisions.

A follow-up holds the entities that it touched; its amounts come from its purchase, and a clearance counts at
the time of the confirmation that it takes back. Both are looked up in tables that are made once and that all
tasks map into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.event import FOLLOW_UPS, KINDS, EventKind
from training.data.hashes import Hashes, hashes
from training.replay.kernel import READ_ALONE, Integers, action_of
from training.replay.order import Flags
from training.replay.parts import write_facts
from training.replay.scatter import MET_KINDS, EntityOperations, Scatter, hashed_ids
from training.replay.stream import Bought
from training.snapshot.manifest import Partition
from training.snapshot.read import Snapshot
from training.snapshot.schema import ENTITY_COLUMNS, REVISION_COLUMNS

TASK_ROWS: Final = 1 << 19
"""Rows of the log that one task reads, at least; chunks of the log stay whole."""

_FOLLOWS: Final = [int(kind) for kind in FOLLOW_UPS]


@dataclass(frozen=True, slots=True)
class EventsTask:
    """Scatter some chunks of the log of events; with `first_row`, its purchases are rows from that number on."""

    folder: Path
    snapshot: Snapshot
    writer: int
    parts: int
    first_row: int | None


@dataclass(frozen=True, slots=True)
class DecisionsTask:
    """Scatter the reads of the decisions from `position` on, which are rows from 0 on."""

    folder: Path
    snapshot: Snapshot
    writer: int
    parts: int
    position: int


class Named(NamedTuple):
    """What follow-ups need, by the hash of their purchase's id, in order: 20 bytes for each purchase that one names.

    `amount` is -1 where the purchase itself is not there. `confirmed_ms` is by `confirmed`: when a fraud is said to
    have happened.
    """

    purchase: Hashes
    amount: Integers
    quantity: npt.NDArray[np.uint32]
    confirmed: Hashes
    confirmed_ms: Integers


def sections(snapshot: Snapshot) -> list[Snapshot]:
    """Divide the events of a snapshot into snapshots of some chunks each, in order."""
    found: list[Snapshot] = []
    chosen: list[Partition] = []
    rows = 0
    for chunk in snapshot.manifest.chunks("events"):
        chosen += chunk
        rows += sum(partition.rows for partition in chunk)
        if rows >= TASK_ROWS:
            found.append(_only(snapshot, chosen))
            chosen, rows = [], 0
    return [*found, _only(snapshot, chosen)] if chosen else found


def _only(snapshot: Snapshot, partitions: Sequence[Partition]) -> Snapshot:
    return replace(snapshot, manifest=snapshot.manifest.model_copy(update={"partitions": tuple(partitions)}))


def write_named(folder: Path, snapshot: Snapshot) -> None:
    """Look through the events twice, and leave in the folder what follow-ups need."""
    hidden = replace(snapshot, reveal=False)  # purchases are told apart by their pseudonyms as well as by their ids
    named = [np.zeros(0, np.uint64)]
    for frame in hidden.events(("kind", "purchase_id", *REVISION_COLUMNS)):
        follows = frame.filter(pl.col("kind").is_in(_FOLLOWS) & (pl.max_horizontal(REVISION_COLUMNS) > 0))
        named.append(np.unique(hashes(follows["purchase_id"])))
    purchase = np.unique(np.concatenate(named))
    del named
    amount, quantity = np.full(purchase.size, -1), np.zeros(purchase.size, np.uint32)
    confirmations = []
    for frame in hidden.events(("kind", "purchase_id", "amount_minor", "quantity", "event_time_ms")):
        bought = frame.filter(pl.col("kind") == int(EventKind.PURCHASE))
        at, known = _found(purchase, bought["purchase_id"])
        amount[at] = bought["amount_minor"].to_numpy()[known]
        quantity[at] = bought["quantity"].to_numpy()[known]
        confirmations.append(frame.filter(pl.col("kind") == int(EventKind.FRAUD_CONFIRMED)))
    confirmed = pl.concat(confirmations) if confirmations else None
    hashed = np.zeros(0, np.uint64) if confirmed is None else hashes(confirmed["purchase_id"])
    moments = np.zeros(0, np.int64) if confirmed is None else confirmed["event_time_ms"].to_numpy()
    order = np.argsort(hashed)
    for name, column in Named(purchase, amount, quantity, hashed[order], moments[order])._asdict().items():
        np.save(folder / f"named-{name}.npy", column)


def _named(folder: Path) -> Named:
    return Named(*(np.load(folder / f"named-{name}.npy", mmap_mode="r") for name in Named._fields))


def _found(known: Hashes, ids: pl.Series) -> tuple[npt.NDArray[np.intp], Flags]:
    """Return the places, among the known, of those ids that are known, and which ids are."""
    hashed = hashes(ids)
    if not known.size:
        return np.zeros(0, np.intp), np.zeros(hashed.size, np.bool_)
    at = np.searchsorted(known, hashed).clip(max=known.size - 1)
    hit: Flags = known[at] == hashed
    return at[hit], hit


def purchases_in(snapshot: Snapshot) -> int:
    """Return how many purchases a snapshot holds."""
    return sum(int((frame["kind"] == int(EventKind.PURCHASE)).sum()) for frame in snapshot.events(("kind",)))


_OWN_COLUMNS: Final = (
    "position",
    "kind",
    "event_time_ms",
    "ingest_time_ms",
    "purchase_id",
    "amount_minor",
    "quantity",
    "settlement",
    *REVISION_COLUMNS,
)


def scatter_events(task: EventsTask) -> None:
    """Write the updates of some events, and the facts of their purchases when those are rows."""
    named = _named(task.folder)
    row = task.first_row
    hidden = replace(task.snapshot, reveal=False)
    pieces = zip(hidden.events(_OWN_COLUMNS), task.snapshot.events(ENTITY_COLUMNS), strict=True)
    with Scatter(task.folder, task.writer, task.parts) as scatter:
        for frame, entities in pieces:
            updates = _updates_of(frame, named)
            if row is not None:
                bought = np.flatnonzero((frame["kind"] == int(EventKind.PURCHASE)).to_numpy())
                updates.row[bought] = row + np.arange(bought.size)
                facts = Bought(updates.time_ms[bought], updates.amount[bought], updates.quantity[bought])
                write_facts(task.folder, row, frame["position"].to_numpy()[bought], facts)
                row += bought.size
            _scatter_kinds(scatter, updates, frame, entities, reads=False)


def scatter_decisions(task: DecisionsTask) -> int:
    """Write what decisions read, and the facts of their purchases; returns how many there are."""
    row = 0
    columns = ("position", "event_time_ms", "ingest_time_ms", "amount_minor", "quantity", *REVISION_COLUMNS)
    hidden = replace(task.snapshot, reveal=False)
    pieces = zip(hidden.decisions(columns), task.snapshot.decisions(ENTITY_COLUMNS), strict=True)
    with Scatter(task.folder, task.writer, task.parts) as scatter:
        for whole, all_entities in pieces:
            chosen = whole["position"] >= task.position
            frame, entities = whole.filter(chosen), all_entities.filter(chosen)
            reads = _Updates(
                np.ones(frame.height, np.bool_),
                row + np.arange(frame.height),
                np.full(frame.height, READ_ALONE, np.uint8),
                frame["event_time_ms"].to_numpy(),
                frame["ingest_time_ms"].to_numpy(),
                frame["amount_minor"].to_numpy(),
                frame["quantity"].to_numpy().astype(np.int64),
            )
            facts = Bought(reads.time_ms, reads.amount, reads.quantity)
            write_facts(task.folder, row, frame["position"].to_numpy(), facts)
            _scatter_kinds(scatter, reads, frame, entities, reads=True)
            row += frame.height
    return row


class _Updates(NamedTuple):
    """What events do, whatever the entity, as columns; those that are not `known` are left out."""

    known: Flags
    row: Integers
    action: npt.NDArray[np.uint8]
    time_ms: Integers
    ingest_time_ms: Integers
    amount: Integers
    quantity: Integers


def _updates_of(frame: pl.DataFrame, named: Named) -> _Updates:
    """Return what events do. A follow-up whose purchase, or whose confirmation, is not there is not known."""
    kind = frame["kind"].to_numpy()
    time_ms = frame["event_time_ms"].to_numpy(writable=True)
    amount = frame["amount_minor"].to_numpy(writable=True)
    quantity = frame["quantity"].to_numpy().astype(np.int64)
    known = np.ones(kind.size, np.bool_)
    follows = np.flatnonzero(np.isin(kind, _FOLLOWS))
    at, hit = _found(named.purchase, frame["purchase_id"][follows])
    amount[follows[hit]], quantity[follows[hit]] = named.amount[at], named.quantity[at]
    known[follows[~hit]] = False
    known[follows[hit]] = named.amount[at] >= 0
    clears = np.flatnonzero(kind == EventKind.FRAUD_CLEARED)
    at, hit = _found(named.confirmed, frame["purchase_id"][clears])
    time_ms[clears[hit]] = named.confirmed_ms[at]
    known[clears[~hit]] = False
    return _Updates(
        known,
        np.full(kind.size, -1),
        action_of(kind, frame["settlement"].to_numpy()),
        time_ms,
        frame["ingest_time_ms"].to_numpy(),
        amount,
        quantity,
    )


def _scatter_kinds(
    scatter: Scatter, updates: _Updates, frame: pl.DataFrame, entities: pl.DataFrame, *, reads: bool
) -> None:
    """Write what happens to the entities of each kind, by the revisions that the frame holds."""
    ids = {kind: hashed_ids(entities[column]) for kind, column in zip(KINDS, ENTITY_COLUMNS, strict=True)}
    for kind, column in zip(KINDS, REVISION_COLUMNS, strict=True):
        revision = frame[column].fill_null(-1).to_numpy()
        at = np.flatnonzero(updates.known & (revision >= (0 if reads else 1)))
        operations = EntityOperations(
            entity=ids[kind][at],
            when=2 * revision[at] + int(reads),
            row=updates.row[at],
            action=updates.action[at],
            time_ms=updates.time_ms[at],
            ingest_time_ms=updates.ingest_time_ms[at],
            amount=updates.amount[at],
            quantity=updates.quantity[at],
            others={other: ids[other][at] for other in MET_KINDS[kind]},
        )
        scatter.add(kind, operations)
