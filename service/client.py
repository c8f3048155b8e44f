"""A small Python client for checkouts: deadline, retries and channel options done right."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

import grpc
from google.protobuf.message import Message

from service.core.event import Event, EventKind
from service.identity import Identity
from service.pb import fraud_pb2 as pb
from service.pb import fraud_pb2_grpc
from service.throttle import Throttle

MAX_ATTEMPTS: Final = 4
"""Tries of one call within its deadline. All may be repeated: scores are idempotent by purchase, events by id."""

CONNECTIONS: Final = 2
"""Connections of one client. Workers share a port connection by connection, so a second one most likely leads to
another worker, and a call need not wait until the first is made again (100 ms at least, twice the usual deadline)."""

PAUSE_S: Final = 0.01
"""Wait before the third try; the second comes at once."""

READY_S: Final = 2.0
"""Longest wait, before the last try, for a connection that was lost."""

_AGAIN: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,  # the worker is gone, or has no model yet
        grpc.StatusCode.CANCELLED,  # the worker had received the call, and not begun it, when it was told to stop
    }
)

_OPTIONS: Final = (
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.enable_retries", 0),  # `_Patience` repeats, over another connection
    ("grpc.use_local_subchannel_pool", 1),  # without it all channels of a process share one connection
    # A dead peer is noticed within 15 seconds even when nothing is sent.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # How long one attempt to connect may take, 20 s otherwise: the kernel connects to a worker that hangs, too.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class _Connection:
    """A channel and its stubs."""

    def __init__(self, target: str, identity: Identity) -> None:
        self.channel = identity.channel(target, _OPTIONS)
        self.scoring = fraud_pb2_grpc.FraudScoringStub(self.channel)  # type: ignore[no-untyped-call]
        self.ingest = fraud_pb2_grpc.EventIngestStub(self.channel)  # type: ignore[no-untyped-call]
        self.models = fraud_pb2_grpc.ModelsStub(self.channel)  # type: ignore[no-untyped-call]

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the service can be reached; returns whether it can."""
        try:
            grpc.channel_ready_future(self.channel).result(timeout=timeout_s)
        except grpc.FutureTimeoutError:
            return False
        return True


class Throttled(grpc.RpcError):
    """A call that was not sent: the service refuses too many; see `service.throttle`."""

    def code(self) -> grpc.StatusCode:
        """Return RESOURCE_EXHAUSTED, as the service itself would answer."""
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self) -> str:
        """Return why, in a sentence."""
        return "not sent: the service refuses most calls"


class _Patience:
    """Tells whether to try again. When most calls fail, tries stop instead of doubling the load.

    A failure costs a token and an answer earns a tenth of one; below half there are no further tries. Threads
    may lose one another's change now and then: it is a measure, no account.
    """

    FULL = 100.0

    def __init__(self) -> None:
        self._tokens = self.FULL

    def answered(self) -> None:
        """Take note of a call that was answered."""
        if self._tokens < self.FULL:
            self._tokens += 0.1

    def failed(self, error: grpc.RpcError) -> bool:
        """Take note of a call that failed; returns whether it may be tried again."""
        if error.code() not in _AGAIN:
            return False
        self._tokens = max(self._tokens - 1.0, 0.0)
        return self._tokens > self.FULL / 2


class FraudClient:
    """Calls the service. Thread-safe; keep one for the life of the process, and make it after a fork.

        with FraudClient("127.0.0.1:50051") as client:
            answer = client.score(pb.Purchase(purchase_id="p-1", user_id="u-1", amount_minor=999), record=True)

    Every call has a deadline, which its tries share; `grpc.RpcError` carries the status when there is no answer.
    A worker that is restarted or killed is not noticed: its calls go over the other connection. While the service
    refuses calls, some are refused here without being sent (`Throttled`), so that it can answer the others.
    """

    def __init__(
        self,
        target: str,
        *,
        score_deadline_ms: int = 50,
        record_deadline_ms: int = 30_000,
        identity: Identity | None = None,
    ) -> None:
        """Make channels to `host:port` or a DNS name that resolves to several; they connect on first use.

        `identity` tells token and certificates; None takes what the environment tells. Raises BadSetting when a
        file of it cannot be read.
        """
        identity = Identity.from_environment() if identity is None else identity
        self._metadata = identity.metadata
        self._connections = [_Connection(target, identity) for _ in range(CONNECTIONS)]
        self._turn = itertools.count()
        self._patience = _Patience()
        self._throttle = Throttle()
        self._score_s = score_deadline_ms / 1000
        self._record_s = record_deadline_ms / 1000

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the service can be reached; returns whether it can."""
        by_s = time.monotonic() + timeout_s
        return all(one.wait_ready(max(by_s - time.monotonic(), 0.0)) for one in self._connections)

    def score(
        self, purchase: pb.Purchase, *, record: bool = False, explain: bool = False, with_features: bool = False
    ) -> pb.ScoreResponse:
        """Score one purchase."""
        request = pb.ScoreRequest(purchase=purchase, record=record, explain=explain, with_features=with_features)
        response: pb.ScoreResponse = self._ask(lambda service: service.scoring.Score, request, self._score_s)
        return response

    def score_batch(self, requests: Iterable[pb.ScoreRequest]) -> pb.ScoreBatchResponse:
        """Score a list of purchases with one call."""
        request = pb.ScoreBatchRequest(requests=requests)
        response: pb.ScoreBatchResponse = self._ask(lambda service: service.scoring.ScoreBatch, request, self._score_s)
        return response

    def record(self, events: Iterable[pb.Event]) -> list[pb.RecordOutcome]:
        """Record events; one outcome for each, in order."""
        request = pb.RecordRequest(events=events)
        response: pb.RecordResponse = self._ask(lambda service: service.ingest.Record, request, self._record_s)
        return list(response.outcomes)

    def lineup(self, wait_s: float = 0.0) -> pb.GetLineupResponse:
        """Return what is live; waits up to `wait_s` for a service that cannot be reached yet."""
        if wait_s:
            self._connections[0].wait_ready(wait_s)
        request = pb.GetLineupRequest()
        response: pb.GetLineupResponse = self._ask(lambda service: service.models.GetLineup, request, self._record_s)
        return response

    def _ask(self, method: Callable[[_Connection], Any], request: Message, timeout_s: float) -> Any:  # noqa: ANN401
        """Call over the connections by turns until one answers, within the time of one call.

        Raises Throttled at once when the service refuses too many to send it another.
        """
        if self._throttle.refuses(random.random()):  # noqa: S311  no secret
            raise Throttled
        by_s = time.monotonic() + timeout_s
        turn = next(self._turn)
        for attempt in range(MAX_ATTEMPTS):
            service = self._connections[(turn + attempt) % CONNECTIONS]
            left_s = by_s - time.monotonic()
            if attempt == MAX_ATTEMPTS - 1:
                service.wait_ready(min(left_s, READY_S))
            elif attempt > 1:
                time.sleep(min(left_s, PAUSE_S))
            try:
                answer = method(service)(request, timeout=max(by_s - time.monotonic(), 0.0), metadata=self._metadata)
            except grpc.RpcError as error:
                self._throttle.ended(taken=error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED)
                again = self._patience.failed(error) and attempt < MAX_ATTEMPTS - 1 and time.monotonic() < by_s
                if not again:
                    raise
            else:
                self._patience.answered()
                self._throttle.ended(taken=True)
                return answer
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    def close(self) -> None:
        """Close the channels."""
        for one in self._connections:
            one.channel.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channels."""
        self.close()


def purchase_message(purchase: Event) -> pb.Purchase:
    """Return a purchase as it is sent."""
    return pb.Purchase(
        purchase_id=purchase.event_id,
        user_id=purchase.user_id,
        seller_id=purchase.seller_id,
        item_id=purchase.item_id,
        card_hash=purchase.card_hash,
        amount_minor=purchase.amount_minor,
        currency=purchase.currency,
        quantity=purchase.quantity,
        event_time_ms=purchase.event_time_ms,
    )


def event_message(event: Event, *, with_ingest_time: bool) -> pb.Event:
    """Return an event as it is sent; `with_ingest_time` is for services on the event clock."""
    message = pb.Event(event_id=event.event_id, event_time_ms=event.event_time_ms)
    if with_ingest_time:
        message.ingest_time_ms = event.ingest_time_ms
    match event.kind:
        case EventKind.USER_REGISTERED:
            message.user_registered.user_id = event.user_id
        case EventKind.SELLER_REGISTERED:
            message.seller_registered.seller_id = event.seller_id
        case EventKind.ITEM_LISTED:
            message.item_listed.item_id = event.item_id
            message.item_listed.seller_id = event.seller_id
            message.item_listed.price_minor = event.amount_minor
        case EventKind.PURCHASE:
            message.purchase.CopyFrom(purchase_message(event))
        case EventKind.PURCHASE_SETTLED:
            message.purchase_settled.purchase_id = event.purchase_id
            message.purchase_settled.settlement = int(event.settlement)  # type: ignore[assignment]
        case EventKind.CARD_REPORTED:
            message.card_reported.card_hash = event.card_hash
        case EventKind.FRAUD_CONFIRMED:
            message.fraud_confirmed.purchase_id = event.purchase_id
        case EventKind.FRAUD_CLEARED:
            message.fraud_cleared.purchase_id = event.purchase_id
    return message
