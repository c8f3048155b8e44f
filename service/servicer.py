"""The gRPC services: thin, each method reads the request, asks a use case and writes the answer.

`Score` is served by the lane, which is where the microseconds are; the other methods by gRPC's own server.
What an error means to a caller stands in `service.status`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.access import ANYBODY, Caller
from service.clock import Clock
from service.core.event import Event
from service.edge import Edge
from service.edge_settings import ServerSettings
from service.errors import BudgetSpent, FraudError, InvalidInput, Violation
from service.ingester import Ingester
from service.lane import Method
from service.lane_pool import Arrival, Tell
from service.pb import fraud_pb2 as pb
from service.question import Question, Scored
from service.scorer import Scorer
from service.store.protocol import Outcome, Status
from service.wire import Reader, mistyped, score_response

_SCORE: Final = "/fraud.v1.FraudScoring/Score"
_RECORD_SHARE: Final = 0.9
_Request = TypeVar("_Request", bound=Message)
_Behaviour = Callable[[Any, grpc.ServicerContext], Message]


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
        edge: Edge,
    ) -> None:
        """Get what it needs."""
        self._scorer = scorer
        self._ingester = ingester
        self._lineups = lineups
        self._reader = reader
        self._clock = clock
        self._edge = edge
        self._budget_s = settings.budget_ms / 1000
        self._reserve_s = settings.reply_reserve_ms / 1000
        self._record_s = settings.record_budget_ms / 1000
        self._max_purchases = settings.max_batch_purchases
        self._max_events = settings.max_batch_events

    def score(self, request: pb.ScoreRequest, arrival: Arrival, tell: Tell) -> bytes | None:
        """Answer `FraudScoring.Score`; None when the reply is told, because it waits for a purchase to be durable."""
        question, deadline_s = self._asked(request, arrival, tell)
        scored = self._scorer.score(question, deadline_s)
        return None if scored is None else _reply(scored)

    def score_together(self, calls: Sequence[tuple[pb.ScoreRequest, Arrival, Tell]]) -> list[bytes | Exception | None]:
        """Answer several calls of `FraudScoring.Score` with one read of the store, each as `score` does."""
        answers: list[bytes | Exception | None] = [None] * len(calls)
        asked: list[tuple[int, Question, float]] = []
        for at, (request, arrival, tell) in enumerate(calls):
            try:
                asked.append((at, *self._asked(request, arrival, tell)))
            except FraudError as error:
                answers[at] = error.with_traceback(None)
        if asked:
            places, questions, deadlines_s = zip(*asked, strict=True)
            for at, scored in zip(places, self._scorer.score_together(questions, deadlines_s), strict=True):
                answers[at] = _reply(scored) if isinstance(scored, Scored) else scored
        return answers

    def score_batch(self, request: pb.ScoreBatchRequest, context: grpc.ServicerContext) -> pb.ScoreBatchResponse:
        """Answer `FraudScoring.ScoreBatch`."""
        begun_s = time.monotonic()
        deadline_s = self._deadline(begun_s, context)
        _check_length("requests", len(request.requests), self._max_purchases)
        traceparent = self._edge.traceparent(context.invocation_metadata())
        questions, violations = [], []
        for at, one in enumerate(request.requests):
            if one.record:
                violations.append(
                    Violation(f"requests[{at}].record", "is not for batches: record through Score or Record")
                )
            try:
                questions.append(self._question(one, f"requests[{at}].", (begun_s, begun_s, traceparent)))
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

    def _asked(self, request: pb.ScoreRequest, arrival: Arrival, tell: Tell) -> tuple[Question, float]:
        """Return what a call asks, and until when its score must be made on the monotonic clock.

        Raises BudgetSpent when its caller waits no more, and what reading the request raises.
        """
        begun_s = time.monotonic()
        caller_by_s = arrival.deadline_s - self._reserve_s
        if caller_by_s <= begun_s:
            raise BudgetSpent("the deadline had passed before the call was begun")
        if request.record and self._edge.gate is not None:
            self._edge.gate.require(arrival.caller, "record")
        traceparent = self._edge.traceparent(arrival.metadata)
        record_by_s = self._record_by(arrival) if request.record else 0.0
        question = self._question(
            request, "", (arrival.arrived_s, begun_s, traceparent), partial(_tell_reply, tell), record_by_s
        )
        # One that waited through our own budget is late, and still of use while its caller waits.
        return question, min(arrival.arrived_s + self._budget_s - self._reserve_s, caller_by_s)

    def _record_by(self, arrival: Arrival) -> float:
        """Return until when an answer may wait for its purchase to be durable: that is not the score's budget.

        A wait as long as that would make a reply that is a little late a call that failed: a tenth is left for it.
        """
        left_s = min(self._record_s, arrival.deadline_s - arrival.arrived_s)
        return arrival.arrived_s + _RECORD_SHARE * left_s - self._reserve_s

    def _deadline(self, begun_s: float, context: grpc.ServicerContext) -> float:
        """Return until when a score must be made, on the monotonic clock; raises BudgetSpent when that is over."""
        budget_s = self._budget_s
        remaining_s = context.time_remaining()
        if remaining_s is not None and remaining_s < budget_s:
            budget_s = remaining_s
        if budget_s <= self._reserve_s:
            raise BudgetSpent("the deadline had passed before the call was begun")
        return begun_s + budget_s - self._reserve_s

    def _question(
        self,
        request: pb.ScoreRequest,
        prefix: str,
        call: tuple[float, float, str],
        tell: Callable[[Scored | Exception], None] | None = None,
        record_by_s: float = 0.0,
    ) -> Question:
        """Read what is asked; `call` is when it came, when work on it began, and its trace."""
        wrong = list(mistyped(request, prefix))
        if wrong:
            raise InvalidInput(wrong)
        purchase = self._reader.purchase(request.purchase, self._clock.now_ms(), f"{prefix}purchase")
        return Question(purchase, tell, request.record, record_by_s, request.explain, request.with_features, *call)

    def _event(self, message: pb.Event) -> Event | InvalidInput:
        try:
            event = self._reader.event(message, self._clock.now_ms())
        except InvalidInput as error:
            # With its trace it would hold the whole request, in a circle that only the collector finds.
            return error.with_traceback(None)
        # The events behind it in the batch are read by the clock that it moved.
        self._clock.observe(event.event_time_ms)
        return event

    # --- wiring ---------------------------------------------------------------------------------

    def lane_method(self, *, store_blocks: bool) -> Method[pb.ScoreRequest]:
        """Return `Score` for the lane; `store_blocks` tells that a read of the store waits for somebody."""
        return Method(
            path=_SCORE,
            parse=lambda data: _parse(pb.ScoreRequest, data),
            shares=store_blocks,
            answer=self.score,
            answer_together=self.score_together,
        )

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers of all other methods for a server."""
        return [
            self._service("fraud.v1.FraudScoring", ScoreBatch=(self.score_batch, pb.ScoreBatchRequest)),
            self._service("fraud.v1.EventIngest", Record=(self.record, pb.RecordRequest)),
            self._service("fraud.v1.Models", GetLineup=(self.get_lineup, pb.GetLineupRequest)),
        ]

    def _service(self, service: str, **methods: tuple[_Behaviour, type[Message]]) -> grpc.GenericRpcHandler:
        handlers = {
            name: self._handler(f"/{service}/{name}", behaviour, request)
            for name, (behaviour, request) in methods.items()
        }
        return grpc.method_handlers_generic_handler(service, handlers)

    def _handler(
        self, path: str, behaviour: _Behaviour, request_type: type[Message]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        def handle(data: bytes, context: grpc.ServicerContext) -> Message:
            begun_s, caller = time.monotonic(), ANYBODY
            metadata: Any = context.invocation_metadata()
            try:
                caller = self._edge.admit(path, metadata, context.auth_context)  # type: ignore[arg-type]
                request = _parse(request_type, data)
                self._charge(caller, request)
                answer = behaviour(request, context)
            except Exception as error:  # noqa: BLE001  the table knows what the caller may learn
                status = self._edge.refused(path, error, time.monotonic() - begun_s, metadata, caller)
                context.set_trailing_metadata(status.metadata)
                context.abort(status.code, status.text)
            self._edge.answered(path, time.monotonic() - begun_s, metadata, caller)
            return answer

        return grpc.unary_unary_rpc_method_handler(handle, None, _serialize)

    def _charge(self, caller: Caller, request: Message) -> None:
        """Count what a batch holds beyond its first purchase or event against the caller's rate."""
        if self._edge.gate is not None and isinstance(request, pb.ScoreBatchRequest | pb.RecordRequest):
            batch = request.events if isinstance(request, pb.RecordRequest) else request.requests
            self._edge.gate.charge(caller, max(len(batch) - 1, 0))


def _parse(message: type[_Request], data: bytes) -> _Request:
    """Return the message that bytes are; raises InvalidInput."""
    try:
        return message.FromString(data)
    except DecodeError:
        raise InvalidInput([Violation("", f"the bytes are not a {message.DESCRIPTOR.full_name}")]) from None


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _check_length(field: str, length: int, bound: int) -> None:
    if not 1 <= length <= bound:
        raise InvalidInput([Violation(field, f"must hold 1 to {bound}")])


def _reply(scored: Scored) -> bytes:
    return _answer(scored).SerializeToString()


def _tell_reply(tell: Tell, scored: Scored | Exception) -> None:
    """Turn an answer into the reply, and tell that."""
    reply: bytes | Exception
    try:
        reply = _reply(scored) if isinstance(scored, Scored) else scored
    except Exception as error:  # noqa: BLE001  the lane knows what the caller may learn
        reply = error
    tell(reply)


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
