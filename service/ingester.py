"""Taking in events: the use case behind `EventIngest.Record`."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.event import Event
from service.errors import InvalidInput
from service.metrics import Metrics
from service.store.protocol import Outcome, Status, Store, Submission


class Ingester:
    """Applies batches of events; what the edge refused stays in its place in the list of outcomes."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        """Get what it needs."""
        self._store = store
        self._metrics = metrics

    def record(self, batch: Sequence[Event | InvalidInput]) -> list[Outcome]:
        """Return one outcome for each, in order; one bad event stops no other.

        Returns when everything that is APPLIED, LATE, DUPLICATE or PARKED is durable.
        """
        events = [one for one in batch if isinstance(one, Event)]
        applied = iter(self._store.apply([Submission(event) for event in events]) if events else ())
        outcomes = [next(applied) if isinstance(one, Event) else _rejected(one) for one in batch]
        for outcome in outcomes:
            self._metrics.outcomes[outcome.status].inc()
        return outcomes


def _rejected(error: InvalidInput) -> Outcome:
    first = error.violations[0]
    return Outcome(Status.REJECTED, field=first.field, reason=first.description)
