"""What an update does to the bins of a profile: the tables of the core as lists of operations.

The operations of one update are one atomic command, guarded by the event's id: whatever is sent twice, by
whomever and however late, is applied once.

* `ev` maps the id of every event applied lately to its *stamp*, the second that the event was first stored
  in, with the revision that it got in the low bits. Putting an id that is there fails the command with code
  24, and the revision can be read back.
* Ids with a stamp from before the horizon are forgotten, and `fg` notes how far. An event with a stamp
  before that cannot be told from one that was applied and forgotten: it fails the command with code 26. So
  nothing rests on the horizon being long enough; if it is too short, events go to quarantine.

Expressions are compiled once. What differs from event to event is handed to them in bins whose names begin
with `_`: compiling for each event costs three times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.operations import expression_operations, map_operations, operations

from service.core.aggregates import Earliest, Latest, Recent, Scalar, Sum
from service.core.event import KINDS
from service.core.profile import (
    ADDS,
    DAY_PART_MS,
    DAY_PARTS,
    LAYOUT,
    SCHEMAS,
    Effect,
    Schema,
    Source,
    Update,
)
from service.core.windows import Series
from service.store.aerospike_client import Operation
from service.store.aerospike_profile import (
    APPLIED,
    EVENT_ID,
    FORGOTTEN,
    LAYOUT_BIN,
    OTHER,
    REVISION,
    STAMP,
    TIME,
    bin_of,
    measure_bin,
)

KEY_ORDERED: Final = {"map_order": aerospike.MAP_KEY_ORDERED}
_CREATE_ONLY: Final = {**KEY_ORDERED, "map_write_flags": aerospike.MAP_WRITE_FLAGS_CREATE_ONLY}
_NONE: Final = aerospike.MAP_RETURN_NONE
_LOWEST: Final = -(1 << 62)

_EPOCH_S: Final = 1_577_836_800
"""Stamps count seconds from 2020, so that 30 bits last until 2054."""

_REVISION_BITS: Final = 33


def stamp_of(created_s: int) -> int:
    """Return the stamp of an event that was first stored in this second."""
    return max(0, created_s - _EPOCH_S) << _REVISION_BITS


def revision_of(applied: int) -> int:
    """Return the revision that an entry of `ev` holds."""
    return applied & (1 << _REVISION_BITS) - 1


def read_applied(event_id: str) -> Operation:
    """Return the operation that reads the entry of an event in `ev`, None when it is not there."""
    read: Operation = map_operations.map_get_by_key(APPLIED, event_id, aerospike.MAP_RETURN_VALUE)
    return read


def _write(bin_name: str, expression: exp.BaseExpr, flags: int = aerospike.EXP_WRITE_DEFAULT) -> Operation:
    write: Operation = expression_operations.expression_write(bin_name, expression.compile(), flags)
    return write


def max_of(bin_name: str, other: exp.BaseExpr) -> Operation:
    """Return the operation that raises a bin to another value, if that is larger."""
    return _write(bin_name, exp.Cond(exp.BinExists(bin_name), exp.Max(exp.IntBin(bin_name), other), other))


def _min_of(bin_name: str, other: exp.BaseExpr) -> Operation:
    return _write(bin_name, exp.Cond(exp.BinExists(bin_name), exp.Min(exp.IntBin(bin_name), other), other))


def _meet(recent: Recent) -> tuple[Operation, Operation]:
    """Return the operations that put `OTHER: TIME` into a recent map, if it is later, and drop what is beyond the cap.

    The server ranks equal times by key, as `Recent` does.
    """
    name = bin_of(recent.name)
    known, entry = exp.Var("known"), exp.IntBin(OTHER)
    time_then = exp.MapGetByKey(None, aerospike.MAP_RETURN_VALUE, exp.ResultType.INTEGER, entry, known)
    is_known = exp.MapGetByKey(None, aerospike.MAP_RETURN_EXISTS, exp.ResultType.BOOLEAN, entry, known)
    latest = exp.Cond(is_known, exp.Max(time_then, exp.IntBin(TIME)), exp.IntBin(TIME))
    there = exp.Cond(exp.BinExists(name), exp.MapBin(name), exp.Val({}))
    put = exp.Let(exp.Def("known", there), exp.MapPut(None, KEY_ORDERED, entry, latest, known))
    trim = map_operations.map_remove_by_rank_range(name, -recent.cap, recent.cap, _NONE, inverted=True)
    return _write(name, put), trim


class _Program(NamedTuple):
    """What an effect does to profiles of one kind, resolved to operations as far as can be."""

    counts: tuple[Operation, ...]
    sums: tuple[tuple[str, Source], ...]
    times: tuple[Operation, ...]
    by_day_part: bool
    series: tuple[tuple[Series, tuple[tuple[str, Source], ...]], ...]
    recents: tuple[tuple[Source, Operation, Operation], ...]


_STEPS: Final = {Source.ONE: 1, Source.MINUS_ONE: -1}


def _compile(schema: Schema, effect: Effect) -> _Program:
    adds = ADDS[effect]
    wanted = {add.aggregate: add.source for add in adds}
    scalars = [(scalar, wanted[scalar.name]) for scalar in schema.scalars if scalar.name in wanted]
    sums = [(bin_of(scalar.name), source) for scalar, source in scalars if isinstance(scalar, Sum)]
    return _Program(
        tuple(operations.increment(name, _STEPS[source]) for name, source in sums if source in _STEPS),
        tuple((name, source) for name, source in sums if source not in _STEPS),
        tuple(_time(scalar, source) for scalar, source in scalars if not isinstance(scalar, Sum)),
        "day_part" in wanted and "day_part_0" in schema.total_at,
        tuple(
            (
                one.series,
                tuple((measure_bin(one.series, add.measure), add.source) for add in adds if add.aggregate == one.name),
            )
            for one in schema.series
            if one.name in wanted
        ),
        tuple((wanted[recent.name], *_meet(recent)) for recent in schema.recents if recent.name in wanted),
    )


def _time(scalar: Scalar, source: Source) -> Operation:
    assert source is Source.TIME, "Latest and Earliest take the time of the effect"
    assert isinstance(scalar, Latest | Earliest)
    extreme = max_of if isinstance(scalar, Latest) else _min_of
    return extreme(bin_of(scalar.name), exp.IntBin(TIME))


_PROGRAMS: Final = {(kind, effect): _compile(SCHEMAS[kind], effect) for kind in KINDS for effect in Effect}

_BY_DAY_PART: Final = tuple(operations.increment(bin_of(f"day_part_{part}"), 1) for part in range(DAY_PARTS))

_RAISE_REVISION: Final = operations.increment(REVISION, 1)
_READ_REVISION: Final = operations.read(REVISION)
_LAYOUT_ONCE: Final = _write(
    LAYOUT_BIN, exp.Val(LAYOUT), aerospike.EXP_WRITE_CREATE_ONLY | aerospike.EXP_WRITE_POLICY_NO_FAIL
)
_KNOWN: Final = exp.Or(exp.Not(exp.BinExists(FORGOTTEN)), exp.GE(exp.IntBin(STAMP), exp.IntBin(FORGOTTEN)))
_REMEMBER: Final = _write(
    APPLIED,
    exp.Cond(
        _KNOWN,
        exp.MapPut(
            None,
            KEY_ORDERED,
            exp.StrBin(EVENT_ID),
            exp.Add(exp.IntBin(STAMP), exp.IntBin(REVISION)),
            exp.MapBin(APPLIED),
        ),
        exp.Unknown(),
    ),
)
_NOTE_FORGOTTEN: Final = max_of(FORGOTTEN, exp.IntBin(STAMP))


def operations_of(update: Update, event_id: str, created_s: int, forget_before_s: int) -> list[Operation]:
    """Return the operations of one update; the answer's `rev` is the revision that it got.

    `created_s` is when the event was first stored, the same whoever applies it. Ids of events that were first
    stored before `forget_before_s`, which is no later than that, are forgotten.
    """
    stamp, forgotten = stamp_of(created_s), stamp_of(forget_before_s)
    made = [
        _RAISE_REVISION,
        operations.write(EVENT_ID, event_id),
        operations.write(STAMP, stamp),
        # The native operation alone tells a repeat by a code of its own; the expression adds the revision.
        map_operations.map_put(APPLIED, event_id, stamp, _CREATE_ONLY),
        _REMEMBER,
        operations.write(STAMP, forgotten),
        _NOTE_FORGOTTEN,
        map_operations.map_remove_by_value_range(APPLIED, _LOWEST, forgotten, _NONE),
        _LAYOUT_ONCE,
    ]
    for effect, time_ms in update.effects:
        _add(made, _PROGRAMS[update.key.kind, effect], time_ms, update)
    made.append(_READ_REVISION)
    return made


def forgetting_operations(event_ids: Sequence[str]) -> list[Operation]:
    """Return the operations that let a profile forget that it took these events, and what the last one handed on."""
    return [
        map_operations.map_remove_by_key_list(APPLIED, [*event_ids], _NONE),
        operations.write(EVENT_ID, aerospike.null()),
        operations.write(OTHER, aerospike.null()),
    ]


def _add(made: list[Operation], program: _Program, time_ms: int, update: Update) -> None:
    """Append the operations of one effect."""
    amounts = update.amounts
    made += program.counts
    for name, source in program.sums:
        made.append(operations.increment(name, time_ms if source is Source.TIME else amounts[source]))
    if program.by_day_part:
        made.append(_BY_DAY_PART[time_ms // DAY_PART_MS % DAY_PARTS])
    for series, lines in program.series:
        if series.in_time(time_ms, update.ingest_time_ms):
            bucket = series.bucket(time_ms)
            for name, source in lines:
                made.append(map_operations.map_increment(name, bucket, amounts[source], KEY_ORDERED))
                # Out of reach of this bucket is out of reach of the newest; the reader leaves out what is between.
                made.append(map_operations.map_remove_by_key_range(name, _LOWEST, bucket - series.buckets + 1, _NONE))
    # 0 is "never" and "nobody".
    if time_ms and (program.times or program.recents):
        made.append(operations.write(TIME, time_ms))
        made += program.times
        for source, meet, trim in program.recents:
            if amounts[source]:
                made += (operations.write(OTHER, amounts[source]), meet, trim)
