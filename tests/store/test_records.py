"""The codec gives back exactly what went in."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.core.decision import Decision, DecisionRecord, MissingCause, ReasonShown, Thresholds, VersionScore
from service.core.event import EntityKey, EntityKind, Event, EventKind, Settlement
from service.store.protocol import LoggedEvent
from service.store.records import decode_decision, decode_event, encode_decision, encode_event, with_revisions

_texts = st.text(max_size=12)
_times_ms = st.integers(-(1 << 63), (1 << 63) - 1)
_floats = st.floats(allow_nan=False)
_versions = st.integers(0, (1 << 32) - 1)

_events = st.builds(
    Event,
    event_id=_texts,
    kind=st.sampled_from(EventKind),
    event_time_ms=_times_ms,
    ingest_time_ms=_times_ms,
    user_id=_texts,
    seller_id=_texts,
    item_id=_texts,
    card_hash=_texts,
    purchase_id=_texts,
    amount_minor=_times_ms,
    currency=_texts,
    quantity=st.integers(0, (1 << 32) - 1),
    settlement=st.sampled_from(Settlement),
)
_keys = st.builds(EntityKey, st.sampled_from(EntityKind), _texts)
_revisions = st.lists(st.tuples(_keys, st.integers(0, (1 << 63) - 1)), max_size=4).map(tuple)
_decisions = st.builds(
    DecisionRecord,
    purchase=_events,
    decided_at_ms=_times_ms,
    score=_floats,
    decision=st.sampled_from(Decision),
    thresholds=st.builds(Thresholds, _floats, _floats),
    scores=st.lists(st.builds(VersionScore, _versions, _floats, _floats, st.booleans()), max_size=3).map(tuple),
    model_versions=st.lists(_versions, max_size=3).map(tuple),
    lineup_revision=st.integers(0, (1 << 64) - 1),
    row_layout=_texts,
    row=st.binary(max_size=32),
    revisions=_revisions,
    missing=st.dictionaries(st.sampled_from(EntityKind), st.sampled_from(MissingCause)),
    degraded=st.booleans(),
    profile_age_ms=_times_ms,
    recorded=st.booleans(),
    reasons=st.lists(st.builds(ReasonShown, _texts, _texts, _floats), max_size=3).map(tuple),
    given_up=st.lists(_texts, max_size=3).map(tuple),
    control=st.booleans(),
    control_share=_floats,
    policy_version=_versions,
    rules=st.lists(_texts, max_size=3).map(tuple),
    score_decision=st.none() | st.sampled_from(Decision),
)


@given(_events, _revisions, st.none() | _decisions)
def test_an_event_survives_its_record(event: Event, revisions: Any, decision: DecisionRecord | None) -> None:
    """Event, revisions and decision come back equal, and of the same types."""
    back = decode_event(encode_event(event, revisions, decision))
    assert back == LoggedEvent(event, revisions, decision)
    assert type(back.event.kind) is EventKind
    assert type(back.event.settlement) is Settlement
    assert all(type(key.kind) is EntityKind for key, _ in back.revisions)


@given(_events, _revisions, st.none() | _decisions)
def test_revisions_can_be_added_to_a_record(event: Event, revisions: Any, decision: DecisionRecord | None) -> None:
    """A record that was encoded without revisions reads as if it had been encoded with them."""
    record = with_revisions(encode_event(event, decision=decision), revisions)
    assert decode_event(record) == LoggedEvent(event, revisions, decision)


@given(_decisions)
def test_a_decision_survives_its_record(decision: DecisionRecord) -> None:
    """Every field of a decision comes back equal."""
    back = decode_decision(encode_decision(decision))
    assert back == decision
    assert type(back.decision) is Decision
    assert all(type(kind) is EntityKind and type(cause) is MissingCause for kind, cause in back.missing.items())
