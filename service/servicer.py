"""The gRPC services: thin, each method reads the request, asks a use case and writes the answer.

The one table from errors to status codes is `_abort`. An error that is not ours reaches the caller as
INTERNAL without text and the log with all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from service.clock import Clock
from service.core.event import Event
from service.errors import BudgetSpent, FraudError, InvalidInput, NoModel, StoreUnavailable, Violation
from service.ingester import Ingester
from service.metrics import Metrics
from service.pb import fraud_pb2 as pb
from service.scorer import Question, Scored, Scorer
from service.settings import ServerSettings
from service.store.protocol import Outcome, Status
from service.wire import Reader, mistyped, score_response

_LOG = structlog.get_logger(__name__)
_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


class Malformed:
    """Stands for a request whose bytes are not the message that they should be."""


MALFORMED: Final = Malformed()


class LineupDescriber(Protocol):
    """Who can tell what is live."""

    def describe(self) -> pb.GetLineupResponse:
        """Return what every worker has live."""


class Servicer:
    """The handlers of all three services."""

    def __init__(
        self,
        scorer: Scorer,
        ingester: Ingester,
        lineups: LineupDescriber,
        reader: Reader,
        clock: Clock,
        settings: ServerSettings,
        metrics: Metrics,
    ) -> None:
        """Get what it needs."""
        self._scorer = scorer
        self._ingester = ingester
        self._lineups = lineups
        self._reader = reader
        self._clock = clock
        self._metrics = metrics
        self._budget_s = settings.budget_ms / 1000
        self._reserve_s = settings.reply_reserve_ms / 1000
        self._record_s = settings.record_budget_ms / 1000
        self._max_purchases = settings.max_batch_purchases
        self._max_events = settings.max_batch_events

    def score(self, request: pb.ScoreRequest, context: grpc.ServicerContext) -> pb.ScoreResponse:
        """Answer `FraudScoring.Score`."""
        begun_s = time.monotonic()
        deadline_s = self._deadline(begun_s, context)
        question = self._question(request, "", self._record_by(begun_s, context) if request.record else 0.0)
        response = _answer(self._scorer.score(question, deadline_s))
        self._metrics.score_seconds.observe(time.monotonic() - begun_s)
        return response

    def score_batch(self, request: pb.ScoreBatchRequest, context: grpc.ServicerContext) -> pb.ScoreBatchResponse:
        """Answer `FraudScoring.ScoreBatch`."""
        deadline_s = self._deadline(time.monotonic(), context)
        _check_length("requests", len(request.requests), self._max_purchases)
        questions, violations = [], []
        for at, one in enumerate(request.requests):
            if one.record:
                violations.append(
                    Violation(f"requests[{at}].record", "is not for batches: record through Score or Record")
                )
            try:
                questions.append(self._question(one, f"requests[{at}].", 0.0))
            except InvalidInput as error:
                violations.extend(error.violations)
        if violations:
            raise InvalidInput(violations)
        return pb.ScoreBatchResponse(responses=map(_answer, self._scorer.score_many(questions, deadline_s)))

    def record(self, request: pb.RecordRequest, context: grpc.ServicerContext) -> pb.RecordResponse:
        """Answer `EventIngest.Record`."""
        del context  # a batch that is under way is finished: what it did must be told
        _check_length("events", len(request.events), self._max_events)
        batch = [self._event(message) for message in request.events]
        outcomes = self._ingester.record(batch)
        return pb.RecordResponse(
            outcomes=[_outcome(one, outcome) for one, outcome in zip(batch, outcomes, strict=True)]
        )

    def get_lineup(self, request: pb.GetLineupRequest, context: grpc.ServicerContext) -> pb.GetLineupResponse:
        """Answer `Models.GetLineup`."""
        del request, context
        return self._lineups.describe()

    # --- steps ----------------------------------------------------------------------------------

    def _deadline(self, begun_s: float, context: grpc.ServicerContext) -> float:
        """Return until when a score must be made, on the monotonic clock; raises BudgetSpent when that is over."""
        budget_s = self._budget_s
        remaining_s = context.time_remaining()
        if remaining_s is not None and remaining_s < budget_s:
            budget_s = remaining_s
        if budget_s <= self._reserve_s:
            raise BudgetSpent("the deadline had passed before the call was begun")
        return begun_s + budget_s - self._reserve_s

    def _record_by(self, begun_s: float, context: grpc.ServicerContext) -> float:
        """Return until when an answer may wait for its purchase to be durable: that is not the score's budget."""
        remaining_s = context.time_remaining()
        left_s = self._record_s if remaining_s is None else min(remaining_s, self._record_s)
        return begun_s + left_s - self._reserve_s

    def _question(self, request: pb.ScoreRequest, prefix: str, record_by_s: float) -> Question:
        wrong = list(mistyped(request, prefix))
        if wrong:
            raise InvalidInput(wrong)
        purchase = self._reader.purchase(request.purchase, self._clock.now_ms(), f"{prefix}purchase")
        return Question(purchase, request.record, record_by_s, request.explain, request.with_features)

    def _event(self, message: pb.Event) -> Event | InvalidInput:
        try:
            event = self._reader.event(message, self._clock.now_ms())
        except InvalidInput as error:
            return error
        # The events behind it in the batch are read by the clock that it moved.
        self._clock.observe(event.event_time_ms)
        return event

    # --- wiring ---------------------------------------------------------------------------------

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers of the three services for a server."""
        return [
            _service(
                "fraud.v1.FraudScoring",
                Score=self._handler(self.score, pb.ScoreRequest),
                ScoreBatch=self._handler(self.score_batch, pb.ScoreBatchRequest),
            ),
            _service("fraud.v1.EventIngest", Record=self._handler(self.record, pb.RecordRequest)),
            _service("fraud.v1.Models", GetLineup=self._handler(self.get_lineup, pb.GetLineupRequest)),
        ]

    def _handler(
        self, method: Callable[[_Request, grpc.ServicerContext], _Response], request_type: type[_Request]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        def parse(data: bytes) -> _Request | Malformed:
            try:
                return request_type.FromString(data)
            except DecodeError:
                return MALFORMED

        def handle(request: _Request | Malformed, context: grpc.ServicerContext) -> _Response:
            if isinstance(request, Malformed):
                self._metrics.refused.inc()
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"the bytes are not a {request_type.DESCRIPTOR.full_name}"
                )
            try:
                return method(request, context)
            except FraudError as error:
                self._abort(error, context)
            except Exception:  # noqa: BLE001  whatever it is, the caller learns nothing of it
                _LOG.exception("call failed", method=method.__name__)
                context.abort(grpc.StatusCode.INTERNAL, "internal error")

        return grpc.unary_unary_rpc_method_handler(handle, parse, _serialize)

    def _abort(self, error: FraudError, context: grpc.ServicerContext) -> NoReturn:
        match error:
            case InvalidInput():
                self._metrics.refused.inc()
                context.abort_with_status(_bad_request(error))
            case BudgetSpent():
                self._metrics.expired.inc()
                context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, str(error))
            case NoModel() | StoreUnavailable():
                context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            case _:
                _LOG.error("call failed", error=str(error))
                context.abort(grpc.StatusCode.INTERNAL, "internal error")
        raise AssertionError("abort raises")  # pragma: no cover


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _service(name: str, **methods: grpc.RpcMethodHandler[Any, Any]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(name, methods)


def _check_length(field: str, length: int, bound: int) -> None:
    if not 1 <= length <= bound:
        raise InvalidInput([Violation(field, f"must hold 1 to {bound}")])


def _answer(scored: Scored) -> pb.ScoreResponse:
    return score_response(scored.decision, scored.features)


def _outcome(event: Event | InvalidInput, outcome: Outcome) -> pb.RecordOutcome:
    """Return the outcome; the id of an event that was refused at the edge is not repeated, for it may be a secret."""
    event_id = event.event_id if isinstance(event, Event) else ""
    return pb.RecordOutcome(
        event_id=event_id,
        status=int(outcome.status),  # type: ignore[arg-type]  # the numbers are the proto's
        field=outcome.field if outcome.status in {Status.REJECTED, Status.RETRY} else "",
        reason=outcome.reason,
    )


def _bad_request(error: InvalidInput) -> Any:  # noqa: ANN401  grpc's own Status class is private
    details = error_details_pb2.BadRequest()
    for violation in error.violations:
        details.field_violations.add(field=violation.field, description=violation.description)
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=str(error))
    status.details.add().Pack(details)
    return rpc_status.to_status(status)
