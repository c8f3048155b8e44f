"""The wire refuses what is wrong, names the field, and repeats nothing."""

from __future__ import annotations

import math
import struct

import pytest
from google.protobuf.descriptor import FieldDescriptor

from service.core.event import EventKind, Settlement
from service.core.limits import looks_like_card
from service.errors import InvalidInput, Violation
from service.pb import fraud_pb2 as pb
from service.settings import IngestSettings
from service.wire import Reader
from tests.make import NOW_MS
from tests.service import bad

READER = Reader(IngestSettings())
EVENT_CLOCK = Reader(IngestSettings(clock="event"))


@pytest.mark.parametrize("row", bad.PURCHASES, ids=str)
def test_every_bad_field_of_a_purchase_is_refused_by_name(row: bad.Row) -> None:
    """Whatever is wrong with a field of a purchase, that field is named and its value is not repeated."""
    with pytest.raises(InvalidInput) as refused:
        READER.purchase(bad.purchase(**{row.field: row.value}), NOW_MS)
    assert [one.field for one in refused.value.violations] == [row.named]
    if len(str(row.value)) > 6:
        assert str(row.value) not in str(refused.value)


@pytest.mark.parametrize("row", bad.EVENTS, ids=lambda row: f"{row.named}: {str(row.message)[:60]}")
def test_every_bad_field_of_an_event_is_refused_by_name(row: bad.EventRow) -> None:
    """Whatever is wrong with a field of an event, that field is named."""
    with pytest.raises(InvalidInput) as refused:
        READER.event(row.message, NOW_MS)
    assert row.named in {one.field for one in refused.value.violations}
    for number in bad.CARD_NUMBERS:
        assert number not in str(refused.value)


def test_every_wrong_field_is_named_at_once() -> None:
    """A caller learns of all that is wrong in one answer."""
    with pytest.raises(InvalidInput) as refused:
        READER.purchase(pb.Purchase(amount_minor=-1, quantity=2**31, currency="XXX"), NOW_MS)
    assert [one.field for one in refused.value.violations] == [
        "purchase.purchase_id",
        "purchase.user_id",
        "purchase.amount_minor",
        "purchase.currency",
        "purchase.quantity",
    ]


def test_a_valid_purchase_is_read_as_it_was_sent() -> None:
    """Nothing is lost or added between the message and the event."""
    event = READER.purchase(bad.purchase(quantity=0, currency=""), NOW_MS + 7)
    assert (event.event_id, event.kind, event.purchase_id) == ("p-1", EventKind.PURCHASE, "p-1")
    assert (event.user_id, event.seller_id, event.item_id, event.card_hash) == ("u-1", "s-1", "i-1", "c-1")
    assert (event.amount_minor, event.currency, event.quantity) == (12_999, "EUR", 1)
    assert (event.event_time_ms, event.ingest_time_ms) == (NOW_MS, NOW_MS + 7)


@pytest.mark.parametrize("which", ["user_registered", "purchase", "purchase_settled", "fraud_confirmed", "item_listed"])
def test_time_zero_is_now(which: str) -> None:
    """An event without a time happened now."""
    message = bad.event(which)
    message.event_time_ms = 0
    if which == "purchase":
        message.purchase.event_time_ms = 0
    event = READER.event(message, NOW_MS)
    assert (event.event_time_ms, event.ingest_time_ms) == (NOW_MS, NOW_MS)


def test_derived_ids_make_repeats_harmless() -> None:
    """An event that follows from its content has the id that follows from its content."""
    assert READER.event(bad.event("fraud_confirmed"), NOW_MS).event_id == "fraud:p-1"
    assert READER.event(bad.event("purchase_settled"), NOW_MS).event_id == "settled:p-1:COMPLETED"
    assert READER.event(bad.event("purchase_settled"), NOW_MS).settlement is Settlement.COMPLETED
    assert READER.event(bad.event("card_reported"), NOW_MS).event_id == f"reported:c-1:{NOW_MS}"


def test_the_event_clock_takes_ingest_times_and_the_future() -> None:
    """On the event clock history may bring when it became known, and no time is in the future."""
    message = bad.event("fraud_confirmed", event_time_ms=bad.FAR_FUTURE_MS)
    message.ingest_time_ms = bad.FAR_FUTURE_MS + 5
    assert EVENT_CLOCK.event(message, NOW_MS).ingest_time_ms == bad.FAR_FUTURE_MS + 5


def test_an_event_is_not_known_before_it_happens() -> None:
    """An ingest time before the event time, by more than clocks may differ, is refused."""
    message = bad.event("fraud_confirmed")
    message.ingest_time_ms = NOW_MS - IngestSettings().max_future_skew_ms - 1
    with pytest.raises(InvalidInput, match="ingest_time_ms"):
        EVENT_CLOCK.event(message, NOW_MS)


@pytest.mark.parametrize("number", bad.CARD_NUMBERS)
def test_card_numbers_are_recognised(number: str) -> None:
    """A number with a valid check digit passes for a card, with separators or without; off by one it does not."""
    assert looks_like_card(number)
    assert not looks_like_card(number[:-1] + str((int(number[-1]) + 1) % 10))


def test_numeric_ids_can_be_allowed_except_for_the_card() -> None:
    """Where ids are long numbers a setting lets them through, but never in card_hash."""
    numeric = Reader(IngestSettings(numeric_ids=True))
    assert numeric.purchase(bad.purchase(user_id="4111111111111111"), NOW_MS).user_id == "4111111111111111"
    with pytest.raises(InvalidInput, match="card_hash"):
        numeric.purchase(bad.purchase(card_hash="4111111111111111"), NOW_MS)


WRONG_TYPES = {
    "a float that is not a number": lambda number: bytes([number << 3 | 1]) + struct.pack("<d", math.nan),
    "a 32-bit float": lambda number: bytes([number << 3 | 5]) + struct.pack("<f", 1.5),
    "a number for a text, or a text for a number": lambda number: (
        bytes([number << 3 | 2, 3]) + b"abc" if number in {6, 8, 9} else bytes([number << 3, 7])
    ),
}


@pytest.mark.parametrize("field", list(pb.Purchase.DESCRIPTOR.fields), ids=lambda field: field.name)
@pytest.mark.parametrize("kind", list(WRONG_TYPES))
def test_a_field_of_another_type_is_refused_by_name(field: FieldDescriptor, kind: str) -> None:
    """Protobuf would pass such a field over, and the purchase would count as one without it."""
    sound = bad.purchase()
    sound.ClearField(field.name)
    message = pb.Purchase.FromString(sound.SerializeToString() + WRONG_TYPES[kind](field.number))
    with pytest.raises(InvalidInput) as refused:
        READER.purchase(message, NOW_MS)
    assert Violation(f"purchase.{field.name}", "has the wrong type") in refused.value.violations
    event = pb.Event.FromString(bytes([6 << 3 | 2, message.ByteSize()]) + message.SerializeToString())
    with pytest.raises(InvalidInput):
        READER.event(event, NOW_MS)


def test_fields_of_newer_callers_are_passed_over() -> None:
    """A field that this release does not have is no reason to refuse a purchase."""
    message = pb.Purchase.FromString(bad.purchase().SerializeToString() + bytes([0xFA, 0x01, 3]) + b"new")
    assert READER.purchase(message, NOW_MS).event_id == "p-1"
