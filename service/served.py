"""What one answered call left behind: the record of it, and when its stages ended."""

from __future__ import annotations

from typing import NamedTuple

from service.core.decision import DecisionRecord


class Served(NamedTuple):
    """An answer on its way to the decision log; metrics and traces are made of it in the background.

    The instants are those of `time.monotonic()`, in seconds and in this order. A call of a batch has the
    instants of the whole batch.
    """

    record: DecisionRecord
    arrived_s: float
    """The call was taken off the port."""
    begun_s: float
    """Work on it began: what lies between is waiting."""
    read_s: float
    """The store had been read."""
    scored_s: float
    """The decision was made, with all that the answer shows."""
    replied_s: float
    """The answer was ready, durably recorded where that was asked for."""
    traceparent: str = ""
    """The caller's trace context (W3C), "" when none came or nobody traces."""
