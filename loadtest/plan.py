"""The plan of a test: its stages, in order, each with what the generators do in it.

First a search finds the highest rate at which nearly all calls are answered for a while (`loadtest.search`); then an
open loop sends a share of that, on a schedule that no answer changes, and is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from loadtest.generator import Order
from loadtest.search import Counted, Search, Step, saturation_of

WARM_UP: Final = "warm up"
MEASURE: Final = "measure"
REST: Final = "rest"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a test goes."""

    rate: float = 0.0
    """Calls a second; 0 = a share of saturation, which is searched for first."""
    share: float = 0.6
    seconds: int = 60
    """How long the open loop is measured."""
    warm_up_s: int = 5
    step_s: int = 3
    """Seconds of each step of the search."""
    confirm_s: int = 15
    """Seconds for which the rate that was found must hold, to be saturation."""
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


class Course:
    """A plan as it is carried out: yields stages, and knows by then what the next one needs."""

    def __init__(self, plan: Plan, counted: Counted) -> None:
        """Begin; `counted` returns what was counted of a stage, once it is over."""
        self.plan = plan
        self.rate = plan.rate
        """Calls a second of the open loop that counts; 0 until it is known, and when no rate holds."""
        self._search = Search(plan.step_s, plan.confirm_s, plan.empty_rate, counted)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return what came of the search so far."""
        return tuple(self._search.steps)

    def stages(self) -> Iterator[Stage]:
        """Yield the stages. Each must be over, and a moment passed for late answers, before the next is asked for.

        Those that count are missing when no rate holds.
        """
        plan = self.plan
        if not self.rate:
            for seconds, order in self._search.orders():
                yield Stage(seconds, order)
            self.rate = round(plan.share * saturation_of(self.steps), 1)
            if not self.rate:
                return
        yield Stage(plan.warm_up_s, Order(WARM_UP, rate=self.rate, empty_rate=plan.empty_rate))
        yield Stage(plan.seconds, Order(MEASURE, rate=self.rate, empty_rate=plan.empty_rate))
