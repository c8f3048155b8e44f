"""The words that formulas are made of: readings, facts and the shapes that features share.

Every shape maps to [0, 1], keeps NaN, and divides only by what is positive by construction.
"""

from __future__ import annotations

from typing import Final

from service.core.event import EntityKind
from service.core.fixed import LOG_SCALE
from service.core.formula import Fact, Formula, Reading, maximum, minimum
from service.core.windows import DAY_MS

NOW: Final = Fact("time_ms")
AMOUNT: Final = Fact("amount")
LOG_AMOUNT: Final = Fact("log_amount")
LOG_QUANTITY: Final = Fact("log_quantity")


def total(kind: EntityKind, name: str) -> Reading:
    """Read a lifetime total."""
    return Reading(kind, "total", name)


def window(kind: EntityKind, measure: str, name: str) -> Reading:
    """Read the sum of a measure over a window."""
    return Reading(kind, "window", measure, name)


def sat(x: Formula, k: float) -> Formula:
    """Return x / (x + k): 0 at 0, one half at k, towards 1 beyond; x is never negative."""
    return x / (x + k)


def has(moment: Reading) -> Formula:
    """Return 1 when the moment ever came, else 0."""
    return minimum(moment, 1.0)


def since(moment: Reading) -> Formula:
    """Return the milliseconds since a moment, at least 0."""
    return maximum(NOW - moment, 0.0)


def tenure(moment: Reading, days: float) -> Formula:
    """Return how long ago a moment was, saturating at `days`; 0 when it never came."""
    return has(moment) * sat(since(moment), days * DAY_MS)


def recency(moment: Reading, half_ms: float) -> Formula:
    """Return 1 right after a moment, one half after `half_ms`; 0 when it never came."""
    return has(moment) * (half_ms / (since(moment) + half_ms))


def share(part: Formula, whole: Formula, prior: float, weight: float) -> Formula:
    """Return part / whole, drawn towards `prior` as if `weight` more had been seen; held to [0, 1]."""
    return minimum((maximum(part, 0.0) + weight * prior) / (maximum(whole, 0.0) + weight), 1.0)


def typical(
    x: Formula, count: Formula, total_: Formula, total_sq: Formula, prior: tuple[float, float], weight: float
) -> Formula:
    """Return 1 / (1 + z²), z = x against mean and spread of a habit of `count` values.

    Mean and second moment are drawn towards those of `prior` (mean and spread, in doublings) as if
    `weight` values of it had been seen; the spread is at least a fifth of a doubling.
    """
    mean0, spread0 = prior[0] * LOG_SCALE, prior[1] * LOG_SCALE
    mean = (total_ + weight * mean0) / (count + weight)
    second = (total_sq + weight * (mean0 * mean0 + spread0 * spread0)) / (count + weight)
    variance = maximum(second - mean * mean, (0.2 * LOG_SCALE) ** 2)
    off = x - mean
    return 1.0 / (1.0 + off * off / variance)


PRICE_PRIOR: Final = (12.0, 1.5)
"""A price is about 2^12 minor units (41.00), give or take a factor of 2^1.5."""

QUANTITY_PRIOR: Final = (0.2, 0.5)
"""log2(quantity) is about 0.2: mostly one item."""


def price_typicality(kind: EntityKind) -> Formula:
    """Compare the amount with those that were usual for the entity."""
    return typical(
        LOG_AMOUNT,
        total(kind, "completed"),
        total(kind, "log_amount"),
        total(kind, "log_amount_sq"),
        PRICE_PRIOR,
        2.0,
    )


def clean_mean(kind: EntityKind) -> Formula:
    """Return the mean amount of an entity's purchases without its confirmed frauds; 10.00 for none."""
    amount = maximum(total(kind, "amount") - total(kind, "fraud_amount"), 0.0)
    count = maximum(total(kind, "purchases") - total(kind, "frauds"), 0.0)
    return (amount + 1000.0) / (count + 1.0)


def against(x: Formula, habit: Formula) -> Formula:
    """Return x / (x + habit): one half when equal; habit is positive."""
    return x / (x + habit)


def matured_fraud_share(kind: EntityKind, fraud_window: str, old: str, young: str) -> Formula:
    """Return the frauds confirmed in a window against the purchases that they are about.

    Confirmations come about a week after the purchase, so those of the last days are held against the
    purchases of the same number of days a week earlier: `old` less `young`.
    """
    frauds = maximum(window(kind, "frauds", fraud_window), 0.0)
    matured = window(kind, "purchases", old) - window(kind, "purchases", young)
    return frauds / maximum(maximum(matured, frauds), 1.0)


def burst(kind: EntityKind, measure: str, short: str, days: float, slack: float) -> Formula:
    """Compare a short window with what thirty days would lead one to expect: one half when equal."""
    recent = window(kind, measure, short)
    habit = window(kind, measure, "30d") * (days / 30.0)
    return recent / (recent + habit + slack)
