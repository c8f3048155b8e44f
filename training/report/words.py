"""Numbers and moments in words, the same all over the report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np

from service.registry.manifest import Interval, TimeRange
from training.metrics import Estimate

UNKNOWN: Final = "\u2013"
"""What stands where there is no number."""

_THIN: Final = "\u202f"
_MINUS: Final = "\u2212"


def count(number: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,.0f}"


def percent(share: float) -> str:
    """Return a share in percent, with as many digits as one reads."""
    if np.isnan(share):
        return UNKNOWN
    points = 100.0 * share
    digits = 0 if abs(points) >= 9.95 or not points else 1 if abs(points) >= 0.995 else 2  # noqa: PLR2004  two digits
    return f"{points:.{digits}f}{_THIN}%"


def ratio(number: float) -> str:
    """Return a number between 0 and 1, or a difference of two, with three digits."""
    return UNKNOWN if np.isnan(number) else f"{number:.3f}".replace("-", _MINUS)


def signed(number: float) -> str:
    """Return a difference with its sign."""
    return UNKNOWN if np.isnan(number) else f"{number:+.3f}".replace("-", _MINUS)


def threshold(score: float) -> str:
    """Return a score as a threshold: four digits, which tell two thresholds apart."""
    return f"{score:.4f}"


def interval(found: Estimate | Interval) -> str:
    """Return the bounds of an estimate, "" when it has none."""
    if found.low is None or found.high is None or np.isnan([found.low, found.high]).any():
        return ""
    return f"{ratio(found.low)} to {ratio(found.high)}"


def percent_interval(found: Estimate) -> str:
    """Return the bounds of a share in percent, "" when it has none."""
    return "" if np.isnan([found.low, found.high]).any() else f"{percent(found.low)} to {percent(found.high)}"


def moment(at_ms: int) -> str:
    """Return a moment to the minute, in UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def span(time: TimeRange) -> str:
    """Return from when to when, in UTC."""
    return f"{moment(time.begin_ms)} to {moment(time.end_ms)}"


def plain(name: str) -> str:
    """Return a name of the code as people read it."""
    return name.replace("_", " ")
