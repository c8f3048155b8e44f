"""Scales: a limit in counts or days has the bits of the row that it is held against."""

from __future__ import annotations

from math import isnan

import pytest

from service.core.compiled import compile_row
from service.core.event import KINDS, EntityKey, EntityKind, EventKind
from service.core.features import BY_NAME, FEATURES
from service.core.profile import EMPTY
from service.core.row import row_of
from service.core.scale import scale_of
from service.core.windows import DAY_MS, HOUR_MS
from tests.make import NOW_MS, make_event, make_image, make_purchase

SCALED = [feature for feature in FEATURES if scale_of(feature) is not None]


def _row_value(name: str, purchases: int) -> float:
    """Return a feature of the card after so many purchases within the last minutes."""
    key = EntityKey(EntityKind.CARD, "c-1")
    events = [make_purchase(f"p-{n}", card_hash="c-1", event_time_ms=NOW_MS - n) for n in range(purchases)]
    images = [EMPTY[kind] for kind in KINDS]
    images[EntityKind.CARD - 1] = make_image(key, *events)
    row = compile_row([BY_NAME[name].formula])
    (value,) = row_of(row, make_purchase("now", card_hash="c-1", event_time_ms=NOW_MS), images)
    return value


@pytest.mark.parametrize("count", [0, 1, 5, 6, 11])
@pytest.mark.parametrize("name", ["purchases_1h_by_card", "card_purchase_frequency"])
def test_a_count_has_the_bits_of_a_row(name: str, count: int) -> None:
    """What a scale says of a count is what the compiled row has after so many purchases."""
    scale = scale_of(BY_NAME[name])
    assert scale is not None
    assert scale.at(count) == _row_value(name, count)


@pytest.mark.parametrize("days", [1, 30, 400])
def test_a_tenure_has_the_bits_of_a_row(days: int) -> None:
    """What a scale says of a time ago is what the compiled row has that long after a registration."""
    feature = BY_NAME["user_tenure"]
    scale = scale_of(feature)
    assert scale is not None
    registered = make_event(EventKind.USER_REGISTERED, user_id="u-1", event_time_ms=NOW_MS - days * DAY_MS)
    images = [make_image(EntityKey(EntityKind.USER, "u-1"), registered), *(EMPTY[kind] for kind in KINDS[1:])]
    purchase = make_purchase(user_id="u-1", event_time_ms=NOW_MS)
    assert row_of(compile_row([feature.formula]), purchase, images) == [scale.at(days * DAY_MS)]


@pytest.mark.parametrize("feature", SCALED, ids=lambda feature: feature.name)
def test_a_scale_rises_or_falls_throughout(feature: object) -> None:
    """A larger count or a longer time lies on the side that the scale says, and always within [0, 1]."""
    scale = scale_of(feature)  # type: ignore[arg-type]
    assert scale is not None
    steps = [0, 1] if scale.unit == "truth" else [1, 2, 5, 16, HOUR_MS, DAY_MS, 400 * DAY_MS]
    values = [scale.at(step) for step in steps]
    assert values == sorted(set(values), reverse=not scale.rising)
    assert not any(isnan(value) or not 0.0 <= value <= 1.0 for value in values)


def test_the_features_that_people_set_limits_on_have_scales() -> None:
    """Counts, amounts, times and truths are told apart; what compares several things has no scale."""
    units = {name: scale.unit for name in BY_NAME if (scale := scale_of(BY_NAME[name])) is not None}
    expected = {
        "purchases_1h_by_card": "count",
        "amount_24h_by_user": "count",
        "frauds_7d_by_seller": "count",
        "users_of_card": "count",
        "card_report_rate": "count",
        "seller_tenure": "time",
        "purchase_recency_by_user": "time",
        "fraud_recency_by_card": "time",
        "user_met_card": "truth",
        "card_known": "truth",
    }
    assert {name: units[name] for name in expected} == expected
    without = ("user_fraud_rate", "amount_level", "purchases_burst_24h_by_user", "fraud_onset_30d_by_seller")
    assert not units.keys() & set(without)


def test_a_capped_map_has_a_largest_count() -> None:
    """Of users and cards sixteen are told apart; a window counts without end."""
    largest = {name: scale.largest() for name in BY_NAME if (scale := scale_of(BY_NAME[name])) is not None}
    assert (largest["users_of_card"], largest["cards_of_user"], largest["purchases_1h_by_card"]) == (16, 16, None)
