"""Replay: from recorded events to the rows that the service built, or would have built, of them.

Every purchase gets the row that the compiled features give when it is scored right before it is
recorded, with the profiles that all events before it in recorded order have made. The declarations are
those of `service.core`; property tests hold the result to its profiles bit for bit.

The stream is read twice: once to see which purchases are named by follow-ups and which ids repeat, once to
replay. Memory is a row of state for each entity, some 60 bytes for each purchase that a follow-up names, and
one piece of the stream at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from training.kernel import Integers, Program, compile_program, run
from training.order import Codes, EventSource, Operations, Orderer, index

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


def replay(source: EventSource, features: Sequence[Feature], habits: Habits = "attempts") -> Iterator[Rows]:
    """Yield the rows of all purchases in recorded order, those of one piece of the stream at a time.

    A purchase whose id came before has no row of its own. Cost: some 3 µs for each event.
    """
    orderer = Orderer(index(source, habits), habits)
    yield from _replay(source, orderer, features, habits)


def replay_all(source: EventSource, features: Sequence[Feature], habits: Habits = "attempts") -> Rows:
    """Return the rows of all purchases at once: 8 bytes for each feature of each."""
    known = index(source, habits)
    rows = Rows(np.empty(known.purchases, np.int64), np.empty((known.purchases, len(features))))
    end = 0
    for piece in _replay(source, Orderer(known, habits), features, habits):
        start, end = end, end + piece.positions.size
        rows.positions[start:end] = piece.positions
        rows.matrix[start:end] = piece.matrix
    return Rows(rows.positions[:end], rows.matrix[:end])


def _replay(source: EventSource, orderer: Orderer, features: Sequence[Feature], habits: Habits) -> Iterator[Rows]:
    formulas = [feature.formula for feature in features]
    needed = readings(formulas)
    kinds = [_Kind(compile_program(kind, needed, habits)) for kind in KINDS]
    with ThreadPoolExecutor(THREADS) as threads:
        for frame in source((*Orderer.COLUMNS, *ID_COLUMNS)):
            codes = [kind.codes(frame[column]) for kind, column in zip(kinds, ID_COLUMNS, strict=True)]
            operations = orderer.operations(frame, np.column_stack(codes))
            amounts = _amounts(operations, kinds)
            futures = [threads.submit(kind.run, at, operations, amounts) for at, kind in enumerate(kinds)]
            read = [future.result() for future in futures]
            yield Rows(operations.positions, _evaluate(formulas, operations, amounts, kinds, read))


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


def _amounts(operations: Operations, kinds: Sequence[_Kind]) -> Integers:
    """Return what `service.core.profile.amounts_of` gives, as one row for each operation."""
    log_amount = log2_fixed_array(operations.amount)
    log_quantity = log2_of_count_array(operations.quantity)
    values: dict[Source, Integers | int] = {
        Source.ONE: 1,
        Source.MINUS_ONE: -1,
        Source.TIME: 0,
        Source.AMOUNT: operations.amount,
        Source.MINUS_AMOUNT: -operations.amount,
        Source.LOG_AMOUNT: log_amount,
        Source.LOG_AMOUNT_SQ: log_amount * log_amount,
        Source.LOG_QUANTITY: log_quantity,
        Source.LOG_QUANTITY_SQ: log_quantity * log_quantity,
        Source.USER: _ids64(operations, kinds, EntityKind.USER),
        Source.SELLER: _ids64(operations, kinds, EntityKind.SELLER),
        Source.CARD: _ids64(operations, kinds, EntityKind.CARD),
    }
    amounts = np.empty((operations.action.size, len(Source)), np.int64)
    for source in Source:
        amounts[:, source] = values[source]
    return amounts


def _ids64(operations: Operations, kinds: Sequence[_Kind], kind: EntityKind) -> Integers:
    at = KINDS.index(kind)
    code = operations.entities[:, at]
    return np.where(code < 0, 0, kinds[at].id64[code])


def _evaluate(
    formulas: Sequence[Formula],
    operations: Operations,
    amounts: Integers,
    kinds: Sequence[_Kind],
    read: Sequence[Matrix],
) -> Matrix:
    """Return the features of the purchases, block by block."""
    matrix = np.empty((operations.positions.size, len(formulas)))
    bought = operations.row >= 0
    facts: dict[str, Column] = {
        "time_ms": operations.time_ms[bought].astype(np.float64),
        "amount": operations.amount[bought].astype(np.float64),
        "log_amount": amounts[bought, Source.LOG_AMOUNT].astype(np.float64),
        "log_quantity": amounts[bought, Source.LOG_QUANTITY].astype(np.float64),
    }
    for start in range(0, len(matrix), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        columns: dict[Reading, Column] = {}
        for kind, values in zip(kinds, read, strict=True):
            columns |= zip(kind.program.readings, np.ascontiguousarray(values[block].T), strict=True)
        results = evaluate_columns(formulas, {name: fact[block] for name, fact in facts.items()}, columns)
        for at, column in enumerate(results):
            matrix[block, at] = column
    return matrix
