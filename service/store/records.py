"""The codec between core values and the records that both stores keep (`proto/records.proto`).

`decode(encode(x)) == x` for every event and decision; a property test holds it to that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.core.decision import Decision, DecisionRecord, MissingCause, ReasonShown, Thresholds, VersionScore
from service.core.event import EntityKey, EntityKind, Event, EventKind, Settlement
from service.pb import records_pb2 as pb
from service.store.protocol import LoggedEvent, Revisions

_KINDS: Final = {int(kind): kind for kind in EntityKind}
_EVENT_KINDS: Final = {int(kind): kind for kind in EventKind}
_SETTLEMENTS: Final = {int(settlement): settlement for settlement in Settlement}


def encode_event(event: Event, revisions: Revisions = (), decision: DecisionRecord | None = None) -> bytes:
    """Return the record of an event; a pending or parked one has no revisions yet."""
    record = _event_record(event, revisions)
    if decision is not None:
        record.decision.CopyFrom(_decision_record(decision))
    return record.SerializeToString()


def with_revisions(record: bytes, revisions: Revisions) -> bytes:
    """Return the record of an event that had no revisions, with these; nothing is decoded.

    Records put one after the other are one record: https://protobuf.dev/programming-guides/encoding/#last-one-wins
    """
    return record + pb.EventRecord(revisions=_revision_records(revisions)).SerializeToString()


def decode_event(record: bytes) -> LoggedEvent:
    """Return the event that a record holds, with what it got."""
    message = pb.EventRecord.FromString(record)
    decision = _decision(message.decision) if message.HasField("decision") else None
    return LoggedEvent(_event(message), _revisions(message.revisions), decision)


def encode_decision(decision: DecisionRecord) -> bytes:
    """Return the record of a decision."""
    return _decision_record(decision).SerializeToString()


def decode_decision(record: bytes) -> DecisionRecord:
    """Return the decision that a record holds."""
    return _decision(pb.DecisionRecord.FromString(record))


def _event_record(event: Event, revisions: Revisions = ()) -> pb.EventRecord:
    return pb.EventRecord(
        event_id=event.event_id,
        kind=event.kind,
        event_time_ms=event.event_time_ms,
        ingest_time_ms=event.ingest_time_ms,
        user_id=event.user_id,
        seller_id=event.seller_id,
        item_id=event.item_id,
        card_hash=event.card_hash,
        purchase_id=event.purchase_id,
        amount_minor=event.amount_minor,
        currency=event.currency,
        quantity=event.quantity,
        settlement=event.settlement,
        revisions=_revision_records(revisions),
    )


def _event(record: pb.EventRecord) -> Event:
    return Event(
        record.event_id,
        _EVENT_KINDS[record.kind],
        record.event_time_ms,
        record.ingest_time_ms,
        record.user_id,
        record.seller_id,
        record.item_id,
        record.card_hash,
        record.purchase_id,
        record.amount_minor,
        record.currency,
        record.quantity,
        _SETTLEMENTS[record.settlement],
    )


def _revision_records(revisions: Revisions) -> list[pb.EntityRevision]:
    return [pb.EntityRevision(kind=kind, id=entity_id, revision=revision) for (kind, entity_id), revision in revisions]


def _revisions(records: Iterable[pb.EntityRevision]) -> Revisions:
    return tuple((EntityKey(_KINDS[one.kind], one.id), one.revision) for one in records)


def _decision_record(decision: DecisionRecord) -> pb.DecisionRecord:
    return pb.DecisionRecord(
        purchase_id=decision.purchase.purchase_id,
        decided_at_ms=decision.decided_at_ms,
        purchase=_event_record(decision.purchase),
        score=decision.score,
        decision=decision.decision,
        review_threshold=decision.thresholds.review,
        decline_threshold=decision.thresholds.decline,
        scores=[pb.VersionScore(**one._asdict()) for one in decision.scores],
        model_versions=decision.model_versions,
        lineup_revision=decision.lineup_revision,
        row_layout=decision.row_layout,
        row=decision.row,
        revisions=_revision_records(decision.revisions),
        missing={int(kind): int(cause) for kind, cause in decision.missing.items()},
        degraded=decision.degraded,
        recorded=decision.recorded,
        reasons=[pb.ReasonRecord(**one._asdict()) for one in decision.reasons],
        given_up=decision.given_up,
        profile_age_ms=decision.profile_age_ms,
        control=decision.control,
        control_share=decision.control_share,
    )


def _decision(record: pb.DecisionRecord) -> DecisionRecord:
    return DecisionRecord(
        purchase=_event(record.purchase),
        decided_at_ms=record.decided_at_ms,
        score=record.score,
        decision=Decision(record.decision),
        thresholds=Thresholds(record.review_threshold, record.decline_threshold),
        scores=tuple(VersionScore(one.version, one.raw_score, one.score, one.shadow) for one in record.scores),
        model_versions=tuple(record.model_versions),
        lineup_revision=record.lineup_revision,
        row_layout=record.row_layout,
        row=record.row,
        revisions=_revisions(record.revisions),
        missing={_KINDS[kind]: MissingCause(cause) for kind, cause in record.missing.items()},
        degraded=record.degraded,
        profile_age_ms=record.profile_age_ms,
        recorded=record.recorded,
        reasons=tuple(ReasonShown(one.code, one.text, one.contribution) for one in record.reasons),
        given_up=tuple(record.given_up),
        control=record.control,
        control_share=record.control_share,
    )
