"""Between the wire and the core: requests become events, scores become responses.

Everything that a caller can get wrong is found here and named by field; inside, types are believed.
A violation never repeats the value, so nothing secret comes back or is logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from service.core.decision import DecisionRecord
from service.core.event import RESERVED_PREFIXES, Event, EventKind, Settlement, derived_id
from service.core.limits import (
    EARLIEST_MS,
    ID_CHARACTERS,
    ID_WORDS,
    LATEST_MS,
    MAX_AMOUNT_MINOR,
    MAX_EVENT_ID_LENGTH,
    MAX_ID_LENGTH,
    MAX_QUANTITY,
    looks_like_card,
)
from service.errors import InvalidInput, Violation
from service.pb import fraud_pb2 as pb
from service.settings import IngestSettings

_ID: Final = re.compile(rf"[{ID_CHARACTERS}]{{1,{MAX_ID_LENGTH}}}")
_EVENT_ID: Final = re.compile(rf"[{ID_CHARACTERS}]{{1,{MAX_EVENT_ID_LENGTH}}}")
_OPTIONAL: Final = rf"[{ID_CHARACTERS}]{{0,{MAX_ID_LENGTH}}}"
_PURCHASE_IDS: Final = re.compile(
    rf"[{ID_CHARACTERS}]{{1,{MAX_ID_LENGTH}}}\n[{ID_CHARACTERS}]{{1,{MAX_ID_LENGTH}}}\n{_OPTIONAL}\n{_OPTIONAL}\n{_OPTIONAL}"
)
_MAYBE_CARD: Final = re.compile(r"^[-.:/_+=@]*(?:[0-9][-.:/_+=@]*){12,19}$", re.MULTILINE)

_ID_RULE: Final = f"must be 1 to {MAX_ID_LENGTH} characters out of {ID_WORDS}"
_EVENT_ID_RULE: Final = f"must be 1 to {MAX_EVENT_ID_LENGTH} characters out of {ID_WORDS}"
_CARD_RULE: Final = "looks like a card number: send a keyed hash of the card, never the number, and no number in any id"
_AMOUNT_RULE: Final = f"must be between 0 and {MAX_AMOUNT_MINOR}"
_QUANTITY_RULE: Final = f"must be between 1 and {MAX_QUANTITY}, or 0 for one"
_TIME_RULE: Final = "must be 0 for now, or milliseconds between the years 2000 and 2100"
_PREFIX_RULE: Final = f"may not begin with {', '.join(RESERVED_PREFIXES)}: these name other events"


def mistyped(message: Message, prefix: str) -> Iterable[Violation]:
    """Name the fields that were sent as another type than they have: protobuf keeps those as if it did not know them.

    Numbers that the message does not have are of a newer caller, and are passed over. Cost: 0.2 µs for none.
    """
    known = message.DESCRIPTOR.fields_by_number
    unknown = UnknownFieldSet(message)
    for at in range(len(unknown)):
        if unknown[at].field_number in known:
            name = known[unknown[at].field_number].name
            yield Violation(f"{prefix}{name}", "has the wrong type")


class Reader:
    """Reads requests with the rules of one deployment."""

    def __init__(self, settings: IngestSettings) -> None:
        """Resolve what the settings say, once."""
        self._currency = settings.currency
        self._skew_ms = settings.max_future_skew_ms
        self._event_clock = settings.clock == "event"
        self._numeric_ids = settings.numeric_ids

    # --- purchases ------------------------------------------------------------------------------

    def purchase(self, message: pb.Purchase, now_ms: int, prefix: str = "purchase") -> Event:
        """Return the purchase as an event; raises InvalidInput that names every field that is wrong.

        Cost on the good path: two regular expressions over the ids, no allocation beyond the event.
        """
        purchase_id = message.purchase_id
        user_id = message.user_id
        seller_id = message.seller_id
        item_id = message.item_id
        card_hash = message.card_hash
        amount_minor = message.amount_minor
        currency = message.currency
        quantity = message.quantity
        time_ms = message.event_time_ms
        ids = f"{purchase_id}\n{user_id}\n{seller_id}\n{item_id}\n{card_hash}"
        latest = LATEST_MS if self._event_clock else now_ms + self._skew_ms
        if (
            _PURCHASE_IDS.fullmatch(ids) is None
            or _MAYBE_CARD.search(ids) is not None
            or ":" in purchase_id
            or not 0 <= amount_minor <= MAX_AMOUNT_MINOR
            or (currency and currency != self._currency)
            or quantity > MAX_QUANTITY
            or not (time_ms == 0 or EARLIEST_MS <= time_ms <= latest)
            or len(UnknownFieldSet(message))
        ):
            violations = list(self._purchase_violations(message, now_ms, prefix))
            if violations:
                raise InvalidInput(violations)
        if not time_ms:
            time_ms = now_ms
        return Event(
            purchase_id,
            EventKind.PURCHASE,
            time_ms,
            max(now_ms, time_ms) if self._event_clock else now_ms,
            user_id,
            seller_id,
            item_id,
            card_hash,
            purchase_id,
            amount_minor,
            self._currency,
            quantity or 1,
        )

    def _purchase_violations(self, message: pb.Purchase, now_ms: int, prefix: str) -> Iterable[Violation]:
        yield from mistyped(message, f"{prefix}.")
        yield from self._id(f"{prefix}.purchase_id", message.purchase_id)
        if message.purchase_id.startswith(RESERVED_PREFIXES):
            yield Violation(f"{prefix}.purchase_id", _PREFIX_RULE)
        yield from self._id(f"{prefix}.user_id", message.user_id)
        yield from self._optional_id(f"{prefix}.seller_id", message.seller_id)
        yield from self._optional_id(f"{prefix}.item_id", message.item_id)
        yield from self._optional_id(f"{prefix}.card_hash", message.card_hash, card=True)
        if not 0 <= message.amount_minor <= MAX_AMOUNT_MINOR:
            yield Violation(f"{prefix}.amount_minor", _AMOUNT_RULE)
        if message.currency and message.currency != self._currency:
            yield Violation(
                f"{prefix}.currency", f"must be {self._currency} or empty: this deployment has one currency"
            )
        if message.quantity > MAX_QUANTITY:
            yield Violation(f"{prefix}.quantity", _QUANTITY_RULE)
        yield from self._time(f"{prefix}.event_time_ms", message.event_time_ms, now_ms)

    # --- events ---------------------------------------------------------------------------------

    def event(self, message: pb.Event, now_ms: int) -> Event:
        """Return an event of any kind; raises InvalidInput that names every field that is wrong."""
        which = message.WhichOneof("kind")
        if which is None:
            raise InvalidInput([Violation("kind", "one of the kinds of event must be set")])
        violations = list(self._common_violations(message, now_ms))
        content = getattr(message, which)
        event = self._purchase_event(message, now_ms, violations) if which == "purchase" else None
        if event is None:
            event = Event("", _KINDS[which], message.event_time_ms or now_ms, now_ms)
            violations.extend(self._content(which, content, event))
        if event.kind is EventKind.CARD_REPORTED and not message.event_id and not message.event_time_ms:
            violations.append(
                Violation("event_id", "a card report needs an event_id, or an event_time_ms to derive one from")
            )
        if violations:
            raise InvalidInput(violations)
        derived = derived_id(event)
        if message.event_id and message.event_id != derived and event.kind is not EventKind.CARD_REPORTED:
            raise InvalidInput([Violation("event_id", "must be empty or the id that follows from the content")])
        if message.ingest_time_ms and message.ingest_time_ms < event.event_time_ms - self._skew_ms:
            raise InvalidInput([Violation("ingest_time_ms", f"lies more than {self._skew_ms} ms before event_time_ms")])
        event.event_id = message.event_id or derived
        event.ingest_time_ms = self._ingest_time(message.ingest_time_ms, event.event_time_ms, now_ms)
        return event

    def _common_violations(self, message: pb.Event, now_ms: int) -> Iterable[Violation]:
        yield from mistyped(message, "")
        if message.event_id:
            if not _EVENT_ID.fullmatch(message.event_id):
                yield Violation("event_id", _EVENT_ID_RULE)
            elif looks_like_card(message.event_id) and not self._numeric_ids:
                yield Violation("event_id", _CARD_RULE)
        yield from self._time("event_time_ms", message.event_time_ms, now_ms)
        if message.ingest_time_ms:
            if not self._event_clock:
                yield Violation("ingest_time_ms", "may only be set where the service runs on the event clock")
            elif not EARLIEST_MS <= message.ingest_time_ms <= LATEST_MS:
                yield Violation("ingest_time_ms", _TIME_RULE)

    def _purchase_event(self, message: pb.Event, now_ms: int, violations: list[Violation]) -> Event | None:
        purchase = message.purchase
        if message.event_time_ms and purchase.event_time_ms and message.event_time_ms != purchase.event_time_ms:
            violations.append(Violation("event_time_ms", "must be 0 or equal to purchase.event_time_ms"))
        try:
            event = self.purchase(purchase, now_ms)
        except InvalidInput as error:
            violations.extend(error.violations)
            return Event("", EventKind.PURCHASE, now_ms, now_ms)
        if message.event_time_ms:
            event.event_time_ms = message.event_time_ms
        return event

    def _content(self, which: str, content: _Content, event: Event) -> Iterable[Violation]:
        """Fill the event from the content of its kind, and return what is wrong with that."""
        yield from mistyped(content, f"{which}.")
        for field in _FIELDS[which]:
            value = getattr(content, field)
            path = f"{which}.{field}"
            if field == "settlement":
                if value in _SETTLEMENTS:
                    event.settlement = Settlement(value)
                else:
                    yield Violation(path, f"must be one of {', '.join(_SETTLEMENT_NAMES)}")
            elif field == "price_minor":
                event.amount_minor = value
                if not 0 <= value <= MAX_AMOUNT_MINOR:
                    yield Violation(path, _AMOUNT_RULE)
            else:
                setattr(event, field, value)
                check = self._optional_id if (which, field) == ("item_listed", "seller_id") else self._id
                yield from check(path, value, card=field == "card_hash")
                if field == "purchase_id" and value.startswith(RESERVED_PREFIXES):
                    yield Violation(path, _PREFIX_RULE)

    # --- single fields --------------------------------------------------------------------------

    def _id(self, field: str, value: str, *, card: bool = False) -> Iterable[Violation]:
        if not _ID.fullmatch(value):
            yield Violation(field, _ID_RULE)
        elif looks_like_card(value) and (card or not self._numeric_ids):
            yield Violation(field, _CARD_RULE)

    def _optional_id(self, field: str, value: str, *, card: bool = False) -> Iterable[Violation]:
        return self._id(field, value, card=card) if value else ()

    def _time(self, field: str, time_ms: int, now_ms: int) -> Iterable[Violation]:
        if time_ms and not EARLIEST_MS <= time_ms <= LATEST_MS:
            yield Violation(field, _TIME_RULE)
        elif not self._event_clock and time_ms > now_ms + self._skew_ms:
            yield Violation(field, f"lies more than {self._skew_ms} ms in the future")

    def _ingest_time(self, brought_ms: int, event_time_ms: int, now_ms: int) -> int:
        if brought_ms:
            return brought_ms
        return max(now_ms, event_time_ms) if self._event_clock else now_ms


_Content = (
    pb.UserRegistered
    | pb.SellerRegistered
    | pb.ItemListed
    | pb.PurchaseSettled
    | pb.CardReported
    | pb.FraudConfirmed
    | pb.FraudCleared
)

_KINDS: Final = {
    "user_registered": EventKind.USER_REGISTERED,
    "seller_registered": EventKind.SELLER_REGISTERED,
    "item_listed": EventKind.ITEM_LISTED,
    "purchase": EventKind.PURCHASE,
    "purchase_settled": EventKind.PURCHASE_SETTLED,
    "card_reported": EventKind.CARD_REPORTED,
    "fraud_confirmed": EventKind.FRAUD_CONFIRMED,
    "fraud_cleared": EventKind.FRAUD_CLEARED,
}

_FIELDS: Final = {
    "user_registered": ("user_id",),
    "seller_registered": ("seller_id",),
    "item_listed": ("item_id", "seller_id", "price_minor"),
    "purchase_settled": ("purchase_id", "settlement"),
    "card_reported": ("card_hash",),
    "fraud_confirmed": ("purchase_id",),
    "fraud_cleared": ("purchase_id",),
}

_SETTLEMENT_NAMES: Final = ("COMPLETED", "DECLINED", "CANCELLED", "REFUNDED")
_SETTLEMENTS: Final = frozenset({1, 2, 3, 4})


def score_response(record: DecisionRecord, features: Sequence[tuple[str, float]]) -> pb.ScoreResponse:
    """Return the answer that a decision record stands for."""
    response = pb.ScoreResponse()
    response.purchase_id = record.purchase.event_id
    response.score = record.score
    response.decision = record.decision  # type: ignore[assignment]  # the numbers are the proto's
    response.model_versions.extend(record.model_versions)
    response.lineup_revision = record.lineup_revision
    response.degraded = record.degraded
    response.recorded = record.recorded
    response.profile_age_ms = record.profile_age_ms
    response.policy_version = record.policy_version
    for kind, cause in record.missing.items():
        response.missing.add(kind=int(kind), cause=int(cause))
    for reason in record.reasons:
        response.reasons.add(code=reason.code, text=reason.text, contribution=reason.contribution)
    for name, value in features:
        response.features.add(name=name, value=value)
    return response
