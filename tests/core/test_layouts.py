"""Layouts: a profile that was written before an aggregate existed has no history of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given

from service.core.compiled import compile_row
from service.core.event import KINDS, EntityKey, EntityKind, Event
from service.core.formula import Reading
from service.core.profile import EMPTY, SCHEMAS, Image, ProfileState, Schema, widen, widened
from service.core.windows import WINDOWS
from tests.core.profiles import every_reading, row_of, updates
from tests.make import make_purchase, streams
from tests.oracle import Oracle, applied

NEWEST = SCHEMAS[EntityKind.USER]

OLDER = Schema(
    EntityKind.USER,
    tuple(scalar for scalar in NEWEST.scalars if scalar.name not in {"declines", "frauds"}),
    tuple(one for one in NEWEST.series if one.name != "m5"),
    tuple(recent for recent in NEWEST.recents if recent.name != "cards"),
    layout=0,
)
"""As if two totals, a series and a recent map had been introduced by the newest layout."""


def has_history(reading: Reading) -> bool:
    """Tell whether profiles of the older layout know what is read."""
    match reading.form:
        case "total":
            return reading.name in OLDER.total_at
        case "window" | "onset":
            return WINDOWS[reading.window].series in OLDER.series_at
        case "size" | "met":
            return reading.name in OLDER.recent_at
    return True


@given(events=streams())
def test_what_a_layout_lacks_reads_as_unknown(events: list[Event]) -> None:
    """Of a widened profile, what its layout lacked reads as NaN and everything else as it is."""
    key = EntityKey(EntityKind.USER, "u-1")
    history = applied(events)
    state = ProfileState(OLDER)
    for update in updates(history, "attempts"):
        if update.key == key:
            state.apply(update)
    readings = [reading for reading in every_reading() if reading.kind is EntityKind.USER]
    purchase = make_purchase()
    image = cast(Image, widened(state, OLDER, NEWEST))
    row = row_of(compile_row(readings), purchase, (image, None, None, None))
    oracle = Oracle(history)
    expected = [oracle.reading(one, purchase) if has_history(one) else math.nan for one in readings]
    np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_the_newest_layout_is_as_wide_as_it_gets(kind: EntityKind) -> None:
    """Widening a profile of the newest layout changes nothing."""
    assert widen(kind, EMPTY[kind]) == EMPTY[kind]


@pytest.mark.parametrize("layout", [0, NEWEST.layout + 1])
def test_a_layout_that_is_not_known_is_refused(layout: int) -> None:
    """An image of a layout from the future, or of none, is not guessed at."""
    with pytest.raises(ValueError, match=f"layout {layout} is not known"):
        ProfileState.of(EntityKind.USER, (layout, *EMPTY[EntityKind.USER][1:]))


def test_a_schema_as_of_a_layout_holds_what_was_there() -> None:
    """Aggregates of later layouts are left out, in the order of the others."""
    later = replace(NEWEST.scalars[2], since=2)
    schema = Schema(
        EntityKind.USER,
        (*NEWEST.scalars[:2], later, *NEWEST.scalars[3:]),
        (replace(NEWEST.series[0], since=2), *NEWEST.series[1:]),
        NEWEST.recents,
        layout=2,
    )
    first = schema.as_of(1)
    assert [scalar.name for scalar in first.scalars] == [one.name for one in NEWEST.scalars if one.name != later.name]
    assert [one.name for one in first.series] == [one.name for one in NEWEST.series[1:]]
