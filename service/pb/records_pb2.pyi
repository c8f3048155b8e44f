from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventRecord(_message.Message):
    __slots__ = ("event_id", "kind", "event_time_ms", "ingest_time_ms", "user_id", "seller_id", "item_id", "card_hash", "purchase_id", "amount_minor", "currency", "quantity", "settlement", "revisions", "decision")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    INGEST_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SELLER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    CARD_HASH_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    SETTLEMENT_FIELD_NUMBER: _ClassVar[int]
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    kind: int
    event_time_ms: int
    ingest_time_ms: int
    user_id: str
    seller_id: str
    item_id: str
    card_hash: str
    purchase_id: str
    amount_minor: int
    currency: str
    quantity: int
    settlement: int
    revisions: _containers.RepeatedCompositeFieldContainer[EntityRevision]
    decision: DecisionRecord
    def __init__(self, event_id: _Optional[str] = ..., kind: _Optional[int] = ..., event_time_ms: _Optional[int] = ..., ingest_time_ms: _Optional[int] = ..., user_id: _Optional[str] = ..., seller_id: _Optional[str] = ..., item_id: _Optional[str] = ..., card_hash: _Optional[str] = ..., purchase_id: _Optional[str] = ..., amount_minor: _Optional[int] = ..., currency: _Optional[str] = ..., quantity: _Optional[int] = ..., settlement: _Optional[int] = ..., revisions: _Optional[_Iterable[_Union[EntityRevision, _Mapping]]] = ..., decision: _Optional[_Union[DecisionRecord, _Mapping]] = ...) -> None: ...

class EntityRevision(_message.Message):
    __slots__ = ("kind", "id", "revision")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    kind: int
    id: str
    revision: int
    def __init__(self, kind: _Optional[int] = ..., id: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class VersionScore(_message.Message):
    __slots__ = ("version", "raw_score", "score", "shadow")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RAW_SCORE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    version: int
    raw_score: float
    score: float
    shadow: bool
    def __init__(self, version: _Optional[int] = ..., raw_score: _Optional[float] = ..., score: _Optional[float] = ..., shadow: bool = ...) -> None: ...

class ReasonRecord(_message.Message):
    __slots__ = ("code", "text", "contribution")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    contribution: float
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ..., contribution: _Optional[float] = ...) -> None: ...

class DecisionRecord(_message.Message):
    __slots__ = ("purchase_id", "decided_at_ms", "purchase", "score", "decision", "review_threshold", "decline_threshold", "scores", "model_versions", "lineup_revision", "row_layout", "row", "revisions", "missing", "degraded", "recorded", "reasons", "given_up", "profile_age_ms", "control", "control_share", "policy_version", "rules", "score_decision")
    class MissingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REVIEW_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    DECLINE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LINEUP_REVISION_FIELD_NUMBER: _ClassVar[int]
    ROW_LAYOUT_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    PROFILE_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    CONTROL_SHARE_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    SCORE_DECISION_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    decided_at_ms: int
    purchase: EventRecord
    score: float
    decision: int
    review_threshold: float
    decline_threshold: float
    scores: _containers.RepeatedCompositeFieldContainer[VersionScore]
    model_versions: _containers.RepeatedScalarFieldContainer[int]
    lineup_revision: int
    row_layout: str
    row: bytes
    revisions: _containers.RepeatedCompositeFieldContainer[EntityRevision]
    missing: _containers.ScalarMap[int, int]
    degraded: bool
    recorded: bool
    reasons: _containers.RepeatedCompositeFieldContainer[ReasonRecord]
    given_up: _containers.RepeatedScalarFieldContainer[str]
    profile_age_ms: int
    control: bool
    control_share: float
    policy_version: int
    rules: _containers.RepeatedScalarFieldContainer[str]
    score_decision: int
    def __init__(self, purchase_id: _Optional[str] = ..., decided_at_ms: _Optional[int] = ..., purchase: _Optional[_Union[EventRecord, _Mapping]] = ..., score: _Optional[float] = ..., decision: _Optional[int] = ..., review_threshold: _Optional[float] = ..., decline_threshold: _Optional[float] = ..., scores: _Optional[_Iterable[_Union[VersionScore, _Mapping]]] = ..., model_versions: _Optional[_Iterable[int]] = ..., lineup_revision: _Optional[int] = ..., row_layout: _Optional[str] = ..., row: _Optional[bytes] = ..., revisions: _Optional[_Iterable[_Union[EntityRevision, _Mapping]]] = ..., missing: _Optional[_Mapping[int, int]] = ..., degraded: bool = ..., recorded: bool = ..., reasons: _Optional[_Iterable[_Union[ReasonRecord, _Mapping]]] = ..., given_up: _Optional[_Iterable[str]] = ..., profile_age_ms: _Optional[int] = ..., control: bool = ..., control_share: _Optional[float] = ..., policy_version: _Optional[int] = ..., rules: _Optional[_Iterable[str]] = ..., score_decision: _Optional[int] = ...) -> None: ...
