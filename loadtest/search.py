"""The search for saturation: the highest rate of calls on a schedule of their own that are answered nearly all.

Two loops, for they find different numbers. With many calls in flight a closed loop finds the *peak*: there are never
more calls than wait for their turn already, and what calls that wait together can share is shared. Nobody's customers
come that way: they come in crowds, and a service refuses those whose turn would come too late. So the peak only bounds
the search, and an open loop finds the rate below it, by halving, in steps of seconds. What holds for seconds may hold
no longer, so the rate is kept up for a longer while, and lowered until it holds that long: this is *saturation*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from loadtest.generator import Order
from loadtest.mix import EMPTY
from loadtest.sla import Limit, late
from loadtest.tally import Key, Tally, total

IN_FLIGHT: Final = (8, 16, 32, 64)
"""Calls in flight of the closed loop, step by step."""

HALVINGS: Final = 5
"""Rates that are tried below the peak: saturation is found within a thirty-second part of it."""

HELD: Final = 0.99
"""Share of the calls of a step that must be answered within their deadline for its rate to hold."""

REPEATS: Final = 3
"""Rates of a search that are tried once more, because they did not hold while the empty handler was late: the first
ones below the peak, which decide most. As many again of those that are to be confirmed."""

CONFIRMATIONS: Final = 6
"""Rates that are kept up for a longer while, until one holds."""

LOWER: Final = 0.9
"""The next rate to confirm, as a share of the one that did not hold."""

EMPTY_LIMIT: Final = Limit(0.99, 5.0)
"""What the empty handler must hold in a step, for the service to be the one that did not."""

SETTLING_S: Final = 1
"""Seconds at the beginning of a step that do not count."""


class Step(NamedTuple):
    """What came of one step, closed or open."""

    in_flight: int
    """Of the closed loop; 0 in the open one."""
    rate: float
    """Calls a second that were due, of the open loop; 0 in the closed one."""
    answered_per_s: float
    answered_share: float
    """Of the calls that were due."""
    p50_ms: float
    p99_ms: float
    refused: int
    """Calls that the service did not take because they would have waited too long."""
    errors: int
    """All calls without an answer, refused ones among them."""
    empty_p99_ms: float | None = None
    """Of the empty handler in the same seconds; None where it was not called or did not answer."""
    empty_late: bool = False
    """Whether it missed EMPTY_LIMIT."""
    confirms: bool = False
    """Whether this was a longer step, which alone can say that the service keeps a rate up."""

    @property
    def open(self) -> bool:
        """Return whether calls came on a schedule of their own."""
        return self.rate > 0

    @property
    def holds(self) -> bool:
        """Return whether the service can answer calls that come at this rate, for as long as the step took."""
        return self.open and self.answered_share >= HELD

    @property
    def outcome(self) -> str:
        """Return in words what it said about its rate; nothing in the closed loop."""
        if not self.open:
            return ""
        return ("" if self.holds else "not ") + ("confirmed" if self.confirms else "held")


Counted = Callable[[str], Mapping[Key, Tally]]


def peak_of(steps: Iterable[Step]) -> float:
    """Return the calls a second that the closed loop got answered at most; 0 when that was not measured."""
    return max((step.answered_per_s for step in steps if not step.open), default=0.0)


def saturation_of(steps: Iterable[Step]) -> float:
    """Return the highest rate of the open loop that was confirmed; 0 when none was, or none was tried."""
    return max((step.rate for step in steps if step.holds and step.confirms), default=0.0)


def shortcoming(steps: Sequence[Step]) -> str:
    """Return what a service did of which no rate held, to follow its name."""
    failed = [step for step in steps if step.open and not step.holds]
    if not failed:
        return "answered nothing"
    least = min(failed, key=lambda step: step.rate)
    return (
        f"answered {peak_of(steps):,.0f} calls a second that waited for each other, but of {least.rate:,.1f} a second "
        f"on a schedule of their own only {least.answered_share:.1%}, not {HELD:.0%}: there is no saturation to take a "
        "share of (--rate needs none)"
    )


class Search:
    """A search as it is carried out: yields orders, and knows by then what the next one is."""

    def __init__(self, step_s: int, confirm_s: int, empty_rate: float, counted: Counted) -> None:
        """Begin; `counted` returns what was counted of a stage, once it is over."""
        self.steps: list[Step] = []
        self._step_s = step_s
        self._confirm_s = confirm_s
        self._empty_rate = empty_rate
        self._counted = counted
        self._repeats = 0

    def orders(self) -> Iterator[tuple[int, Order]]:
        """Yield what to send, and for how many seconds. Late answers must have come before the next is asked for.

        At most len(IN_FLIGHT) + 1 + HALVINGS + REPEATS of `step_s`, and CONFIRMATIONS + REPEATS of `confirm_s`. With
        the plan's seconds and rests of two, 67 s when nothing is tried twice and the first rate is confirmed.
        """
        for in_flight in IN_FLIGHT:
            yield from self._step(self._step_s, Order(f"{in_flight} in flight", in_flight=in_flight))
        yield from self._halve()
        yield from self._confirm()

    def _halve(self) -> Iterator[tuple[int, Order]]:
        """Look for the highest rate that holds for a step."""
        peak = round(peak_of(self.steps), 1)
        low, high, rate = 0.0, peak, peak  # who answers the peak on a schedule, too, can answer no more
        self._repeats = REPEATS
        for _ in range(1 + HALVINGS):
            if not rate:
                return
            yield from self._open(f"{rate:.1f} a second", rate, again=rate < peak)
            if self.steps[-1].holds:
                low = rate
            else:
                high = rate
            rate = round((low + high) / 2, 1)
            if rate in (low, high):
                return

    def _confirm(self) -> Iterator[tuple[int, Order]]:
        """Keep up the highest rate that held, and lower ones after it, until one holds longer."""
        rate = max((step.rate for step in self.steps if step.holds), default=0.0)
        self._repeats = REPEATS
        for _ in range(CONFIRMATIONS):
            if not rate:
                return
            yield from self._open(f"{rate:.1f} a second, longer", rate, again=True, confirms=True)
            if self.steps[-1].holds:
                return
            rate = round(LOWER * rate, 1)

    def _open(self, stage: str, rate: float, *, again: bool, confirms: bool = False) -> Iterator[tuple[int, Order]]:
        """Try a rate, and `again` when it may have failed to hold because the machine did something else."""
        seconds = self._confirm_s if confirms else self._step_s
        order = Order(stage, rate=rate, empty_rate=self._empty_rate)
        yield from self._step(seconds, order, confirms=confirms)
        if again and self._repeats and self.steps[-1].empty_late and not self.steps[-1].holds:
            self._repeats -= 1
            yield from self._step(seconds, replace(order, stage=f"{stage}, again"), confirms=confirms)

    def _step(self, seconds: int, order: Order, *, confirms: bool = False) -> Iterator[tuple[int, Order]]:
        yield seconds, order
        self.steps.append(step_of(order, self._counted(order.stage), seconds, confirms=confirms))


def step_of(order: Order, counted: Mapping[Key, Tally], seconds: int, *, confirms: bool = False) -> Step:
    """Return what came of a step of so many seconds."""
    settled = {key: tally for key, tally in counted.items() if SETTLING_S <= key.second < seconds}
    calls = total(tally for key, tally in settled.items() if key.kind != EMPTY)
    empties = total(tally for key, tally in settled.items() if key.kind == EMPTY)
    return Step(
        in_flight=order.in_flight,
        rate=order.rate,
        answered_per_s=calls.answered / (seconds - SETTLING_S),
        answered_share=calls.answered / calls.calls if calls.calls else 0.0,
        p50_ms=calls.latencies.percentile_ms(0.5),
        p99_ms=calls.latencies.percentile_ms(0.99),
        refused=calls.codes["RESOURCE_EXHAUSTED"],
        errors=calls.errors,
        empty_p99_ms=empties.latencies.percentile_ms(EMPTY_LIMIT.share) if empties.answered else None,
        empty_late=late(EMPTY_LIMIT, empties),
        confirms=confirms,
    )
