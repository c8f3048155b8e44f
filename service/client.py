"""A small Python client for checkouts: deadline, retries and channel options done right."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import grpc

from service.core.event import Event, EventKind
from service.pb import fraud_pb2 as pb
from service.pb import fraud_pb2_grpc

MAX_ATTEMPTS: Final = 4

_RETRY: Final = {
    "maxAttempts": MAX_ATTEMPTS,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

_SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            # Every call may be repeated: scores are idempotent by purchase id, events by event id.
            {"name": [{"service": "fraud.v1.FraudScoring"}], "retryPolicy": _RETRY},
            {"name": [{"service": "fraud.v1.EventIngest"}], "retryPolicy": _RETRY},
            {"name": [{"service": "fraud.v1.Models"}], "retryPolicy": _RETRY},
        ],
        # When every call fails, retries stop instead of doubling the load.
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
)

_OPTIONS: Final = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    # A dead peer is noticed within 15 seconds even when nothing is sent.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class FraudClient:
    """Calls the service. Thread-safe; keep one for the life of the process, and make it after a fork.

        with FraudClient("127.0.0.1:50051") as client:
            answer = client.score(pb.Purchase(purchase_id="p-1", user_id="u-1", amount_minor=999), record=True)

    Every call has a deadline, which retries share; `grpc.RpcError` carries the status when there is no answer.
    """

    def __init__(self, target: str, *, score_deadline_ms: int = 50, record_deadline_ms: int = 30_000) -> None:
        """Make a channel to `host:port` or a DNS name that resolves to several; it connects on first use."""
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._scoring = fraud_pb2_grpc.FraudScoringStub(self._channel)  # type: ignore[no-untyped-call]
        self._ingest = fraud_pb2_grpc.EventIngestStub(self._channel)  # type: ignore[no-untyped-call]
        self._models = fraud_pb2_grpc.ModelsStub(self._channel)  # type: ignore[no-untyped-call]
        self._score_s = score_deadline_ms / 1000
        self._record_s = record_deadline_ms / 1000

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the service can be reached; returns whether it can."""
        try:
            grpc.channel_ready_future(self._channel).result(timeout=timeout_s)
        except grpc.FutureTimeoutError:
            return False
        return True

    def score(
        self, purchase: pb.Purchase, *, record: bool = False, explain: bool = False, with_features: bool = False
    ) -> pb.ScoreResponse:
        """Score one purchase."""
        request = pb.ScoreRequest(purchase=purchase, record=record, explain=explain, with_features=with_features)
        response: pb.ScoreResponse = self._scoring.Score(request, timeout=self._score_s)
        return response

    def score_batch(self, requests: Iterable[pb.ScoreRequest]) -> pb.ScoreBatchResponse:
        """Score a list of purchases with one call."""
        response: pb.ScoreBatchResponse = self._scoring.ScoreBatch(
            pb.ScoreBatchRequest(requests=requests), timeout=self._score_s
        )
        return response

    def record(self, events: Iterable[pb.Event]) -> list[pb.RecordOutcome]:
        """Record events; one outcome for each, in order."""
        response: pb.RecordResponse = self._ingest.Record(pb.RecordRequest(events=events), timeout=self._record_s)
        return list(response.outcomes)

    def lineup(self) -> pb.GetLineupResponse:
        """Return what is live."""
        response: pb.GetLineupResponse = self._models.GetLineup(pb.GetLineupRequest(), timeout=self._record_s)
        return response

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channel."""
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
