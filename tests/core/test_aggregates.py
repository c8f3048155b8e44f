"""The laws of the algebra, written once and held by every aggregate of every profile."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.aggregates import Aggregate, Bucketed, Recent, Sum
from service.core.profile import SCHEMAS

AGGREGATES: Final = tuple(
    {
        (type(aggregate), getattr(aggregate, "series", None), getattr(aggregate, "cap", None)): aggregate
        for schema in SCHEMAS.values()
        for aggregate in (*schema.scalars, *schema.series, *schema.recents)
    }.values()
)
"""One for each definition that a profile has; those that differ in name alone have the same laws."""

TIMES_MS: Final = st.integers(1, 40)

Added = tuple[Any, ...]
"""The arguments of one `add` after the state."""


def additions(aggregate: Aggregate) -> st.SearchStrategy[Added]:
    """Draw what can be added: few buckets, ids and times, so that they collide and fall out."""
    match aggregate:
        case Bucketed():
            measures = len(aggregate.series.measures)
            buckets = st.integers(100, 100 + 2 * aggregate.series.buckets)
            lines = st.integers(0, measures - 1).map(lambda measure: ((measure, 0),))
            return st.tuples(buckets, lines, st.integers(-5, 5).map(lambda amount: (amount,)))
        case Recent():
            return st.tuples(st.integers(-12, 12).filter(bool), TIMES_MS)
        case Sum():
            return st.tuples(st.integers(-(2**62), 2**62))
    return st.tuples(TIMES_MS)


def total_of(aggregate: Any, added: Sequence[Added], state: Any = None) -> Any:
    """Return a new state with all of it added, beginning with a copy of `state` or with zero."""
    state = aggregate.zero() if state is None else copy.deepcopy(state)
    for arguments in added:
        state = aggregate.add(state, *arguments)
    return state


each_aggregate = pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda aggregate: aggregate.name)


@each_aggregate
@given(data=st.data())
def test_merging_is_commutative(aggregate: Any, data: st.DataObject) -> None:
    """merge(a, b) == merge(b, a)."""
    left, right = (total_of(aggregate, data.draw(st.lists(additions(aggregate)))) for _ in range(2))
    assert aggregate.value(aggregate.merge(left, right)) == aggregate.value(aggregate.merge(right, left))


@each_aggregate
@given(data=st.data())
def test_merging_is_associative(aggregate: Any, data: st.DataObject) -> None:
    """merge(merge(a, b), c) == merge(a, merge(b, c))."""
    a, b, c = (total_of(aggregate, data.draw(st.lists(additions(aggregate)))) for _ in range(3))
    left_first = aggregate.merge(aggregate.merge(a, b), c)
    right_first = aggregate.merge(a, aggregate.merge(b, c))
    assert aggregate.value(left_first) == aggregate.value(right_first)


@each_aggregate
@given(data=st.data())
def test_zero_changes_nothing(aggregate: Any, data: st.DataObject) -> None:
    """merge(a, zero()) == a == merge(zero(), a)."""
    state = total_of(aggregate, data.draw(st.lists(additions(aggregate))))
    assert aggregate.value(aggregate.merge(state, aggregate.zero())) == aggregate.value(state)
    assert aggregate.value(aggregate.merge(aggregate.zero(), state)) == aggregate.value(state)


@each_aggregate
@given(data=st.data())
def test_adding_and_merging_change_places(aggregate: Any, data: st.DataObject) -> None:
    """add(merge(a, b), x) == merge(a, add(b, x))."""
    left, right = (total_of(aggregate, data.draw(st.lists(additions(aggregate)))) for _ in range(2))
    arguments = data.draw(additions(aggregate))
    merged_first = total_of(aggregate, [arguments], aggregate.merge(left, right))
    added_first = aggregate.merge(left, total_of(aggregate, [arguments], right))
    assert aggregate.value(merged_first) == aggregate.value(added_first)


@each_aggregate
@given(data=st.data())
def test_adding_is_commutative(aggregate: Any, data: st.DataObject) -> None:
    """The order of what is added does not show."""
    added = data.draw(st.lists(additions(aggregate), max_size=40))
    shuffled = data.draw(st.permutations(added))
    assert aggregate.value(total_of(aggregate, added)) == aggregate.value(total_of(aggregate, shuffled))


@each_aggregate
@given(data=st.data())
def test_merging_leaves_its_arguments_alone(aggregate: Any, data: st.DataObject) -> None:
    """A merge makes a new state."""
    left, right = (total_of(aggregate, data.draw(st.lists(additions(aggregate)))) for _ in range(2))
    before = copy.deepcopy((left, right))
    aggregate.add(aggregate.merge(left, right), *data.draw(additions(aggregate)))
    assert (left, right) == before


@each_aggregate
@given(data=st.data())
def test_a_value_is_bounded(aggregate: Any, data: st.DataObject) -> None:
    """What a profile keeps of an aggregate never grows beyond its stated bound."""
    value = aggregate.value(total_of(aggregate, data.draw(st.lists(additions(aggregate), max_size=60))))
    bounds = {Bucketed: lambda: aggregate.series.buckets, Recent: lambda: aggregate.cap}
    bound = bounds.get(type(aggregate))
    assert bound is None or aggregate.size(value) <= bound()
