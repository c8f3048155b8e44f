"""What is asked of the scorer, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from service.core.decision import DecisionRecord
from service.core.event import Event


class Question(NamedTuple):
    """What a caller asks about one purchase."""

    purchase: Event
    tell: Tell | None = None
    """Who gets an answer that takes longer than a score; see `Scorer.score`. Without, it is not recorded."""
    record: bool = False
    """Whether the answer waits for the purchase to be durable, until `record_by_s`."""
    record_by_s: float = 0.0
    explain: bool = False
    with_features: bool = False
    arrived_s: float = 0.0
    begun_s: float = 0.0
    """When the call came, and when work on it began; see `Served`."""
    traceparent: str = ""


class Scored(NamedTuple):
    """An answer: the record of it, and the features when asked for."""

    decision: DecisionRecord
    features: tuple[tuple[str, float], ...]


Tell = Callable[[Scored | Exception], None]
"""Gets the answer to a question, or what `Scorer.score` would have raised: once, in any thread."""
