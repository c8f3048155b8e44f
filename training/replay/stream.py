"""Replay: from recorded events to the rows that the service built, or would have built, of them.

Every purchase gets the row that the compiled features give when it is scored right before it is
recorded, with the profiles that all events before it in recorded order have made. The declarations are
those of `service.core`; property tests hold the result to its profiles bit for bit.

The stream is read twice: once to see which purchases are named by follow-ups and which ids repeat, once to
replay. Memory is a row of state for each entity, some 60 bytes for each purchase that a follow-up names, and
one piece of the stream at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from service.core.event import KINDS, EntityKind
from service.core.features import Feature
from service.core.fixed import id64, log2_fixed_array, log2_of_count_array
from service.core.formula import Column, Formula, Reading, evaluate_columns, readings
from service.core.profile import Habits, Source
from training.data.events import Progress, silent
from training.replay.kernel import Integers, Program, compile_program, run
from training.replay.order import Codes, EventSource, Index, Operations, Orderer, index

ID_COLUMNS: Final = ("user_id", "seller_id", "item_id", "card_hash")
"""The columns that name entities, in the order of `KINDS`."""

BLOCK_ROWS: Final = 1 << 15
"""Rows whose formulas are evaluated at once: every node of every formula holds a column of that length."""

THREADS: Final = 2
"""Kinds of entity that are replayed side by side; their profiles do not depend on each other."""

Matrix = npt.NDArray[np.float64]


class Rows(NamedTuple):
    """Rows of purchases: their places in the stream of events, and a float64 matrix of rows by features."""

    positions: Integers
    matrix: Matrix


def replay(
    source: EventSource, features: Sequence[Feature], habits: Habits = "attempts", progress: Progress = silent
) -> Iterator[Rows]:
    """Yield the rows of all purchases in recorded order, those of one piece of the stream at a time.

    A purchase whose id came before has no row of its own. Cost: some 3 µs for each event.
    """
    yield from _replay(source, index(source, habits), features, habits, progress)


def replay_all(
    source: EventSource,
    features: Sequence[Feature],
    habits: Habits = "attempts",
    scratch: Path | None = None,
    progress: Progress = silent,
) -> Rows:
    """Return the rows of all purchases at once: 8 bytes for each feature of each, in memory or a file in `scratch`."""
    known = index(source, habits)
    rows = Rows(np.empty(known.purchases, np.int64), empty_matrix(known.purchases, len(features), scratch))
    end = 0
    for piece in _replay(source, known, features, habits, progress):
        start, end = end, end + piece.positions.size
        rows.positions[start:end] = piece.positions
        rows.matrix[start:end] = piece.matrix
    return Rows(rows.positions[:end], rows.matrix[:end])


def empty_matrix(rows: int, columns: int, scratch: Path | None) -> Matrix:
    """Return a matrix to fill: in memory, or as a file of `scratch`, in the place of one that was there."""
    if scratch is None or not rows:
        return np.empty((rows, columns))
    return np.lib.format.open_memmap(matrix_path(scratch), "w+", np.float64, (rows, columns))


def matrix_path(scratch: Path) -> Path:
    """Return the file of the matrix that `empty_matrix` makes."""
    return scratch / "rows.npy"


def _replay(
    source: EventSource, known: Index, features: Sequence[Feature], habits: Habits, progress: Progress
) -> Iterator[Rows]:
    orderer = Orderer(known, habits)
    done = 0
    formulas = [feature.formula for feature in features]
    needed = readings(formulas)
    kinds = [_Kind(compile_program(kind, needed, habits)) for kind in KINDS]
    with ThreadPoolExecutor(THREADS) as threads:
        for frame in source((*Orderer.COLUMNS, *ID_COLUMNS)):
            codes = [kind.codes(frame[column]) for kind, column in zip(kinds, ID_COLUMNS, strict=True)]
            operations = orderer.operations(frame, np.column_stack(codes))
            amounts = amounts_of(operations.amount, operations.quantity, _ids64(operations, kinds))
            futures = [threads.submit(kind.run, at, operations, amounts) for at, kind in enumerate(kinds)]
            read = [future.result() for future in futures]
            yield Rows(operations.positions, _evaluate(formulas, operations, kinds, read))
            done += frame.height
            progress("replaying", done, known.events)


class _Kind:
    """The entities of one kind: their codes, in order of first sight, and their state."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.id64 = np.zeros(1 << 10, np.int64)
        self._codes: dict[str, int] = {"": -1}
        self._state = np.zeros((1 << 10, program.width), np.int64)

    def codes(self, ids: pl.Series) -> Codes:
        """Return the code of each id, -1 for absent; an id that was never seen gets the next one."""
        encoded = pa.chunked_array(ids.to_arrow()).combine_chunks().dictionary_encode()
        known = self._codes
        found = np.empty(len(encoded.dictionary), np.int32)
        for at, entity_id in enumerate(encoded.dictionary.to_pylist()):
            code = known.get(entity_id)
            if code is None:
                code = known[entity_id] = len(known) - 1
                if code == self.id64.size:
                    self.id64 = _doubled(self.id64)
                self.id64[code] = id64(entity_id)
            found[at] = code
        codes: Codes = found[encoded.indices.to_numpy()]
        return codes

    def run(self, at: int, operations: Operations, amounts: Integers) -> Matrix:
        """Take the operations on this kind and return what its readings gave, rows by readings."""
        while self._state.shape[0] < len(self._codes):
            self._state = _doubled(self._state)
        entity = np.ascontiguousarray(operations.entities[:, at])
        order = np.argsort(entity, kind="stable")
        order = order[np.searchsorted(entity[order], 0) :]
        read = np.full((operations.positions.size, len(self.program.readings)), np.nan)
        run(
            order,
            entity,
            operations.row,
            operations.action,
            operations.time_ms,
            operations.ingest_time_ms,
            amounts,
            self.program.steps,
            self.program.begins,
            self.program.reads,
            self._state,
            read,
        )
        return read


def _doubled(array: Integers) -> Integers:
    grown = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    grown[: array.shape[0]] = array
    return grown


def amounts_of(amount: Integers, quantity: Integers, ids: Mapping[EntityKind, Integers]) -> Integers:
    """Return what `service.core.profile.amounts_of` gives, as one row for each operation.

    `ids` holds `id64` of the user, the seller and the card, 0 where absent; a kind left out is absent.
    """
    log_amount = log2_fixed_array(amount)
    log_quantity = log2_of_count_array(quantity)
    values: dict[Source, Integers | int] = {
        Source.ONE: 1,
        Source.MINUS_ONE: -1,
        Source.TIME: 0,
        Source.AMOUNT: amount,
        Source.MINUS_AMOUNT: -amount,
        Source.LOG_AMOUNT: log_amount,
        Source.LOG_AMOUNT_SQ: log_amount * log_amount,
        Source.LOG_QUANTITY: log_quantity,
        Source.LOG_QUANTITY_SQ: log_quantity * log_quantity,
        Source.USER: ids.get(EntityKind.USER, 0),
        Source.SELLER: ids.get(EntityKind.SELLER, 0),
        Source.CARD: ids.get(EntityKind.CARD, 0),
    }
    amounts = np.empty((amount.size, len(Source)), np.int64)
    for source in Source:
        amounts[:, source] = values[source]
    return amounts


def _ids64(operations: Operations, kinds: Sequence[_Kind]) -> dict[EntityKind, Integers]:
    codes = dict(zip(KINDS, operations.entities.T, strict=True))
    return {
        kind: np.where(codes[kind] < 0, 0, kinds[at].id64[codes[kind]])
        for at, kind in enumerate(KINDS)
        if kind is not EntityKind.ITEM
    }


class Bought(NamedTuple):
    """What purchases say themselves, as columns."""

    time_ms: Integers
    amount: Integers
    quantity: Integers


def evaluate(formulas: Sequence[Formula], bought: Bought, read: Mapping[Reading, Column]) -> Matrix:
    """Return the features of purchases, out of what they say and the readings of their profiles (NaN = not read)."""
    facts: dict[str, Column] = {
        "time_ms": bought.time_ms.astype(np.float64),
        "amount": bought.amount.astype(np.float64),
        "log_amount": log2_fixed_array(bought.amount).astype(np.float64),
        "log_quantity": log2_of_count_array(bought.quantity).astype(np.float64),
    }
    matrix = np.empty((bought.time_ms.size, len(formulas)))
    for at, column in enumerate(evaluate_columns(formulas, facts, read)):
        matrix[:, at] = column
    return matrix


def _evaluate(
    formulas: Sequence[Formula], operations: Operations, kinds: Sequence[_Kind], read: Sequence[Matrix]
) -> Matrix:
    """Return the features of the purchases, block by block."""
    matrix = np.empty((operations.positions.size, len(formulas)))
    places = np.flatnonzero(operations.row >= 0)
    for start in range(0, len(matrix), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        at = places[block]
        columns: dict[Reading, Column] = {}
        for kind, values in zip(kinds, read, strict=True):
            columns |= zip(kind.program.readings, np.ascontiguousarray(values[block].T), strict=True)
        bought = Bought(operations.time_ms[at], operations.amount[at], operations.quantity[at])
        matrix[block] = evaluate(formulas, bought, columns)
    return matrix
