"""A writer process of the fault tests: delivers events to a store and notes what was acknowledged."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.core.event import Event
from service.errors import StoreUnavailable
from service.store.protocol import Status, Submission
from tests.store.places import Place

WRITE_TIMEOUT_MS = 40
"""Shorter than most stalls, so that writes are left in doubt."""

MAX_PAUSE_S = 0.03
"""Between two batches, so that faults have work to hit on a machine of any speed."""


class Errand(NamedTuple):
    """What a writer is sent to do: deliver events in batches, and retry or not what was not acknowledged."""

    place: Place
    batches: Sequence[Sequence[Event]]
    journal: Path
    retries: bool


class Journal(NamedTuple):
    """What a writer did before it ended: batches begun, and the status that each event was acknowledged with."""

    begun: int
    acknowledged: dict[str, Status]


def run(errand: Errand) -> None:
    """Deliver every batch; the journal names it before, and what became of its events after."""
    store = errand.place.open(write_timeout_ms=WRITE_TIMEOUT_MS)
    descriptor = os.open(errand.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for batch in errand.batches:
        time.sleep(random.uniform(0, MAX_PAUSE_S))
        os.write(descriptor, b"begun\n")
        waiting = list(batch)
        while waiting:
            try:
                outcomes = store.apply([Submission(event) for event in waiting])
            except StoreUnavailable:
                outcomes = []
            done = [
                (event, outcome.status)
                for event, outcome in zip(waiting, outcomes, strict=False)
                if outcome.status is not Status.RETRY
            ]
            lines = "".join(f"{event.event_id} {status.name}\n" for event, status in done)
            os.write(descriptor, lines.encode())
            finished = {event.event_id for event, _ in done}
            waiting = [event for event in waiting if errand.retries and event.event_id not in finished]
    os.close(descriptor)
    store.close()


def read_journal(path: Path) -> Journal:
    """Return what a journal says; a line that a kill cut off was never written."""
    begun, acknowledged = 0, {}
    for line in _lines(path):
        if line == "begun":
            begun += 1
        else:
            event_id, status = line.split(" ")
            acknowledged[event_id] = Status[status]
    return Journal(begun, acknowledged)


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield line.rstrip("\n")
