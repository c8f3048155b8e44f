"""Formulas: the one declaration of a feature, compiled twice.

A formula is built with `+ - * /`, `sqrt`, `minimum` and `maximum` from readings of profiles and facts of
the purchase. `compile_row` turns a list of formulas into one straight-line Python function for a
single row (the hot path); `evaluate_columns` computes the same formulas over numpy arrays (replay).
Both are derived from the same tree and use only correctly rounded operations on float64, so they
agree bit for bit. NaN in gives NaN out of everything that depends on it.

Division: a divisor is positive by construction of the formula (a count plus a positive constant).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from service.core.event import KINDS, EntityKind
from service.core.profile import DAY_PART_MS, DAY_PARTS, SCHEMAS
from service.core.windows import SERIES, WINDOWS, Series

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
    `window` (the sum of a measure over a window), `day_part` (the count of purchases in the part of the
    day that the purchase falls into), `size` (entries of a recent map), `met` (1 when the recent map
    holds the id that the purchase names, else 0; unknown when it names none).
    """

    kind: EntityKind
    form: Literal["exists", "total", "window", "day_part", "size", "met"]
    name: str = ""
    window: str = ""

    def __str__(self) -> str:
        """Return it as documents show it."""
        words = [word for word in (self.form if not self.name else "", self.name, self.window) if word]
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


# --- one row ------------------------------------------------------------------------------------

Readable = tuple[float, ...]
"""An image, or one of an older layout widened to the newest, with NaN among its integers."""

RowFunction = Callable[
    [int, int, int, int, int, int, int, Readable | None, Readable | None, Readable | None, Readable | None],
    list[float],
]
"""`row(time_ms, amount, log_amount, log_quantity, user64, seller64, card64, user, seller, item, card)`.

The images are those of `service.core.profile`, EMPTY for an unknown entity, None for one that is absent
or could not be read. Returns the features in order. Cost: about 0.2 µs for each reading and 0.1 µs for
each operation, whatever the fill of the profiles; no allocation beyond the row.
"""

_MET_BY: Final = {"cards": "card64", "sellers": "seller64", "users": "user64"}


def compile_row(formulas: Sequence[Formula]) -> RowFunction:
    """Compile formulas into one function; done when a lineup loads, never per request."""
    source = row_source(formulas)
    scope: dict[str, object] = {"nan": math.nan, "sqrt": math.sqrt, "after": bisect_right}
    exec(compile(source, "<compiled features>", "exec"), scope)  # noqa: S102  the source is ours, made from declarations
    return scope["row"]  # type: ignore[return-value]


def row_source(formulas: Sequence[Formula]) -> str:
    """Return the source of the function that `compile_row` compiles, for the curious and for tests."""
    emit = _Emitter()
    needed = readings(formulas)
    series = {WINDOWS[reading.window].series for reading in needed if reading.form == "window"}
    for one in SERIES:
        if one.name in series:
            emit.line(f"now_{one.name} = time_ms // {one.bucket_ms}")
    for kind in KINDS:
        emit.profile(kind, [reading for reading in needed if reading.kind is kind])
    results = [emit.real(formula) for formula in formulas]
    arguments = "time_ms, amount, log_amount, log_quantity, user64, seller64, card64, user, seller, item, card"
    body = "\n".join("    " + line for line in emit.lines)
    return f"def row({arguments}):\n{body}\n    return [{', '.join(results)}]\n"


class _Emitter:
    """Writes the lines of the function, computing each distinct node once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[Formula, str] = {}
        self.reals: dict[Formula, str] = {}

    def line(self, text: str) -> None:
        self.lines.append(text)

    def profile(self, kind: EntityKind, needed: Sequence[Reading]) -> None:
        """Read what is needed of one profile, or NaN all through when there is none."""
        if not needed:
            return
        image = kind.name.lower()
        for reading in needed:
            self.names[reading] = f"r{len(self.names)}"
        self.line(f"if {image} is None:")
        self.line(f"    {' = '.join(self.names[reading] for reading in needed)} = nan")
        self.line("else:")
        schema = SCHEMAS[kind]
        for reading in needed:
            name = self.names[reading]
            match reading.form:
                case "exists":
                    self.line(f"    {name} = 1 if {image}[1] else 0")
                case "total":
                    self.line(f"    {name} = {image}[{schema.total_at[reading.name]}]")
                case "day_part":
                    at = schema.total_at["day_part_0"]
                    self.line(f"    {name} = {image}[{at} + time_ms // {DAY_PART_MS} % {DAY_PARTS}]")
                case "size":
                    self.line(f"    {name} = {image}[{schema.recent_at[reading.name]}]")
        self._windows(kind, image, needed)
        self._met(kind, image, needed)

    def _windows(self, kind: EntityKind, image: str, needed: Sequence[Reading]) -> None:
        schema = SCHEMAS[kind]
        wanted = [reading for reading in needed if reading.form == "window"]
        if not wanted and not any(reading.form == "met" for reading in needed):
            return
        self.line(f"    at = {schema.head}")
        for one in schema.series:
            measures = one.series.measures
            here = [reading for reading in wanted if WINDOWS[reading.window].series == one.name]
            self.line(f"    size = {image}[{schema.series_at[one.name]}]")
            if here:
                self._series(image, one.series, here)
            self.line(f"    at += size * {len(measures) + 1} + {len(measures)}")

    def _series(self, image: str, series: Series, here: Sequence[Reading]) -> None:
        """Read the windows of one series: the newest running sums once, then where each window begins."""
        now = f"now_{series.name}"
        self.line("    top = at + size")
        self.line(f"    new = top if not size or {image}[top - 1] <= {now} else after({image}, {now}, at, top)")
        for measure in sorted({series.measures.index(reading.name) for reading in here}):
            self.line(f"    sums{measure} = size * {measure + 1} + {measure}")
            self.line(f"    newest{measure} = {image}[new + sums{measure}]")
        end = "new"
        # From the shortest window to the longest: each begins no later than the one before.
        for window in sorted({reading.window for reading in here}, key=lambda name: WINDOWS[name].count):
            self.line(f"    old = after({image}, {now} - {WINDOWS[window].count}, at, {end})")
            end = "old"
            for reading in here:
                if reading.window == window:
                    measure = series.measures.index(reading.name)
                    name = self.names[reading]
                    self.line(f"    {name} = newest{measure} - {image}[old + sums{measure}]")

    def _met(self, kind: EntityKind, image: str, needed: Sequence[Reading]) -> None:
        schema = SCHEMAS[kind]
        wanted = {reading.name: reading for reading in needed if reading.form == "met"}
        if not wanted:
            return
        for recent in schema.recents:
            self.line(f"    size = {image}[{schema.recent_at[recent.name]}]")
            self.line("    if size != size: size = 0")
            if recent.name in wanted:
                reading = wanted[recent.name]
                name, other = self.names[reading], _MET_BY[recent.name]
                size = f"{image}[{schema.recent_at[recent.name]}]"
                self.line(f"    {name} = (1 if {other} in {image}[at:at + size] else 0) if {other} else nan")
                self.line(f"    if {size} != {size}: {name} = nan")
            self.line("    at += size * 2")

    def name(self, node: Formula) -> str:
        """Return an expression of the node: a name, or a literal."""
        match node:
            case Constant():
                return repr(node.value)
            case Fact():
                return node.name
        found = self.names.get(node)
        if found is None:
            text = self._text(node)
            found = self.names[node] = f"v{len(self.names)}"
            self.line(f"{found} = {text}")
        return found

    def real(self, node: Formula) -> str:
        """Return the node as a float: readings and facts are integers, and numpy would convert them first."""
        if not isinstance(node, Reading | Fact):
            return self.name(node)
        found = self.reals.get(node)
        if found is None:
            name = self.name(node)
            found = self.reals[node] = f"f_{name}"
            self.line(f"{found} = {name} + 0.0")
        return found

    def _text(self, node: Formula) -> str:
        if isinstance(node, Root):
            return f"sqrt({self.real(node.inner)})"
        if not isinstance(node, Operation):
            message = f"not a formula: {node!r}"
            raise TypeError(message)
        # An integer meeting a float is converted exactly as numpy converts it; two integers must be made floats.
        left, right = self.name(node.left), self.name(node.right)
        if isinstance(node.left, Reading | Fact) and isinstance(node.right, Reading | Fact):
            left, right = self.real(node.left), self.real(node.right)
        match node.sign:
            case "min":
                left, right = self.real(node.left), self.real(node.right)
                return _choice(left, right, "<", node)
            case "max":
                left, right = self.real(node.left), self.real(node.right)
                return _choice(left, right, ">", node)
        return f"{left} {node.sign} {right}"


def _choice(left: str, right: str, sign: str, node: Operation) -> str:
    """Return an expression of min or max that lets a NaN of either side through, as numpy's do."""
    if isinstance(node.right, Constant):
        return f"{right} if {right} {sign} {left} else {left}"
    if isinstance(node.left, Constant):
        return f"{left} if {left} {sign} {right} else {right}"
    return f"{right} if {right} {sign} {left} or {right} != {right} else {left}"
