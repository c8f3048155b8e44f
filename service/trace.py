"""A traced call, and what its caller said of its own trace (W3C Trace Context)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from service.served import Served

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED: Final = 1


class Parent(NamedTuple):
    """The caller's span, as W3C Trace Context tells it: https://www.w3.org/TR/trace-context/."""

    trace_id: int
    span_id: int
    sampled: bool


class Trace(NamedTuple):
    """One call to be traced."""

    trace_id: int
    parent_span_id: int
    """0 = the call begins the trace."""
    served: Served
    purchases: int
    """More than one for a batch, of which `served` is the first."""
    offset_s: float
    """What to add to the instants of `served` for seconds since the epoch."""


def parse_traceparent(value: str) -> Parent | None:
    """Return the caller's span; None when there is none, or none that can be read."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return Parent(int(match[2], 16), int(match[3], 16), bool(int(match[4], 16) & _SAMPLED))
