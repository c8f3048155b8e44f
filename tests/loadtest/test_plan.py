"""A test goes through its stages, and finds its rate by itself when none is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from loadtest.mix import EMPTY, SCORE
from loadtest.plan import IN_FLIGHT, MEASURE, WARM_UP, Course, Plan, Stage, step_of
from loadtest.tally import Key, Tally
from tests.loadtest.make import tally


def course(plan: Plan, answered: Mapping[int, int]) -> Course:
    """Return a course against a service that answers so many calls a second with so many in flight."""

    def counted(stage: str) -> dict[Key, Tally]:
        in_flight = int(stage.split(maxsplit=1)[0])
        return {Key(stage, second, SCORE): tally(answered[in_flight]) for second in range(plan.step_s)}

    return Course(plan, counted)


def names(stages: Iterator[Stage]) -> list[str]:
    """Return the names of the stages, in order."""
    return [stage.name for stage in stages]


def test_given_rate_needs_no_search() -> None:
    """With a rate the test warms up and measures at it."""
    found = list(course(Plan(rate=300.0, seconds=9), {}).stages())
    assert [(stage.name, stage.order.rate) for stage in found] == [(WARM_UP, 300.0), (MEASURE, 300.0)]


def test_rate_is_a_share_of_the_best_step() -> None:
    """The open loop sends the set share of what was answered at most."""
    answered = dict(zip(IN_FLIGHT, (10, 20, 40, 80, 100, 101, 90, 80), strict=True))
    followed = course(Plan(share=0.6, step_s=3), answered)
    *_, last = followed.stages()
    assert last.order.rate == pytest.approx(0.6 * 101)


def test_search_ends_when_more_brings_nothing() -> None:
    """Two steps without gain are enough."""
    answered = dict(zip(IN_FLIGHT, (10, 20, 20, 20, 20, 20, 20, 20), strict=True))
    followed = course(Plan(step_s=3), answered)
    assert names(followed.stages()) == ["1 in flight", "2 in flight", "4 in flight", "8 in flight", WARM_UP, MEASURE]


def test_service_that_answers_nothing_is_not_measured() -> None:
    """Without any answer there is no rate to test at."""
    followed = course(Plan(step_s=3), dict.fromkeys(IN_FLIGHT, 0))
    assert MEASURE not in names(followed.stages())


def test_step_leaves_out_its_beginning_and_the_empty_handler() -> None:
    """The first second of a step does not count, nor what came after its end, nor empty calls."""
    counted = {
        Key("s", 0, SCORE): tally(1_000),
        Key("s", 1, SCORE): tally(30, RESOURCE_EXHAUSTED=4),
        Key("s", 2, SCORE): tally(50),
        Key("s", 2, EMPTY): tally(500),
        Key("s", 3, SCORE): tally(7_000),
    }
    found = step_of(8, counted, 3)
    assert (found.answered_per_s, found.errors) == (40.0, 4)
