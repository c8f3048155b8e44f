"""Formulas: the one declaration of a feature, compiled twice.

A formula is built with `+ - * /`, `sqrt`, `minimum` and `maximum` from readings of profiles and facts of
the purchase. `service.core.compiled` turns a list of formulas into one straight-line Python function for a
single row (the hot path); `evaluate_columns` computes the same formulas over numpy arrays (replay).
Both are derived from the same tree and use only correctly rounded operations on float64, so they
agree bit for bit. NaN in gives NaN out of everything that depends on it.

Division: a divisor is positive by construction of the formula (a count plus a positive constant).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from service.core.event import EntityKind

Column = npt.NDArray[np.float64]


class Formula:
    """A node of the tree; combine with operators and the functions of this module."""

    __slots__ = ()

    def __add__(self, other: Formula | float) -> Formula:
        """Return the sum."""
        return Operation("+", self, _node(other))

    def __radd__(self, other: float) -> Formula:
        """Return the sum."""
        return Operation("+", _node(other), self)

    def __sub__(self, other: Formula | float) -> Formula:
        """Return the difference."""
        return Operation("-", self, _node(other))

    def __rsub__(self, other: float) -> Formula:
        """Return the difference."""
        return Operation("-", _node(other), self)

    def __mul__(self, other: Formula | float) -> Formula:
        """Return the product."""
        return Operation("*", self, _node(other))

    def __rmul__(self, other: float) -> Formula:
        """Return the product."""
        return Operation("*", _node(other), self)

    def __truediv__(self, other: Formula | float) -> Formula:
        """Return the quotient."""
        return Operation("/", self, _node(other))

    def __rtruediv__(self, other: float) -> Formula:
        """Return the quotient."""
        return Operation("/", _node(other), self)


@dataclass(frozen=True, slots=True)
class Constant(Formula):
    """A number."""

    value: float

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.value:g}" if float(f"{self.value:g}") == self.value else repr(self.value)


FactName = Literal["time_ms", "amount", "log_amount", "log_quantity"]


@dataclass(frozen=True, slots=True)
class Fact(Formula):
    """Something that the purchase itself says, as an integer."""

    name: FactName

    def __str__(self) -> str:
        """Return its name."""
        return self.name


@dataclass(frozen=True, slots=True)
class Reading(Formula):
    """An integer read from the profile of one kind, as of the purchase.

    `form` is one of: `exists` (1 when anything was ever recorded, else 0), `total` (a scalar),
    `window` (the sum of a measure over a window), `onset` (how many buckets ago the measure first rose in
    a window: 1 for the current bucket, 0 when its sum there is not positive), `day_part` (the count of
    purchases in the part of the day that the purchase falls into), `size` (entries of a recent map), `met`
    (1 when the recent map holds the id that the purchase names, else 0; unknown when it names none).
    """

    kind: EntityKind
    form: Literal["exists", "total", "window", "onset", "day_part", "size", "met"]
    name: str = ""
    window: str = ""

    def __str__(self) -> str:
        """Return it as documents show it."""
        form = self.form if not self.name or self.form == "onset" else ""
        words = [word for word in (self.name, self.window, form) if word]
        return f"{self.kind.name.lower()}.{'_'.join(words)}{'?' if self.form == 'met' else ''}"


@dataclass(frozen=True, slots=True)
class Operation(Formula):
    """Two formulas joined by `+ - * / min max`."""

    sign: Literal["+", "-", "*", "/", "min", "max"]
    left: Formula
    right: Formula

    def __str__(self) -> str:
        """Return it as it would be written by hand."""
        if self.sign in {"min", "max"}:
            return f"{self.sign}({self.left}, {self.right})"
        left, right = str(self.left), str(self.right)
        if isinstance(self.left, Operation) and _rank(self.left) < _rank(self):
            left = f"({left})"
        if isinstance(self.right, Operation) and _rank(self.right) <= _rank(self):
            right = f"({right})"
        return f"{left} {self.sign} {right}"


@dataclass(frozen=True, slots=True)
class Root(Formula):
    """The square root of a formula that is never negative."""

    inner: Formula

    def __str__(self) -> str:
        """Return it as it would be written by hand."""
        return f"sqrt({self.inner})"


def _rank(operation: Operation) -> int:
    return {"+": 1, "-": 1, "*": 2, "/": 2}.get(operation.sign, 3)


def _node(value: Formula | float) -> Formula:
    return value if isinstance(value, Formula) else Constant(float(value))


def minimum(left: Formula | float, right: Formula | float) -> Formula:
    """Return the smaller one."""
    return Operation("min", _node(left), _node(right))


def maximum(left: Formula | float, right: Formula | float) -> Formula:
    """Return the larger one."""
    return Operation("max", _node(left), _node(right))


def root(inner: Formula) -> Formula:
    """Return the square root."""
    return Root(inner)


def readings(formulas: Iterable[Formula]) -> list[Reading]:
    """Return the readings that the formulas need, each once, in order of first use."""
    found: dict[Reading, None] = {}
    stack = list(formulas)[::-1]
    while stack:
        node = stack.pop()
        if isinstance(node, Reading):
            found[node] = None
        elif isinstance(node, Operation):
            stack += [node.right, node.left]
        elif isinstance(node, Root):
            stack.append(node.inner)
    return list(found)


# --- over columns -------------------------------------------------------------------------------


def evaluate_columns(
    formulas: Sequence[Formula], facts: Mapping[str, Column], read: Mapping[Reading, Column]
) -> list[Column]:
    """Return one float64 column for each formula, from columns of the facts and of the readings.

    All columns have the same length and hold integers as float64, NaN where a reading is unknown.
    Cost: one numpy operation for each distinct node.
    """
    known: dict[Formula, Column] = {reading: column for reading, column in read.items()}  # noqa: C416  widens the key
    length = len(facts["time_ms"])
    return [np.broadcast_to(_column(formula, facts, known), (length,)) for formula in formulas]


def _column(node: Formula, facts: Mapping[str, Column], known: dict[Formula, Column]) -> Column:
    """Return the column of a node, computed once.

    Not a closure: it would refer to itself and keep every column until a garbage collection.
    """
    if node in known:
        return known[node]
    match node:
        case Constant():
            found: Column = np.float64(node.value)  # type: ignore[assignment]  # broadcasts
        case Fact():
            found = facts[node.name]
        case Root():
            found = np.sqrt(_column(node.inner, facts, known))
        case Operation():
            found = _NUMPY[node.sign](_column(node.left, facts, known), _column(node.right, facts, known))
        case _:
            message = f"not a formula, or a reading that was not given: {node!r}"
            raise TypeError(message)
    known[node] = found
    return found


_NUMPY: Final[dict[str, Callable[[Column, Column], Column]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "min": np.minimum,
    "max": np.maximum,
}
