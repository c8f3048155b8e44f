"""The search finds the highest rate at which nearly all calls that come by themselves are answered."""

from __future__ import annotations

import pytest

from loadtest.generator import Order
from loadtest.mix import EMPTY, SCORE
from loadtest.plan import Plan
from loadtest.search import (
    CONFIRMATIONS,
    HALVINGS,
    HELD,
    IN_FLIGHT,
    LOWER,
    REPEATS,
    Search,
    Step,
    peak_of,
    saturation_of,
    shortcoming,
    step_of,
)
from loadtest.tally import Key
from tests.loadtest.make import closed_step, open_step, tally
from tests.loadtest.service import Service

PLAN = Plan()
ALWAYS = {f"{800 / 2**n} a second{again}" for n in range(1 + HALVINGS) for again in ("", ", again")}
"""Stages of a search in which no rate holds."""


def searched(service: Service) -> list[Step]:
    """Return the steps of a search that came to its end."""
    search = Search(PLAN.step_s, PLAN.confirm_s, PLAN.empty_rate, service.counted)
    seconds = [seconds for seconds, _ in search.orders()]
    assert seconds == [PLAN.confirm_s if step.confirms else PLAN.step_s for step in search.steps]
    return search.steps


def rates(steps: list[Step]) -> list[float]:
    """Return the rates of the open loop that were tried for short, in order."""
    return [step.rate for step in steps if step.open and not step.confirms]


def kept_up(steps: list[Step]) -> list[float]:
    """Return the rates that were kept up for longer, in order."""
    return [step.rate for step in steps if step.confirms]


@pytest.mark.parametrize("capacity", [25, 100, 333, 480, 790])
def test_saturation_is_found_from_below(capacity: int) -> None:
    """It is never more than what holds, and less by a thirty-second part of the peak at most."""
    found = saturation_of(searched(Service(peak=800, capacity=capacity)))
    assert capacity - 800 / 2**HALVINGS < found <= capacity


def test_peak_bounds_the_search_and_is_told_apart() -> None:
    """The closed loop comes first; the open one begins at its peak, and what holds is another number."""
    steps = searched(Service(peak=800, capacity=500))
    assert [step.in_flight for step in steps[: len(IN_FLIGHT)]] == list(IN_FLIGHT)
    assert rates(steps) == [800.0, 400.0, 600.0, 500.0, 550.0, 525.0]
    assert kept_up(steps) == [500.0]
    assert (peak_of(steps), saturation_of(steps)) == (800.0, 500.0)


def test_peak_that_holds_is_saturation() -> None:
    """A service that answers the closed loop's peak on a schedule, too, and keeps it up, is asked nothing more."""
    steps = searched(Service(peak=800, capacity=5_000))
    assert rates(steps) == kept_up(steps) == [800.0]
    assert saturation_of(steps) == 800.0


def test_rate_that_holds_for_seconds_is_no_saturation() -> None:
    """What held for a short step must hold for a longer one; where it does not, lower rates are kept up."""
    steps = searched(Service(peak=800, capacity=5_000, lasting=600))
    assert rates(steps) == [800.0]
    assert kept_up(steps) == [800.0, 720.0, 648.0, 583.2]
    assert saturation_of(steps) == 583.2


def test_service_that_keeps_nothing_up_has_no_saturation() -> None:
    """The search gives up after some rates, each lower than the one before, and says how the lowest went."""
    steps = searched(Service(peak=800, capacity=800, lasting=0))
    assert len(kept_up(steps)) == CONFIRMATIONS
    assert kept_up(steps)[-1] == pytest.approx(800 * LOWER ** (CONFIRMATIONS - 1), abs=0.5)
    assert saturation_of(steps) == 0.0
    assert f"of {kept_up(steps)[-1]:,.1f} a second on a schedule of their own only 90.0%" in shortcoming(steps)


def test_confirmation_that_a_stall_did_not_let_hold_is_tried_again() -> None:
    """The machine's stall lowers no saturation, unless it stalls twice."""
    once, twice = {"500.0 a second, longer"}, {"500.0 a second, longer", "500.0 a second, longer, again"}
    assert saturation_of(searched(Service(peak=800, capacity=500, stalls=once))) == 500.0
    assert saturation_of(searched(Service(peak=800, capacity=500, stalls=twice))) == 450.0


def test_rate_that_never_holds_leaves_no_saturation() -> None:
    """Down to the lowest rate nothing holds: there is a peak and no saturation."""
    steps = searched(Service(peak=800, capacity=0))
    assert min(rates(steps)) == 800 / 2**HALVINGS
    assert (peak_of(steps), saturation_of(steps)) == (800.0, 0.0)
    assert "of 25.0 a second on a schedule of their own only 92.0%, not 99%" in shortcoming(steps)


def test_service_that_answers_nothing_is_asked_no_rate() -> None:
    """Without a peak there is nothing to search below."""
    steps = searched(Service(peak=0, capacity=0))
    assert len(steps) == len(IN_FLIGHT)
    assert shortcoming(steps) == "answered nothing"


def test_rate_that_a_stall_did_not_let_hold_is_tried_again() -> None:
    """What the service refused while the empty handler was late is tried once more, and holds then."""
    steps = searched(Service(peak=800, capacity=500, stalls={"400.0 a second"}))
    assert rates(steps) == [800.0, 400.0, 400.0, 600.0, 500.0, 550.0, 525.0]
    assert saturation_of(steps) == 500.0


def test_rate_is_not_tried_a_third_time() -> None:
    """When the machine stalls again, the rate does not hold."""
    stalls = {"400.0 a second", "400.0 a second, again"}
    steps = searched(Service(peak=800, capacity=500, stalls=stalls))
    assert rates(steps).count(400.0) == 2
    assert saturation_of(steps) < 400.0


def test_rates_are_not_tried_again_for_ever() -> None:
    """A machine that stalls whatever the rate makes the search a few steps longer; the peak is not tried again."""
    steps = searched(Service(peak=800, capacity=500, stalls=ALWAYS))
    assert not kept_up(steps)
    assert len(steps) == len(IN_FLIGHT) + 1 + HALVINGS + REPEATS
    assert rates(steps)[:4] == [800.0, 400.0, 400.0, 200.0]


def test_rate_of_next_to_nothing_ends_the_search() -> None:
    """Halves that are no more than their tenth of a call a second are not told apart."""
    assert 0.0 < min(rates(searched(Service(peak=1, capacity=0)))) < 1.0


@pytest.mark.parametrize(("share", "holds"), [(HELD, True), (HELD - 0.001, False)])
def test_rate_holds_when_nearly_all_are_answered(share: float, holds: bool) -> None:  # noqa: FBT001
    """Ninety-nine of a hundred are enough, less are not."""
    assert open_step(500.0, share).holds is holds


def test_closed_loop_holds_no_rate() -> None:
    """What it got answered is no rate at which calls came."""
    assert saturation_of([closed_step(64, 800.0)]) == 0.0


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (closed_step(64, 800.0), ""),
        (open_step(500.0), "held"),
        (open_step(500.0, 0.9), "not held"),
        (open_step(500.0, confirms=True), "confirmed"),
        (open_step(500.0, 0.9, confirms=True), "not confirmed"),
    ],
)
def test_outcome_tells_a_longer_step_from_a_short_one(step: Step, outcome: str) -> None:
    """Console, page and plot say which of them a rate held."""
    assert step.outcome == outcome


def test_step_leaves_out_its_beginning_and_the_empty_handler() -> None:
    """The first second of a step does not count, nor what came after its end, nor empty calls."""
    counted = {
        Key("s", 0, SCORE): tally(1_000),
        Key("s", 1, SCORE): tally(30, RESOURCE_EXHAUSTED=4, DEADLINE_EXCEEDED=2),
        Key("s", 2, SCORE): tally(50),
        Key("s", 2, EMPTY): tally(500),
        Key("s", 3, SCORE): tally(7_000),
    }
    found = step_of(Order("s", rate=43.0, empty_rate=250.0), counted, 3)
    assert (found.answered_per_s, found.answered_share) == (40.0, 80 / 86)
    assert (found.refused, found.errors, found.empty_late) == (4, 6, False)


def test_empty_handler_is_late_by_its_own_calls() -> None:
    """One in a hundred of its calls may be late, not two, whatever the service did."""
    for slow, is_late in ((3, False), (4, True)):
        counted = {Key("s", 1, SCORE): tally(50), Key("s", 1, EMPTY): tally(300 - slow, slow=slow)}
        assert step_of(Order("s", rate=50.0, empty_rate=300.0), counted, 2).empty_late is is_late
