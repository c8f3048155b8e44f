"""The laws of features, written once and held by every one of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.compiled import compile_row
from service.core.event import KINDS, EntityKey, EntityKind, Event
from service.core.features import BY_NAME, FEATURES, Feature, layout_id
from service.core.formula import Constant, Fact, evaluate_columns, maximum, minimum, readings, root
from service.core.profile import Image
from service.core.windows import WINDOWS
from tests.core.profiles import Images, facts_of, images_after, images_of, row_of, updates
from tests.make import filled_image, make_purchase, random_time_ms, streams
from tests.oracle import applied

FORMULAS: Final = [feature.formula for feature in FEATURES]
ROW: Final = compile_row(FORMULAS)
READINGS: Final = readings(FORMULAS)
READ: Final = compile_row(READINGS)
FACTS: Final = ("time_ms", "amount", "log_amount", "log_quantity")
THE_TALK: Final = (
    *("user_tenure", "seller_tenure", "user_fraud_rate", "user_price_typicality", "card_report_rate"),
    *("card_purchase_frequency", "seller_quantity_typicality"),
)

each_feature = pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)


def kinds_read(feature: Feature) -> set[EntityKind]:
    """Return the kinds whose profiles a feature reads."""
    return {reading.kind for reading in readings([feature.formula])}


def purchases() -> st.SearchStrategy[Event]:
    """Draw a purchase of known and unknown entities that names all four, with amounts from zero to the limit."""
    return st.builds(
        lambda random, amount_minor, quantity, ids: make_purchase(
            "asked",
            event_time_ms=random_time_ms(random),
            amount_minor=amount_minor,
            quantity=quantity,
            **dict(zip(("user_id", "seller_id", "item_id", "card_hash"), ids, strict=True)),
        ),
        st.randoms(use_true_random=False),
        st.sampled_from((0, 1, 10**12)) | st.integers(0, 10**12),
        st.sampled_from((1, 1_000_000)) | st.integers(1, 1_000_000),
        st.tuples(*(st.sampled_from((f"{letter}-1", f"{letter}-2", f"{letter}-unknown")) for letter in "usic")),
    )


IDS: Final = tuple(zip(KINDS, "usic", strict=True))
FULL: Final = {EntityKey(kind, f"{letter}-1"): filled_image(kind, "worst") for kind, letter in IDS}


def cases() -> st.SearchStrategy[tuple[Event, Images]]:
    """Draw a purchase and the four profiles that its score reads: of a stream, or full, or empty."""
    known: st.SearchStrategy[dict[EntityKey, Image]] = st.just(FULL) | st.builds(
        lambda events, habits: images_after(updates(applied(events), habits)),
        streams(),
        st.sampled_from(("attempts", "settlements")),
    )
    return st.builds(lambda purchase, images: (purchase, images_of(purchase, images)), purchases(), known)


def blanked(images: Images, kinds: set[EntityKind]) -> Images:
    """Return the profiles with those of some kinds not readable."""
    user, seller, item, card = (None if kind in kinds else image for kind, image in zip(KINDS, images, strict=True))
    return user, seller, item, card


@given(case=cases())
def test_values_lie_between_zero_and_one(case: tuple[Event, Images]) -> None:
    """With all profiles read and all ids named, every feature is a number in [0, 1], never NaN."""
    row = row_of(ROW, *case)
    assert {feature.name: value for feature, value in zip(FEATURES, row, strict=True) if not 0.0 <= value <= 1.0} == {}


@given(case=cases(), kinds=st.sets(st.sampled_from(KINDS)))
def test_unknown_goes_through(case: tuple[Event, Images], kinds: set[EntityKind]) -> None:
    """A feature is NaN exactly when a profile that it reads could not be read; the others do not change."""
    purchase, images = case
    full, row = row_of(ROW, purchase, images), row_of(ROW, purchase, blanked(images, kinds))
    expected = [
        math.nan if kinds_read(feature) & kinds else value for feature, value in zip(FEATURES, full, strict=True)
    ]
    np.testing.assert_array_equal(row, expected)


def bits(values: Any) -> npt.NDArray[np.int64]:
    """Return the bits of floats, all NaN alike."""
    column = np.array(values, dtype=np.float64)
    column[np.isnan(column)] = math.nan
    return column.view(np.int64)


@given(cases=st.lists(st.tuples(cases(), st.sets(st.sampled_from(KINDS))), min_size=1, max_size=3))
def test_columns_hold_the_bits_of_rows(cases: list[tuple[tuple[Event, Images], set[EntityKind]]]) -> None:
    """The columns that train are the rows that serve, bit for bit."""
    asked = [(purchase, blanked(images, kinds)) for (purchase, images), kinds in cases]
    facts = np.array([facts_of(purchase) for purchase, _ in asked], dtype=np.float64).T
    read = np.array([row_of(READ, *one) for one in asked], dtype=np.float64).T
    columns = evaluate_columns(FORMULAS, dict(zip(FACTS, facts, strict=True)), dict(zip(READINGS, read, strict=True)))
    np.testing.assert_array_equal(bits(columns).T, bits([row_of(ROW, *one) for one in asked]))


@given(case=cases(), names=st.lists(st.sampled_from(sorted(BY_NAME)), min_size=1, unique=True))
def test_a_feature_does_not_depend_on_its_neighbours(case: tuple[Event, Images], names: list[str]) -> None:
    """Any choice of features in any order has the values that the full row has."""
    alone = compile_row([BY_NAME[name].formula for name in names])
    full = dict(zip(BY_NAME, row_of(ROW, *case), strict=True))
    assert row_of(alone, *case) == [full[name] for name in names]


@given(case=cases())
def test_formulas_read_as_they_are_computed(case: tuple[Event, Images]) -> None:
    """The text of a formula, taken as arithmetic, gives the value of the feature."""
    purchase, images = case
    known: dict[str, float] = dict(zip(FACTS, map(float, facts_of(purchase)), strict=True))
    read = dict(zip(map(str, READINGS), row_of(READ, purchase, images), strict=True))
    scope: dict[str, Any] = {"min": min, "max": max, "sqrt": math.sqrt, "read": read, **known}
    spoken = [
        eval(re.sub(r"\b(?:user|seller|item|card)\.\w+\??", r'read["\g<0>"]', str(one)), scope) for one in FORMULAS
    ]
    assert spoken == row_of(ROW, purchase, images)


def test_there_are_enough_and_not_too_many() -> None:
    """The set holds the seven features of the talk and stays between 30 and 50."""
    assert set(THE_TALK) <= set(BY_NAME)
    assert 30 <= len(FEATURES) <= 50


def test_names_are_unique() -> None:
    """Each name stands once."""
    assert len(BY_NAME) == len(FEATURES)


@each_feature
def test_a_feature_is_documented(feature: Feature) -> None:
    """Question, unit, reason and both readings in words are there, and the name is a plain one."""
    assert all((feature.question.endswith("?"), feature.unit, feature.why.endswith("."), feature.high, feature.low))
    assert re.fullmatch(r"[a-z][a-z0-9_]*", feature.name)
    assert feature.monotone in {-1, 0, 1}


@each_feature
def test_a_name_says_what_is_read(feature: Feature) -> None:
    """`..._1h_by_card` reads that window of that kind and of no other."""
    named_kind = re.search(r"_by_(user|seller|item|card)$", feature.name)
    if named_kind:
        assert kinds_read(feature) == {EntityKind[named_kind[1].upper()]}
    named_window = re.search(rf"_({'|'.join(WINDOWS)})_", feature.name)
    windows = {reading.window for reading in readings([feature.formula]) if reading.window}
    if named_window:
        assert named_window[1] in windows
    elif feature.name not in THE_TALK:
        assert not windows


CHANGES: Final[dict[str, Callable[[Feature], Feature]]] = {
    "formula": lambda feature: replace(feature, formula=feature.formula * 0.5),
    "version": lambda feature: replace(feature, version=feature.version + 1),
    "name": lambda feature: replace(feature, name=feature.name + "_too"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@each_feature
def test_a_fingerprint_names_the_definition(feature: Feature, change: Callable[[Feature], Feature]) -> None:
    """Another formula, version or name has another fingerprint."""
    assert change(feature).fingerprint != feature.fingerprint


def test_a_fingerprint_does_not_name_the_words() -> None:
    """Better words for the same feature do not make models retrain."""
    feature = FEATURES[0]
    assert replace(feature, question="?", unit="", why="", high="", low="").fingerprint == feature.fingerprint


def test_fingerprints_are_unique() -> None:
    """No two features share a fingerprint."""
    assert len({feature.fingerprint for feature in FEATURES}) == len(FEATURES)


def test_the_name_of_a_row_depends_on_the_order() -> None:
    """The layout id tells rows with the same features in another order apart."""
    assert layout_id(FEATURES) != layout_id(FEATURES[::-1])


NUMBERS: Final = st.just(math.nan) | st.integers(-(2**52), 2**52)
"""What a reading can be: an integer, or NaN for unknown; so no operation meets a negative zero."""


@given(x=NUMBERS, y=NUMBERS, constant=st.integers(-10, 10))
def test_every_operation_has_the_same_bits_in_rows_and_columns(x: Any, y: Any, constant: int) -> None:
    """Each operation on integers and NaN gives in a row what it gives in a column."""
    left, right, number = Fact("log_amount"), Fact("time_ms"), Constant(float(constant))
    formulas = [left + right, left - right, left * right, 2.0 - left, left * 3.0 - right]
    formulas += [left / (right * right + 1.0), 1.0 / (left * left + 0.3), root(left * left)]
    formulas += [pick(a, b) for pick in (minimum, maximum) for a, b in ((left, right), (left, number), (number, right))]
    row = compile_row(formulas)(y, 0, x, 0, 0, 0, 0, None, None, None, None)
    facts = {"time_ms": np.array([y], dtype=np.float64), "log_amount": np.array([x], dtype=np.float64)}
    np.testing.assert_array_equal(bits(evaluate_columns(formulas, facts, {})).T, bits([row]))
