"""The load plan: a bad version never unseats a good one."""

from __future__ import annotations

import pytest

from service.registry.lineup_file import BlendAnswer, LineupSpec
from service.registry.load_plan import Plan, plan
from service.registry.manifest import ThresholdChoice

BLEND = BlendAnswer(versions=(1, 2), thresholds=ThresholdChoice(review=0.4, decline=0.8, why="a test"))


def _plan(
    load: tuple[int, ...] = (), *, switch: bool = False, drop: tuple[int, ...] = (), blocked: tuple[int, ...] = ()
) -> Plan:
    return Plan(load, switch, frozenset(drop), blocked)


@pytest.mark.parametrize(
    ("spec", "loaded", "failed", "live", "expected"),
    [
        # The first version: load it, then switch.
        (LineupSpec(champion=1), set(), set(), set(), _plan((1,))),
        (LineupSpec(champion=1), {1}, set(), set(), _plan(switch=True)),
        # A new champion: the old one stays until the new one is loaded, and is dropped with the switch.
        (LineupSpec(champion=2), {1}, set(), {1}, _plan((2,))),
        (LineupSpec(champion=2), {1, 2}, set(), {1}, _plan(switch=True, drop=(1,))),
        # A new champion that does not load: the old one stays.
        (LineupSpec(champion=2), {1}, {2}, {1}, _plan(blocked=(2,))),
        # The first champion does not load: nothing is live, and nothing pretends to be.
        (LineupSpec(champion=1), set(), {1}, set(), _plan(blocked=(1,))),
        # A challenger that does not load holds nobody up.
        (LineupSpec(champion=1, challengers=(3,)), {1}, {3}, set(), _plan(switch=True)),
        (LineupSpec(champion=2, challengers=(1,)), {1}, {2}, {1}, _plan(blocked=(2,))),
        # A blend needs all of its versions; a champion that only shadows is like a challenger.
        (LineupSpec(champion=1, answer=BLEND), {1}, {2}, {1}, _plan(blocked=(2,))),
        (LineupSpec(champion=3, answer=BLEND), {1, 2}, {3}, set(), _plan(switch=True)),
        (LineupSpec(champion=3, answer=BLEND, challengers=(4,)), {3}, set(), {3}, _plan((1, 2, 4))),
        # While one is blocked, what is neither live nor wanted goes, what is one of them stays.
        (LineupSpec(champion=4, challengers=(3,)), {1, 2, 3}, {4}, {1}, _plan(drop=(2,), blocked=(4,))),
        # A failure of a version that nobody wants any more matters to nobody.
        (LineupSpec(champion=1), {1}, {2}, {1}, _plan(switch=True)),
    ],
)
def test_plan(spec: LineupSpec, loaded: set[int], failed: set[int], live: set[int], expected: Plan) -> None:
    """Load what is wanted, switch when all that answers is loaded, drop what is neither wanted nor live."""
    assert plan(spec, loaded, failed, live) == expected
