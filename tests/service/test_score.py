"""What a caller of `Score`, `ScoreBatch` and `Record` may rely on, through a running service."""

from __future__ import annotations

import math

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from service.app import App
from service.client import FraudClient
from service.core.event import EntityKey, EntityKind
from service.core.features import FEATURES
from service.core.profile import EMPTY
from service.pb import fraud_pb2 as pb
from service.pb import fraud_pb2_grpc
from tests.make import NOW_MS
from tests.service import bad
from tests.service.bad import event, purchase

HOUR_MS = 3_600_000


def record_some(client: FraudClient, count: int = 12) -> None:
    """Give the entities of `purchase()` a history."""
    outcomes = client.record(
        pb.Event(purchase=purchase(purchase_id=f"h-{n}", event_time_ms=NOW_MS - n * 5 * HOUR_MS))
        for n in range(count, 0, -1)
    )
    assert {one.status for one in outcomes} <= {pb.APPLIED, pb.LATE}


def test_a_first_purchase_is_scored_with_every_profile_unknown(client: FraudClient) -> None:
    """Nothing is known: all four profiles are named as UNKNOWN, and the answer is not degraded."""
    answer = client.score(purchase())
    assert {(one.kind, one.cause) for one in answer.missing} == {(kind, pb.UNKNOWN) for kind in range(1, 5)}
    assert not answer.degraded
    assert not answer.recorded
    assert answer.profile_age_ms == -1
    assert list(answer.model_versions) == [1]
    assert answer.lineup_revision == 1


def test_absent_profiles_are_told_from_unknown_ones(client: FraudClient) -> None:
    """An empty seller or item is absent: its features are unknown, the answer is not degraded."""
    answer = client.score(purchase(seller_id="", item_id=""), with_features=True)
    causes = {one.kind: one.cause for one in answer.missing}
    assert causes == {pb.USER: pb.UNKNOWN, pb.SELLER: pb.ABSENT, pb.ITEM: pb.ABSENT, pb.CARD: pb.UNKNOWN}
    values = {one.name: one.value for one in answer.features}
    assert math.isnan(values["seller_known"])
    assert values["user_known"] == 0.0
    assert not answer.degraded


def test_history_informs_the_score(client: FraudClient) -> None:
    """Once events are recorded no profile is missing, and the answer says how old the newest purchase is."""
    record_some(client)
    answer = client.score(purchase(), with_features=True)
    assert not answer.missing
    assert answer.profile_age_ms == 5 * HOUR_MS
    assert [one.name for one in answer.features] == [feature.name for feature in FEATURES]
    assert all(0.0 <= one.value <= 1.0 for one in answer.features)


def test_record_builds_the_row_first(client: FraudClient) -> None:
    """A purchase never sees itself: with `record` its row is that of a call without."""
    record_some(client)
    before = client.score(purchase(), with_features=True)
    recorded = client.score(purchase(), record=True, with_features=True)
    assert recorded.recorded
    assert list(recorded.features) == list(before.features)
    assert recorded.score == before.score


def test_a_repeat_returns_the_first_decision(client: FraudClient) -> None:
    """Scoring with `record` twice gives the same answer twice, whatever happened in between."""
    first = client.score(purchase(), record=True, with_features=True, explain=True)
    record_some(client)
    again = client.score(purchase(), record=True, with_features=True)
    assert again == first
    assert client.record([pb.Event(purchase=purchase())])[0].status == pb.DUPLICATE


def test_the_same_id_with_other_content_is_refused(client: FraudClient) -> None:
    """An id that is known with another amount is refused by name, and nothing changes."""
    client.score(purchase(), record=True)
    with pytest.raises(grpc.RpcError) as refused:
        client.score(purchase(amount_minor=1), record=True)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert fields_of(refused.value) == ["purchase.purchase_id"]


def test_a_purchase_that_was_recorded_before_its_score_is_degraded(client: FraudClient) -> None:
    """Profiles that hold the purchase itself are not used, and the answer says so."""
    record_some(client)
    client.record([pb.Event(purchase=purchase())])
    answer = client.score(purchase(), with_features=True)
    assert answer.degraded
    assert {one.cause for one in answer.missing} == {pb.HOLDS_PURCHASE}
    assert answer.decision in {pb.REVIEW, pb.DECLINE}


def test_a_batch_gives_exactly_the_scores_of_single_calls(client: FraudClient) -> None:
    """ScoreBatch and Score agree in every bit."""
    record_some(client)
    asked = [
        pb.ScoreRequest(purchase=purchase(purchase_id=f"b-{n}", amount_minor=100 * n + 1, user_id=f"u-{n % 3}"))
        for n in range(40)
    ]
    for one in asked:
        one.with_features = True
    batch = client.score_batch(asked).responses
    single = [client.score(one.purchase, with_features=True) for one in asked]
    assert [one.score for one in batch] == [one.score for one in single]
    assert [str(one.features) for one in batch] == [str(one.features) for one in single]


def test_a_batch_is_bounded_and_does_not_record(client: FraudClient) -> None:
    """Too long, empty, and recording batches are refused by name."""
    for requests, field in (
        ([], "requests"),
        ([pb.ScoreRequest(purchase=purchase())] * 257, "requests"),
        ([pb.ScoreRequest(purchase=purchase(), record=True)], "requests[0].record"),
        ([pb.ScoreRequest(purchase=purchase()), pb.ScoreRequest()], "requests[1].purchase.purchase_id"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            client.score_batch(requests)
        assert fields_of(refused.value)[0] == field


def test_reasons_come_in_words_when_asked_for(client: FraudClient) -> None:
    """An explanation names features, in words, the weightiest first."""
    record_some(client)
    reasons = client.score(purchase(), explain=True).reasons
    assert 1 <= len(reasons) <= 5
    assert {one.code for one in reasons} <= {feature.name for feature in FEATURES}
    weights = [abs(one.contribution) for one in reasons]
    assert weights == sorted(weights, reverse=True)
    assert all(one.text for one in reasons)


def test_one_bad_event_stops_no_other(client: FraudClient, app: App) -> None:
    """A batch with a bad event in the middle applies the rest, and says what was wrong."""
    bad_one = event("user_registered", user_id="a b")
    outcomes = client.record([event("user_registered"), bad_one, event("seller_registered")])
    assert [one.status for one in outcomes] == [pb.APPLIED, pb.REJECTED, pb.APPLIED]
    assert (outcomes[1].field, outcomes[1].event_id) == ("user_registered.user_id", "")
    assert app.store.profile(EntityKey(EntityKind.SELLER, "s-1")) is not EMPTY[EntityKind.SELLER]


def test_a_confirmation_waits_for_its_purchase(client: FraudClient, app: App) -> None:
    """A follow-up of an unknown purchase is PARKED and counts as soon as the purchase comes."""
    assert client.record([event("fraud_confirmed")])[0].status == pb.PARKED
    assert client.record([pb.Event(purchase=purchase())])[0].status == pb.APPLIED
    frauds = client.score(purchase(purchase_id="p-2"), with_features=True)
    assert {one.name: one.value for one in frauds.features}["fraud_recency_by_user"] == 1.0
    assert app.store.parked() == 0


def test_bad_purchases_are_refused_by_name_with_nothing_stored_or_echoed(wall_app: App) -> None:
    """Every row of the table through `Score`: the field is named, the value is nowhere, the store stays empty."""
    with FraudClient(f"127.0.0.1:{wall_app.server.port}", score_deadline_ms=5000) as client:
        for row in bad.PURCHASES:
            with pytest.raises(grpc.RpcError) as refused:
                client.score(purchase(**{row.field: row.value}), record=True)
            assert row.named in fields_of(refused.value)
            for number in bad.CARD_NUMBERS:
                assert number not in f"{refused.value.details()} {refused.value.trailing_metadata()}"
    assert_untouched(wall_app)


def test_bad_events_are_refused_by_name_with_nothing_stored_or_echoed(wall_app: App) -> None:
    """Every row of the table through `Record`: the field is named, the value is nowhere, the store stays empty."""
    with FraudClient(f"127.0.0.1:{wall_app.server.port}") as client:
        for row in bad.EVENTS:
            (outcome,) = client.record([row.message])
            assert (outcome.status, outcome.event_id) == (pb.REJECTED, ""), row
            assert not any(number in str(outcome) for number in bad.CARD_NUMBERS)
    assert_untouched(wall_app)


def assert_untouched(app: App) -> None:
    """Nothing was stored of anybody, and no decision was kept."""
    app.decision_log.stop(5)
    assert app.store.events("", 10).events == []
    assert app.store.decision_log("", 10).decisions == []
    for kind in EntityKind:
        assert app.store.profile(EntityKey(kind, f"{kind.name[0].lower()}-1")) is EMPTY[kind]


def test_bytes_that_are_no_message_are_refused(app: App) -> None:
    """Garbage is INVALID_ARGUMENT, never INTERNAL."""
    with grpc.insecure_channel(f"127.0.0.1:{app.server.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/fraud.v1.FraudScoring/Score")
        for data in (b"\xff\xff\xff", b"\x0a\x04\x0a\x02\xff\xfe", b"\x0a\x7f"):
            with pytest.raises(grpc.RpcError) as refused:
                call(data, timeout=5)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_expired_call_is_dropped_before_it_starts(app: App) -> None:
    """A deadline that leaves no room for an answer gets DEADLINE_EXCEEDED."""
    with FraudClient(f"127.0.0.1:{app.server.port}", score_deadline_ms=1) as hurried:
        assert hurried.wait_ready(5)
        with pytest.raises(grpc.RpcError) as refused:
            hurried.score(purchase())
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_health_and_reflection_work_as_everywhere(app: App) -> None:
    """Probes find every service, scoring is SERVING once a model is live, and reflection lists them."""
    with grpc.insecure_channel(f"127.0.0.1:{app.server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "fraud.v1.FraudScoring", "fraud.v1.EventIngest", "fraud.v1.Models"):
            status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (reply,) = reflection.ServerReflectionInfo(asked, timeout=5)
    names = {one.name for one in reply.list_services_response.service}
    assert {"fraud.v1.FraudScoring", "fraud.v1.EventIngest", "fraud.v1.Models", "grpc.health.v1.Health"} <= names


def test_generated_stubs_and_our_client_agree(app: App) -> None:
    """Any gRPC client can call: here the plain generated stub."""
    with grpc.insecure_channel(f"127.0.0.1:{app.server.port}") as channel:
        stub = fraud_pb2_grpc.FraudScoringStub(channel)  # type: ignore[no-untyped-call]
        assert stub.Score(pb.ScoreRequest(purchase=purchase()), timeout=5).purchase_id == "p-1"


def test_decisions_are_kept_with_all_that_explains_them(client: FraudClient, app: App) -> None:
    """The decision log holds row, versions, revisions and scores of what was answered, and survives a drain."""
    record_some(client)
    answer = client.score(purchase(), record=True, with_features=True)
    app.decision_log.stop(5)
    (kept,) = app.store.decisions("p-1")
    assert kept.score == answer.score
    assert kept.recorded
    assert [version.version for version in kept.scores] == [1]
    assert dict(kept.revisions)[EntityKey(EntityKind.USER, "u-1")] == 12
    assert app.store.row_layout(kept.row_layout) == tuple(one.name for one in answer.features)


def fields_of(error: grpc.RpcError) -> list[str]:
    """Return the fields that an error names in its BadRequest details."""
    status = rpc_status.from_call(error)
    assert status is not None
    details = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(details)
    return [violation.field for violation in details.field_violations]
