"""Taking in events: the use case behind `EventIngest.Record`.

A store that takes nothing lets each call wait through all its attempts, in one of the few threads that also tell
whether this worker is alive. So while most of the last calls came to nothing, events are RETRY at once, and one call
at a time tries the store. RETRY is what they would be in the end, and sending them again is harmless.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from service.core.event import Event
from service.errors import InvalidInput
from service.metrics import Metrics
from service.reading import Breaker
from service.settings import BreakerSettings
from service.store.protocol import Outcome, Status, Store, Submission

SLOW_S: Final = 0.02
"""Seconds that a call must have taken for it to count that nothing of it was applied."""

_NOT_TRIED: Final = Outcome(Status.RETRY, reason="the store took nothing lately: send it again later")


class Ingester:
    """Applies batches of events; what the edge refused stays in its place in the list of outcomes."""

    def __init__(self, store: Store, metrics: Metrics, breaker: BreakerSettings | None = None) -> None:
        """Get what it needs."""
        self._store = store
        self._metrics = metrics
        self.breaker = Breaker("ingest", breaker or BreakerSettings(), metrics.store_breaker_opened["ingest"].inc)
        metrics.store_breaker["ingest"].set_function(lambda: self.breaker.standing)

    def record(self, batch: Sequence[Event | InvalidInput]) -> list[Outcome]:
        """Return one outcome for each, in order; one bad event stops no other.

        Returns when everything that is APPLIED, LATE, DUPLICATE or PARKED is durable.
        """
        events = [one for one in batch if isinstance(one, Event)]
        applied = iter(self._apply(events) if events else ())
        outcomes = [next(applied) if isinstance(one, Event) else _rejected(one) for one in batch]
        self._metrics.outcomes[Status.REJECTED].inc(len(batch) - len(events))
        return outcomes

    def _apply(self, events: Sequence[Event]) -> list[Outcome]:
        probing = not self.breaker.closed
        if probing and not self.breaker.probe():
            outcomes = [_NOT_TRIED] * len(events)
            self._metrics.applied(events, outcomes, 0.0)
            return outcomes
        bad: bool | None = True
        begun_s = time.monotonic()
        try:
            outcomes = self._store.apply([Submission(event) for event in events])
            took_s = time.monotonic() - begun_s
            bad = _is_bad(outcomes, took_s)
        finally:
            if probing:
                self.breaker.probed(bad=bad)
            elif bad is not None:
                self.breaker.note(bad=bad)
        self._metrics.applied(events, outcomes, took_s)
        return outcomes


def _is_bad(outcomes: Sequence[Outcome], took_s: float) -> bool | None:
    """Tell whether a call speaks against the store: None when it said no so quickly that nobody waited for it."""
    if any(outcome.status is not Status.RETRY for outcome in outcomes):
        return False
    return True if took_s >= SLOW_S else None


def _rejected(error: InvalidInput) -> Outcome:
    first = error.violations[0]
    return Outcome(Status.REJECTED, field=first.field, reason=first.description)
