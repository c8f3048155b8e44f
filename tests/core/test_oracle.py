"""Profiles and what formulas read of them equal the naive oracle, exactly and for every stream."""

from __future__ import annotations

from typing import get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.core.compiled import compile_row
from service.core.event import EntityKey, EntityKind, Event, EventKind
from service.core.formula import Reading
from service.core.profile import Habits, describe, effects_of, is_late
from service.core.windows import HOUR_MS, MINUTE_MS
from tests.core.profiles import every_reading, images_after, images_of, row_of, updates
from tests.make import NOW_MS, make_event, make_purchase, streams, times_ms
from tests.oracle import Oracle, applied

READINGS = every_reading()
ROW = compile_row(READINGS)
HABITS: tuple[Habits, ...] = get_args(Habits)


@given(events=streams(), habits=st.sampled_from(HABITS))
def test_profiles_equal_the_oracle(events: list[Event], habits: Habits) -> None:
    """Every number of every profile is what a loop over the events gives."""
    history = applied(events)
    oracle = Oracle(history, habits)
    images = images_after(updates(history, habits))
    assert {key: describe(key.kind, image) for key, image in images.items()} == {
        key: oracle.profile(key) for key in oracle.keys()
    }


@given(
    events=streams(),
    habits=st.sampled_from(HABITS),
    as_of_ms=times_ms(),
    ids=st.tuples(*(st.sampled_from(("", "1", "2", "unknown")) for _ in range(4))),
)
def test_readings_equal_the_oracle(
    events: list[Event], habits: Habits, as_of_ms: int, ids: tuple[str, str, str, str]
) -> None:
    """Every reading is what a loop over the events gives, also for times before the newest event."""
    user, seller, item, card = (f"{letter}-{one}" if one else "" for letter, one in zip("usic", ids, strict=True))
    purchase = make_purchase(event_time_ms=as_of_ms, user_id=user, seller_id=seller, item_id=item, card_hash=card)
    history = applied(events)
    oracle = Oracle(history, habits)
    row = row_of(ROW, purchase, images_of(purchase, images_after(updates(history, habits))))
    expected = [oracle.reading(reading, purchase) for reading in READINGS]
    np.testing.assert_array_equal(row, expected)


@given(events=streams(entities=24))
def test_recent_maps_equal_the_oracle_beyond_their_cap(events: list[Event]) -> None:
    """A recent map keeps the ids met last, also when it overflows among meetings of the same millisecond."""
    crowd = [
        make_purchase(f"crowd-{index}", event_time_ms=NOW_MS + index // 7, user_id="u-1", card_hash=f"c-{index}")
        for index in range(20)
    ]
    history = applied([*crowd[::2], *events, *crowd[1::2]])
    key = EntityKey(EntityKind.USER, "u-1")
    image = images_after(updates(history, "attempts"))[key]
    assert describe(key.kind, image)["recent"] == Oracle(history).profile(key)["recent"]


@given(events=streams(), habits=st.sampled_from(HABITS))
def test_late_means_that_a_series_left_the_event_out(events: list[Event], habits: Habits) -> None:
    """An event is late exactly when at least one series that it would count in leaves it out."""
    history = applied(events)
    oracle = Oracle(history, habits)
    for one in history:
        confirmed_at_ms = one.confirmed.event_time_ms if one.confirmed else 0
        assert is_late(one.event, effects_of(one.event, confirmed_at_ms, habits)) == oracle.late(one)


def test_a_window_is_the_current_bucket_and_those_before_it() -> None:
    """Asked at 10:50, "24 hours" holds what happened since 11:00 of yesterday and nothing before."""
    asked = make_purchase("asked", event_time_ms=NOW_MS + 10 * HOUR_MS + 50 * MINUTE_MS)
    eleven_yesterday_ms = NOW_MS - 13 * HOUR_MS
    history = applied(
        [
            make_purchase(str(time_ms), event_time_ms=time_ms)
            for time_ms in (eleven_yesterday_ms - 1, eleven_yesterday_ms)
        ]
    )
    row = compile_row([Reading(EntityKind.CARD, "window", "purchases", "24h")])
    assert row_of(row, asked, images_of(asked, images_after(updates(history, "attempts")))) == [1.0]


def test_a_clearance_takes_back_what_its_confirmation_counted() -> None:
    """After a confirmation and its clearance no fraud is left, neither in the total nor in the windows."""
    asked = make_purchase("asked")
    history = applied([make_purchase(), make_event(EventKind.FRAUD_CONFIRMED), make_event(EventKind.FRAUD_CLEARED)])
    row = compile_row([Reading(EntityKind.USER, "total", "frauds"), Reading(EntityKind.USER, "window", "frauds", "1d")])
    images = images_after(updates(history, "attempts"))
    assert [
        row_of(row, asked, images_of(asked, image))
        for image in (images_after(updates(history[:2], "attempts")), images)
    ] == [
        [1.0, 1.0],
        [0.0, 0.0],
    ]
