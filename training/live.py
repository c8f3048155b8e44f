"""A running service from the offline side: start one of our own, record into it, wait until it has followed.

Only the client is used, and the service's command line: training never imports the edge.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import grpc

from service.client import FraudClient, event_message, purchase_message
from service.core.event import Event, EventKind
from service.errors import InvalidInput, StoreUnavailable, Violation
from service.pb import fraud_pb2 as pb
from training.data.events import Progress, about, batches

BATCH_EVENTS: Final = 1000
BEYOND_MS: Final = 1 << 62
"""Later than any event."""

FOLLOW_S: Final = 60.0
"""How long a service may take to follow a promotion."""

STOP_S: Final = 30.0
"""How long a service of our own may take to drain before it is killed."""

_POLL_S: Final = 0.02
_REFUSED: Final = frozenset({pb.REJECTED, pb.RETRY})


@contextmanager
def running_service(folder: Path, registry: Path, **settings: str) -> Iterator[str]:
    """Run a service of our own on the embedded store in `folder` and the event clock; gives its host:port.

    `settings` are further ones by the name of their environment variable, without FRAUD_. What the service
    logs goes to `service.log`. Raises StoreUnavailable when it does not come up. It is ended by its process id.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRAUD_")}
    own = {
        "SERVER__LISTEN": "127.0.0.1:0",
        "STORE__KIND": "lmdb",
        "STORE__LMDB__PATH": str(folder / "store"),
        "SERVER__RUN_PATH": str(folder / "workers"),
        "REGISTRY__PATH": str(registry),
        "INGEST__CLOCK": "event",
        **settings,
    }
    environment |= {f"FRAUD_{name}": value for name, value in own.items()}
    command = [sys.executable, "-m", "service", "serve"]
    log = folder / "service.log"
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,  # noqa: S603  ours
    ):
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said.startswith("listening on port "):
                raise StoreUnavailable(f"the service did not start; {log} says why")
            yield f"127.0.0.1:{said.split()[-1]}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def answered() -> Iterator[None]:
    """Turn a call that got no answer into StoreUnavailable, in one sentence."""
    try:
        yield
    except grpc.RpcError as error:
        reason = error.details() if isinstance(error, grpc.Call) else error
        raise StoreUnavailable(f"the service did not answer: {reason}") from None


def record(client: FraudClient, events: Iterable[Event]) -> Counter[str]:
    """Record events, each with when it became known; returns how many had which outcome.

    Raises InvalidInput when the service refuses one, StoreUnavailable when it could not make one durable.
    """
    outcomes: Counter[str] = Counter()
    with answered():
        recorded = client.record(event_message(event, with_ingest_time=True) for event in events)
    for outcome in recorded:
        if outcome.status in _REFUSED:
            reason = f"{outcome.reason} (event {outcome.event_id})" if outcome.event_id else outcome.reason
            if outcome.status == pb.RETRY:
                raise StoreUnavailable(f"the service could not record: {reason}")
            raise InvalidInput([Violation(outcome.field, reason)])
        outcomes[pb.RecordStatus.Name(outcome.status)] += 1
    return outcomes


class Span(NamedTuple):
    """What became known from `since_ms` until just before `until_ms`; `BEYOND_MS` for no end."""

    since_ms: int = 0
    until_ms: int = BEYOND_MS

    def of(self, batch: Sequence[Event]) -> list[Event]:
        """Return the events that lie in it."""
        return [event for event in batch if self.since_ms <= event.ingest_time_ms < self.until_ms]


EVERYTHING: Final = Span()


def record_file(
    client: FraudClient, path: Path, progress: Progress, span: Span = EVERYTHING, *, score: bool = False
) -> Counter[str]:
    """Record an event file in its order, or what became known in a span; repeats are harmless.

    With `score` every purchase is asked about, and recorded by the same call; the outcomes then count the
    decisions as well. Raises as `record`, and BadSetting for the file.
    """
    total, done = about(path).rows, 0
    outcomes: Counter[str] = Counter()
    what = "scoring and recording" if score else "recording through gRPC"
    for batch in batches(path, BATCH_EVENTS):
        progress(what, done, total)
        events = span.of(batch)
        if score:
            for is_purchase, group in groupby(events, lambda event: event.kind is EventKind.PURCHASE):
                some = list(group)
                outcomes += _score(client, some) if is_purchase else record(client, some)
        elif events:
            outcomes += record(client, events)
        done += len(batch)
    progress(what, total, total)
    return outcomes


def _score(client: FraudClient, purchases: Iterable[Event]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    with answered():
        for purchase in purchases:
            answer = client.score(purchase_message(purchase), record=True)
            if not answer.recorded:
                raise StoreUnavailable(f"purchase {purchase.purchase_id} was scored, but is not durable: run it again")
            outcomes[pb.Decision.Name(answer.decision)] += 1
    return outcomes


def wait_followed(client: FraudClient, version: int) -> float:
    """Wait until every worker answers from a version; returns the seconds that it took. Raises StoreUnavailable."""
    begun_s = time.monotonic()
    while True:
        with answered():
            workers = client.lineup().workers
        if all(list(worker.answer) == [version] for worker in workers):
            return time.monotonic() - begun_s
        if time.monotonic() - begun_s > FOLLOW_S:
            reasons = "; ".join(worker.reason for worker in workers if worker.reason)
            raise StoreUnavailable(f"the service did not take up version {version}: {reasons or 'it gives no reason'}")
        time.sleep(_POLL_S)
