"""The arithmetic of replay: what `service.core.profile` declares, as arrays of integers for one compiled loop.

`compile_program` reads the same tables as the service (schemas, effects, series, windows) and writes down,
for one kind of entity, where in a row of state everything stands, which steps each action takes and
which places each reading reads. `run` knows opcodes only; it has no idea what a purchase is.

A row of state is one entity: its totals, a ring of buckets for each series, and the recent maps. Only
what the readings need is kept, so an entity costs some 200 to 2,000 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from service.core.aggregates import Earliest, Latest, Scalar, Sum
from service.core.event import EntityKind, Event, EventKind, Settlement
from service.core.formula import Reading
from service.core.profile import ADDS, DAY_PART_MS, DAY_PARTS, SCHEMAS, Add, Effect, Habits, Source, effects_of
from service.core.windows import WINDOWS

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

ACTIONS: Final = (max(EventKind) + 1) * (max(Settlement) + 1)
"""What can happen, told apart by kind and settlement: see `action_of`."""

_SETTLEMENTS: Final = max(Settlement) + 1

# Opcodes of steps (what an action does) and of reads (what a purchase sees).
_ADD, _LATEST, _EARLIEST, _DAY_PART, _BUCKET, _MEASURE, _MEET, _EXIST = range(8)
_TOTAL, _PART_OF_DAY, _WINDOW, _MET, _ONSET = range(5)

_SCALAR_STEPS: Final[dict[type[Scalar], int]] = {Sum: _ADD, Latest: _LATEST, Earliest: _EARLIEST}
_MET_BY: Final = {"users": Source.USER, "sellers": Source.SELLER, "cards": Source.CARD}


@dataclass(frozen=True, slots=True)
class Program:
    """What replay does with one kind of entity.

    `width` is the length of a row of state. Action `a` takes the steps `steps[begins[a]:begins[a + 1]]`.
    `reads[i]` is how the reading `readings[i]` is read. Both hold an opcode and up to five operands each.
    """

    kind: EntityKind
    readings: tuple[Reading, ...]
    width: int
    steps: Integers
    begins: Integers
    reads: Integers


def action_of(kind: npt.NDArray[np.uint8], settlement: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the number of each event's action."""
    return (kind * np.uint8(_SETTLEMENTS) + settlement).astype(np.uint8)


READ_ALONE: Final = 0
"""The action that changes nothing: no event is of kind 0."""


def effects_of_actions(habits: Habits) -> dict[int, tuple[Effect, ...]]:
    """Return the effects of each action that has any, as the service works them out."""
    found = {}
    for kind in EventKind:
        for settlement in Settlement:
            event = Event("", kind, 1, 1, settlement=settlement)
            if effects := tuple(effect for effect, _ in effects_of(event, 1, habits)):
                found[int(kind) * _SETTLEMENTS + int(settlement)] = effects
    return found


def compile_program(kind: EntityKind, readings: Iterable[Reading], habits: Habits) -> Program:
    """Lay out the state that the readings of this kind need, and write down steps and reads."""
    wanted = tuple(sorted((reading for reading in readings if reading.kind is kind), key=_by_series))
    layout = _Layout(kind, wanted)
    steps: list[list[int]] = []
    begins = [0]
    effects = effects_of_actions(habits)
    for action in range(ACTIONS):
        if action in effects:
            steps += layout.steps([add for effect in effects[action] for add in ADDS[effect]])
        begins.append(len(steps))
    reads = [layout.read(reading) for reading in wanted]
    return Program(kind, wanted, layout.width, _table(steps), np.array(begins, np.int64), _table(reads))


def _by_series(reading: Reading) -> str:
    return WINDOWS[reading.window].series if reading.window else ""


def _table(lines: Sequence[Sequence[int]]) -> Integers:
    table = np.zeros((len(lines), 6), np.int64)
    for row, line in zip(table, lines, strict=True):
        row[: len(line)] = line
    return table


class _Layout:
    """Where in a row of state everything stands that the readings of one kind need."""

    def __init__(self, kind: EntityKind, wanted: Sequence[Reading]) -> None:
        schema = SCHEMAS[kind]
        totals = {reading.name for reading in wanted if reading.form == "total"}
        parts = {f"day_part_{part}" for part in range(DAY_PARTS)}
        if totals & parts or any(reading.form == "day_part" for reading in wanted):
            totals |= parts  # an action counts one of them by its time: all are kept, or none
        recents = {reading.name for reading in wanted if reading.form in {"size", "met"}}
        measured = {(WINDOWS[reading.window].series, reading.name) for reading in wanted if reading.window}
        self.scalars = {scalar.name: scalar for scalar in schema.scalars if scalar.name in totals}
        kept = {
            one.name: [name for name in one.series.measures if (one.name, name) in measured] for one in schema.series
        }
        self.measures = {name: measures for name, measures in kept.items() if measures}
        self.series = {one.name: one.series for one in schema.series if one.name in self.measures}
        self.recents = {recent.name: recent for recent in schema.recents if recent.name in recents}
        self.at: dict[str, int] = {}
        self.width = 1  # place 0 tells whether anything was ever recorded
        sizes = dict.fromkeys(self.scalars, 1)
        sizes |= {name: 1 + one.buckets * len(self.measures[name]) for name, one in self.series.items()}
        sizes |= {name: 1 + 2 * recent.cap for name, recent in self.recents.items()}
        for name, size in sizes.items():
            self.at[name] = self.width
            self.width += size

    def steps(self, adds: Sequence[Add]) -> list[list[int]]:
        """Return the steps of one action, in any order that keeps the measures behind their bucket."""
        lines = [[_EXIST]]
        for add in adds:
            if add.aggregate in self.scalars:
                opcode = _SCALAR_STEPS[type(self.scalars[add.aggregate])]
                assert (opcode == _ADD) == (add.source != Source.TIME), "sums take amounts, moments take times"
                lines.append([opcode, self.at[add.aggregate], add.source])
            elif add.aggregate == "day_part" and "day_part_0" in self.scalars:
                lines.append([_DAY_PART, self.at["day_part_0"]])
            elif add.aggregate in self.recents:
                lines.append([_MEET, self.at[add.aggregate], add.source, self.recents[add.aggregate].cap])
        for name, one in self.series.items():
            here = [add for add in adds if add.aggregate == name]
            kept = self.measures[name]
            if here:
                lines.append([_BUCKET, self.at[name], one.bucket_ms, one.buckets, len(kept)])
            lines += [
                [_MEASURE, kept.index(add.measure) * one.buckets, add.source] for add in here if add.measure in kept
            ]
        return lines

    def read(self, reading: Reading) -> list[int]:
        """Return how one reading is read."""
        match reading.form:
            case "exists":
                return [_TOTAL, 0]
            case "total" | "size":
                return [_TOTAL, self.at[reading.name]]
            case "day_part":
                return [_PART_OF_DAY, self.at["day_part_0"]]
            case "window" | "onset":
                opcode = _WINDOW if reading.form == "window" else _ONSET
                window = WINDOWS[reading.window]
                one = self.series[window.series]
                measure = self.measures[one.name].index(reading.name)
                return [opcode, self.at[one.name], one.bucket_ms, one.buckets, measure, window.count]
            case "met":
                return [_MET, self.at[reading.name], _MET_BY[reading.name]]


@numba.njit(cache=True, nogil=True)
def run(  # noqa: PLR0913, PLR0917  a loop over arrays takes arrays
    order: Integers,
    entity: npt.NDArray[np.int32],
    row: npt.NDArray[np.int32],
    action: npt.NDArray[np.uint8],
    time_ms: Integers,
    ingest_time_ms: Integers,
    amounts: Integers,
    steps: Integers,
    begins: Integers,
    reads: Integers,
    state: Integers,
    out: Reals,
) -> None:
    """Take the operations in `order`: read into `out[row]` where an operation has a row, then change the state.

    `entity`, `row` (-1 = none), `action`, times and `amounts[operation, source]` are by operation;
    `state` is by entity. Cost: one visit for each bucket of each window read, some 0.3 µs for each operation.
    """
    for operation in order:
        mine = state[entity[operation]]
        given = amounts[operation]
        if row[operation] >= 0:
            _read(mine, time_ms[operation], given, reads, out[row[operation]])
        first = begins[action[operation]]
        last = begins[action[operation] + 1]
        _step(mine, time_ms[operation], ingest_time_ms[operation], given, steps, first, last)


@numba.njit(cache=True, nogil=True)
def run_by_entity(  # noqa: PLR0913, PLR0917  a loop over arrays takes arrays
    entity: Integers,
    row: Integers,
    action: npt.NDArray[np.uint8],
    time_ms: Integers,
    ingest_time_ms: Integers,
    amounts: Integers,
    steps: Integers,
    begins: Integers,
    reads: Integers,
    mine: Integers,
    out: Reals,
) -> None:
    """Take operations that stand entity by entity, as `run` takes them; `mine` is one row of state, used for each.

    Action 0 changes nothing: it stands for a read alone.
    """
    for operation in range(entity.size):
        if operation == 0 or entity[operation] != entity[operation - 1]:
            mine[:] = 0
        given = amounts[operation]
        if row[operation] >= 0:
            _read(mine, time_ms[operation], given, reads, out[row[operation]])
        first = begins[action[operation]]
        last = begins[action[operation] + 1]
        _step(mine, time_ms[operation], ingest_time_ms[operation], given, steps, first, last)


@numba.njit(cache=True, nogil=True)
def _read(mine: Integers, now_ms: int, given: Integers, reads: Integers, out: Reals) -> None:
    """Put every reading of one entity, as of now, into `out`."""
    series = -1  # windows of one series stand together: divisions cost more than all the rest
    last = kept = slot = 0
    for index in range(reads.shape[0]):
        at = reads[index, 1]
        if reads[index, 0] == _WINDOW or reads[index, 0] == _ONSET:
            buckets = reads[index, 3]
            if at != series:
                series = at
                now = now_ms // reads[index, 2]
                last = min(now, mine[at])
                kept = last - mine[at] + buckets
                ahead = now - last
                slot = last % buckets
            first = at + 1 + reads[index, 4] * buckets
            count = min(kept, reads[index, 5] - ahead)
            total = _ring_sum(mine, first, buckets, slot, count)
            if reads[index, 0] == _WINDOW:
                out[index] = total
            else:
                out[index] = ahead + _ring_onset(mine, first, buckets, slot, count) if total > 0 else 0
        elif reads[index, 0] == _TOTAL:
            out[index] = mine[at]
        elif reads[index, 0] == _PART_OF_DAY:
            out[index] = mine[at + now_ms // DAY_PART_MS % DAY_PARTS]
        elif given[reads[index, 2]] == 0:
            out[index] = np.nan
        else:
            out[index] = 0
            for place in range(at + 1, at + 1 + mine[at]):
                if mine[place] == given[reads[index, 2]]:
                    out[index] = 1


@numba.njit(cache=True, nogil=True)
def _ring_sum(mine: Integers, first: int, buckets: int, slot: int, count: int) -> int:
    """Return the sum of `count` places of a ring, the last of them `slot`; 0 when the count is not positive."""
    total = 0
    for place in range(first + max(slot - count + 1, 0), first + slot + 1):
        total += mine[place]
    for place in range(first + buckets + min(slot - count + 1, 0), first + buckets):
        total += mine[place]
    return total


@numba.njit(cache=True, nogil=True)
def _ring_onset(mine: Integers, first: int, buckets: int, slot: int, count: int) -> int:
    """Return how many places before the one after `slot` the oldest positive of `count` places lies; one is."""
    age = count
    while mine[first + (slot - age + 1) % buckets] <= 0:
        age -= 1
    return age


@numba.njit(cache=True, nogil=True)
def _step(  # noqa: C901  one branch for each opcode
    mine: Integers, now_ms: int, ingest_time_ms: int, given: Integers, steps: Integers, first: int, last: int
) -> None:
    """Take the steps of one action on one entity."""
    ring = -1  # where the bucket in hand stands; -1 = too late or gone
    for index in range(first, last):
        opcode = steps[index, 0]
        at = steps[index, 1]
        source = steps[index, 2]
        if opcode == _BUCKET:
            width_ms, buckets = source, steps[index, 3]
            ring = _bucket(mine, at, now_ms // width_ms, ingest_time_ms // width_ms, buckets, steps[index, 4])
        elif opcode == _MEASURE:
            if ring >= 0:
                mine[ring + at] += given[source]
        elif opcode == _ADD:
            mine[at] += given[source]
        elif opcode == _DAY_PART:
            mine[at + now_ms // DAY_PART_MS % DAY_PARTS] += 1
        elif opcode == _MEET:
            if given[source] != 0:
                _meet(mine, at, given[source], now_ms, steps[index, 3])
        elif opcode == _LATEST:
            mine[at] = max(mine[at], now_ms)
        elif opcode == _EARLIEST:
            mine[at] = min(mine[at], now_ms) if mine[at] else now_ms
        else:
            mine[0] = 1


@numba.njit(cache=True, nogil=True)
def _bucket(mine: Integers, at: int, bucket: int, ingest_bucket: int, buckets: int, measures: int) -> int:
    """Return where the first measure of a bucket stands, made room for; -1 when it came too late or is gone."""
    newest = mine[at]
    if bucket <= ingest_bucket - buckets or bucket <= newest - buckets:
        return -1
    slot = bucket % buckets
    for age in range(min(bucket - newest, buckets)):
        fresh = at + 1 + (slot - age if slot >= age else slot - age + buckets)
        for measure in range(measures):
            mine[fresh + measure * buckets] = 0
    mine[at] = max(newest, bucket)
    return at + 1 + slot


@numba.njit(cache=True, nogil=True)
def _meet(mine: Integers, at: int, id64: int, now_ms: int, cap: int) -> None:
    """Take a meeting into a recent map: count, then ids, then times; the oldest makes room, ties by id."""
    size = mine[at]
    ids = at + 1
    times = at + 1 + cap
    oldest = 0
    for place in range(size):
        if mine[ids + place] == id64:
            mine[times + place] = max(mine[times + place], now_ms)
            return
        older = mine[times + place] < mine[times + oldest]
        tie = mine[times + place] == mine[times + oldest]
        if older or (tie and mine[ids + place] < mine[ids + oldest]):
            oldest = place
    if size < cap:
        mine[ids + size] = id64
        mine[times + size] = now_ms
        mine[at] = size + 1
    elif (now_ms, id64) > (mine[times + oldest], mine[ids + oldest]):
        mine[ids + oldest] = id64
        mine[times + oldest] = now_ms
