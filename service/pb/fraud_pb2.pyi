from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    APPROVE: _ClassVar[Decision]
    REVIEW: _ClassVar[Decision]
    DECLINE: _ClassVar[Decision]

class EntityKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTITY_KIND_UNSPECIFIED: _ClassVar[EntityKind]
    USER: _ClassVar[EntityKind]
    SELLER: _ClassVar[EntityKind]
    ITEM: _ClassVar[EntityKind]
    CARD: _ClassVar[EntityKind]

class MissingCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MISSING_CAUSE_UNSPECIFIED: _ClassVar[MissingCause]
    UNKNOWN: _ClassVar[MissingCause]
    UNREADABLE: _ClassVar[MissingCause]
    ABSENT: _ClassVar[MissingCause]
    HOLDS_PURCHASE: _ClassVar[MissingCause]

class Settlement(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETTLEMENT_UNSPECIFIED: _ClassVar[Settlement]
    COMPLETED: _ClassVar[Settlement]
    DECLINED: _ClassVar[Settlement]
    CANCELLED: _ClassVar[Settlement]
    REFUNDED: _ClassVar[Settlement]

class RecordStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECORD_STATUS_UNSPECIFIED: _ClassVar[RecordStatus]
    APPLIED: _ClassVar[RecordStatus]
    DUPLICATE: _ClassVar[RecordStatus]
    LATE: _ClassVar[RecordStatus]
    PARKED: _ClassVar[RecordStatus]
    REJECTED: _ClassVar[RecordStatus]
    RETRY: _ClassVar[RecordStatus]

class VersionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_STATUS_UNSPECIFIED: _ClassVar[VersionStatus]
    LOADING: _ClassVar[VersionStatus]
    LIVE: _ClassVar[VersionStatus]
    ERROR: _ClassVar[VersionStatus]
DECISION_UNSPECIFIED: Decision
APPROVE: Decision
REVIEW: Decision
DECLINE: Decision
ENTITY_KIND_UNSPECIFIED: EntityKind
USER: EntityKind
SELLER: EntityKind
ITEM: EntityKind
CARD: EntityKind
MISSING_CAUSE_UNSPECIFIED: MissingCause
UNKNOWN: MissingCause
UNREADABLE: MissingCause
ABSENT: MissingCause
HOLDS_PURCHASE: MissingCause
SETTLEMENT_UNSPECIFIED: Settlement
COMPLETED: Settlement
DECLINED: Settlement
CANCELLED: Settlement
REFUNDED: Settlement
RECORD_STATUS_UNSPECIFIED: RecordStatus
APPLIED: RecordStatus
DUPLICATE: RecordStatus
LATE: RecordStatus
PARKED: RecordStatus
REJECTED: RecordStatus
RETRY: RecordStatus
VERSION_STATUS_UNSPECIFIED: VersionStatus
LOADING: VersionStatus
LIVE: VersionStatus
ERROR: VersionStatus

class Purchase(_message.Message):
    __slots__ = ("purchase_id", "user_id", "seller_id", "item_id", "card_hash", "amount_minor", "currency", "quantity", "event_time_ms")
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SELLER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    CARD_HASH_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    user_id: str
    seller_id: str
    item_id: str
    card_hash: str
    amount_minor: int
    currency: str
    quantity: int
    event_time_ms: int
    def __init__(self, purchase_id: _Optional[str] = ..., user_id: _Optional[str] = ..., seller_id: _Optional[str] = ..., item_id: _Optional[str] = ..., card_hash: _Optional[str] = ..., amount_minor: _Optional[int] = ..., currency: _Optional[str] = ..., quantity: _Optional[int] = ..., event_time_ms: _Optional[int] = ...) -> None: ...

class Missing(_message.Message):
    __slots__ = ("kind", "cause")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    kind: EntityKind
    cause: MissingCause
    def __init__(self, kind: _Optional[_Union[EntityKind, str]] = ..., cause: _Optional[_Union[MissingCause, str]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("code", "text", "contribution")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    code: str
    text: str
    contribution: float
    def __init__(self, code: _Optional[str] = ..., text: _Optional[str] = ..., contribution: _Optional[float] = ...) -> None: ...

class FeatureValue(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("purchase", "record", "explain", "with_features")
    PURCHASE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    WITH_FEATURES_FIELD_NUMBER: _ClassVar[int]
    purchase: Purchase
    record: bool
    explain: bool
    with_features: bool
    def __init__(self, purchase: _Optional[_Union[Purchase, _Mapping]] = ..., record: bool = ..., explain: bool = ..., with_features: bool = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("purchase_id", "score", "decision", "model_versions", "lineup_revision", "reasons", "features", "missing", "degraded", "recorded", "profile_age_ms", "policy_version")
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LINEUP_REVISION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    PROFILE_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    score: float
    decision: Decision
    model_versions: _containers.RepeatedScalarFieldContainer[int]
    lineup_revision: int
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    features: _containers.RepeatedCompositeFieldContainer[FeatureValue]
    missing: _containers.RepeatedCompositeFieldContainer[Missing]
    degraded: bool
    recorded: bool
    profile_age_ms: int
    policy_version: int
    def __init__(self, purchase_id: _Optional[str] = ..., score: _Optional[float] = ..., decision: _Optional[_Union[Decision, str]] = ..., model_versions: _Optional[_Iterable[int]] = ..., lineup_revision: _Optional[int] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[FeatureValue, _Mapping]]] = ..., missing: _Optional[_Iterable[_Union[Missing, _Mapping]]] = ..., degraded: bool = ..., recorded: bool = ..., profile_age_ms: _Optional[int] = ..., policy_version: _Optional[int] = ...) -> None: ...

class ScoreBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[ScoreRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[ScoreRequest, _Mapping]]] = ...) -> None: ...

class ScoreBatchResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[ScoreResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[ScoreResponse, _Mapping]]] = ...) -> None: ...

class UserRegistered(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class SellerRegistered(_message.Message):
    __slots__ = ("seller_id",)
    SELLER_ID_FIELD_NUMBER: _ClassVar[int]
    seller_id: str
    def __init__(self, seller_id: _Optional[str] = ...) -> None: ...

class ItemListed(_message.Message):
    __slots__ = ("item_id", "seller_id", "price_minor")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SELLER_ID_FIELD_NUMBER: _ClassVar[int]
    PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    seller_id: str
    price_minor: int
    def __init__(self, item_id: _Optional[str] = ..., seller_id: _Optional[str] = ..., price_minor: _Optional[int] = ...) -> None: ...

class PurchaseSettled(_message.Message):
    __slots__ = ("purchase_id", "settlement")
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    SETTLEMENT_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    settlement: Settlement
    def __init__(self, purchase_id: _Optional[str] = ..., settlement: _Optional[_Union[Settlement, str]] = ...) -> None: ...

class CardReported(_message.Message):
    __slots__ = ("card_hash",)
    CARD_HASH_FIELD_NUMBER: _ClassVar[int]
    card_hash: str
    def __init__(self, card_hash: _Optional[str] = ...) -> None: ...

class FraudConfirmed(_message.Message):
    __slots__ = ("purchase_id",)
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    def __init__(self, purchase_id: _Optional[str] = ...) -> None: ...

class FraudCleared(_message.Message):
    __slots__ = ("purchase_id",)
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    def __init__(self, purchase_id: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("event_id", "event_time_ms", "user_registered", "seller_registered", "item_listed", "purchase", "purchase_settled", "card_reported", "fraud_confirmed", "fraud_cleared", "ingest_time_ms")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    USER_REGISTERED_FIELD_NUMBER: _ClassVar[int]
    SELLER_REGISTERED_FIELD_NUMBER: _ClassVar[int]
    ITEM_LISTED_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_SETTLED_FIELD_NUMBER: _ClassVar[int]
    CARD_REPORTED_FIELD_NUMBER: _ClassVar[int]
    FRAUD_CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    FRAUD_CLEARED_FIELD_NUMBER: _ClassVar[int]
    INGEST_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    event_time_ms: int
    user_registered: UserRegistered
    seller_registered: SellerRegistered
    item_listed: ItemListed
    purchase: Purchase
    purchase_settled: PurchaseSettled
    card_reported: CardReported
    fraud_confirmed: FraudConfirmed
    fraud_cleared: FraudCleared
    ingest_time_ms: int
    def __init__(self, event_id: _Optional[str] = ..., event_time_ms: _Optional[int] = ..., user_registered: _Optional[_Union[UserRegistered, _Mapping]] = ..., seller_registered: _Optional[_Union[SellerRegistered, _Mapping]] = ..., item_listed: _Optional[_Union[ItemListed, _Mapping]] = ..., purchase: _Optional[_Union[Purchase, _Mapping]] = ..., purchase_settled: _Optional[_Union[PurchaseSettled, _Mapping]] = ..., card_reported: _Optional[_Union[CardReported, _Mapping]] = ..., fraud_confirmed: _Optional[_Union[FraudConfirmed, _Mapping]] = ..., fraud_cleared: _Optional[_Union[FraudCleared, _Mapping]] = ..., ingest_time_ms: _Optional[int] = ...) -> None: ...

class RecordRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class RecordOutcome(_message.Message):
    __slots__ = ("event_id", "status", "field", "reason")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    status: RecordStatus
    field: str
    reason: str
    def __init__(self, event_id: _Optional[str] = ..., status: _Optional[_Union[RecordStatus, str]] = ..., field: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RecordResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[RecordOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[RecordOutcome, _Mapping]]] = ...) -> None: ...

class GetLineupRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VersionState(_message.Message):
    __slots__ = ("version", "status", "reason", "since_ms")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    version: int
    status: VersionStatus
    reason: str
    since_ms: int
    def __init__(self, version: _Optional[int] = ..., status: _Optional[_Union[VersionStatus, str]] = ..., reason: _Optional[str] = ..., since_ms: _Optional[int] = ...) -> None: ...

class WorkerLineup(_message.Message):
    __slots__ = ("worker", "lineup_revision", "answer", "champion", "challengers", "versions", "reason", "canary", "canary_share", "policy_version")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    LINEUP_REVISION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_FIELD_NUMBER: _ClassVar[int]
    CHALLENGERS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    worker: int
    lineup_revision: int
    answer: _containers.RepeatedScalarFieldContainer[int]
    champion: int
    challengers: _containers.RepeatedScalarFieldContainer[int]
    versions: _containers.RepeatedCompositeFieldContainer[VersionState]
    reason: str
    canary: int
    canary_share: float
    policy_version: int
    def __init__(self, worker: _Optional[int] = ..., lineup_revision: _Optional[int] = ..., answer: _Optional[_Iterable[int]] = ..., champion: _Optional[int] = ..., challengers: _Optional[_Iterable[int]] = ..., versions: _Optional[_Iterable[_Union[VersionState, _Mapping]]] = ..., reason: _Optional[str] = ..., canary: _Optional[int] = ..., canary_share: _Optional[float] = ..., policy_version: _Optional[int] = ...) -> None: ...

class GetLineupResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerLineup]
    def __init__(self, workers: _Optional[_Iterable[_Union[WorkerLineup, _Mapping]]] = ...) -> None: ...
