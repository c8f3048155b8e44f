"""The scale of a feature: which value it has at a count, at a time ago, or at yes and no.

People set limits in counts and days; rows hold numbers in [0, 1]. A scale finds its count or its moment in the
feature's own formula and evaluates that formula, so a limit on one side and a row on the other have the same bits.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np

from service.core.aggregates import RECENT_CAP
from service.core.features import Feature
from service.core.formula import Constant, Fact, Formula, Operation, Reading, evaluate_columns, readings

Unit = Literal["count", "time", "truth"]

_NOW: Final = Fact("time_ms")
_ANY_TIME_MS: Final = float(1 << 42)
"""An instant: only what lies between it and another one matters."""

_COUNTED: Final = frozenset({"window", "total", "size"})


class Scale(NamedTuple):
    """What a feature measures.

    `unit` is "count" (of things, or of minor units), "time" (since a moment, in milliseconds) or "truth" (0 or 1).
    `rising` tells that the feature grows with it. `what` names it as profiles do, such as `purchases` or `first_ms`.
    """

    formula: Formula
    reading: Reading
    unit: Unit
    rising: bool

    @property
    def what(self) -> str:
        """Return what is counted, or which moment it is."""
        return self.reading.name or self.reading.form

    def at(self, natural: float) -> float:
        """Return the feature's value at a count, at milliseconds ago, or at 0 and 1. Not for the hot path: 20 µs.

        Whatever else the formula reads is there once.
        """
        read = {one: np.array([1.0]) for one in readings([self.formula])}
        read[self.reading] = np.array([_ANY_TIME_MS - natural if self.unit == "time" else float(natural)])
        (column,) = evaluate_columns([self.formula], {_NOW.name: np.array([_ANY_TIME_MS])}, read)
        return float(column[0])

    def largest(self) -> int | None:
        """Return the largest count there can be; None where there is no bound."""
        return RECENT_CAP if self.reading.form == "size" else None


def scale_of(feature: Feature) -> Scale | None:
    """Return the scale of a feature; None for one that compares several things and has none."""
    formula = feature.formula
    match formula:
        case Reading(form="exists" | "met"):
            return Scale(formula, formula, "truth", rising=True)
        case Operation("/", part, Operation("+", same, Constant())) if part == same:
            counted = _counted(part)
            if counted is not None:
                return Scale(formula, counted, "count", rising=True)
    return _time_scale(formula, formula)


def _counted(part: Formula) -> Reading | None:
    """Return what a formula counts: a reading, or one that is held to 0 and more."""
    match part:
        case Operation("max", Reading() as inner, Constant(value=0.0)):
            return _counted(inner)
        case Reading(form=form, name=name) if form in _COUNTED and not name.endswith("_ms"):
            return part
    return None


def _time_scale(formula: Formula, part: Formula) -> Scale | None:
    """Return the scale of a tenure or a recency, which may be multiplied by whether there was such a moment."""
    match part:
        case Operation("*", Operation("min", _, Constant(value=1.0)), rest):
            return _time_scale(formula, rest)
        case Operation("/", Operation() as since, Operation("+", same, Constant())) if since == same:
            moment = _moment(since)
            return None if moment is None else Scale(formula, moment, "time", rising=True)
        case Operation("/", Constant(value=half), Operation("+", since, Constant(value=other))) if half == other:
            moment = _moment(since)
            return None if moment is None else Scale(formula, moment, "time", rising=False)
    return None


def _moment(since: Formula) -> Reading | None:
    match since:
        case Operation("max", Operation("-", Fact(name="time_ms"), Reading() as moment), Constant(value=0.0)):
            return moment
    return None
