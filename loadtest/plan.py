"""The plan of a test: its stages, in order, each with what the generators do in it.

First a closed loop finds out what the machine can answer at most, with more and more calls in flight; then an open
loop sends a share of that, on a schedule that no answer changes, and is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from loadtest.generator import Order
from loadtest.mix import EMPTY
from loadtest.tally import Key, Tally, total

WARM_UP: Final = "warm up"
MEASURE: Final = "measure"
REST: Final = "rest"

IN_FLIGHT: Final = (1, 2, 4, 8, 16, 32, 64, 128)
"""Calls in flight of the closed loop, step by step."""

_SETTLING: Final = 1
"""Seconds at the beginning of a step that do not count."""

_WORTH_WHILE: Final = 1.02
"""A step that answers less than this times the best one before it brought nothing; two of them end the search."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a test goes."""

    rate: float = 0.0
    """Calls a second; 0 = a share of what the machine can answer at most, measured first."""
    share: float = 0.6
    seconds: int = 60
    """How long the open loop is measured."""
    warm_up_s: int = 5
    step_s: int = 4
    """Seconds of each step of the closed loop."""
    empty_rate: float = 100.0
    """Calls a second to the empty handler."""


class Stage(NamedTuple):
    """A stretch of time in which the generators follow one order."""

    seconds: float
    order: Order

    @property
    def name(self) -> str:
        """Return what its calls are counted under."""
        return self.order.stage


class Step(NamedTuple):
    """What came of one step of the closed loop."""

    in_flight: int
    answered_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


Counted = Callable[[str], Mapping[Key, Tally]]


class Course:
    """A plan as it is carried out: yields stages, and knows by then what the next one needs."""

    def __init__(self, plan: Plan, counted: Counted) -> None:
        """Begin; `counted` returns what was counted of a stage, once it is over."""
        self.plan = plan
        self.steps: list[Step] = []
        self.rate = plan.rate
        self._counted = counted

    def stages(self) -> Iterator[Stage]:
        """Yield the stages. Each must be over, and a moment passed for late answers, before the next is asked for."""
        plan = self.plan
        if not self.rate:
            yield from self._search()
            self.rate = round(plan.share * self.saturation, 1)
            if not self.rate:
                return
        yield Stage(plan.warm_up_s, Order(WARM_UP, rate=self.rate, empty_rate=plan.empty_rate))
        yield Stage(plan.seconds, Order(MEASURE, rate=self.rate, empty_rate=plan.empty_rate))

    @property
    def saturation(self) -> float:
        """Return the calls a second that were answered at most; 0 when that was not measured."""
        return max((step.answered_per_s for step in self.steps), default=0.0)

    def _search(self) -> Iterator[Stage]:
        idle = 0
        for in_flight in IN_FLIGHT:
            name = f"{in_flight} in flight"
            yield Stage(self.plan.step_s, Order(name, in_flight=in_flight))
            best = self.saturation
            self.steps.append(step_of(in_flight, self._counted(name), self.plan.step_s))
            idle = 0 if self.steps[-1].answered_per_s > _WORTH_WHILE * best else idle + 1
            if idle == 2:  # noqa: PLR2004
                return


def step_of(in_flight: int, counted: Mapping[Key, Tally], seconds: int) -> Step:
    """Return what came of a step of so many seconds."""
    settled = total(tally for key, tally in counted.items() if key.kind != EMPTY and _SETTLING <= key.second < seconds)
    latencies = settled.latencies
    return Step(
        in_flight,
        settled.answered / (seconds - _SETTLING),
        latencies.percentile_ms(0.5),
        latencies.percentile_ms(0.99),
        settled.errors,
    )
