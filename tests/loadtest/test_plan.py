"""A test goes through its stages, and finds its rate by itself when none is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loadtest.plan import MEASURE, WARM_UP, Course, Plan, Stage
from tests.loadtest.service import Service


def names(stages: Iterator[Stage]) -> list[str]:
    """Return the names of the stages, in order."""
    return [stage.name for stage in stages]


def test_given_rate_needs_no_search() -> None:
    """With a rate the test warms up and measures at it."""
    course = Course(Plan(rate=300.0, seconds=9), Service(peak=0, capacity=0).counted)
    found = list(course.stages())
    assert [(stage.name, stage.order.rate) for stage in found] == [(WARM_UP, 300.0), (MEASURE, 300.0)]


def test_rate_is_a_share_of_saturation() -> None:
    """What is measured is the set share of the highest rate that held, not of the closed loop's peak."""
    course = Course(Plan(share=0.6), Service(peak=800, capacity=500).counted)
    *_, last = course.stages()
    assert last.order.rate == pytest.approx(0.6 * 500)


def test_service_that_answers_nothing_is_not_measured() -> None:
    """Without any answer there is no rate to test at."""
    course = Course(Plan(), Service(peak=0, capacity=0).counted)
    assert MEASURE not in names(course.stages())
    assert course.rate == 0.0


def test_service_that_answers_too_little_at_every_rate_is_not_measured() -> None:
    """Where no rate holds there is none to test at, whatever the closed loop got answered."""
    course = Course(Plan(), Service(peak=800, capacity=0).counted)
    assert MEASURE not in names(course.stages())
    assert course.rate == 0.0
