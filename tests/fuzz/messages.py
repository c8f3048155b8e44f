"""Messages that are almost right: valid ones with wrong values, and their bytes with wrong bytes.

Half of what is made parses, so that it reaches what stands behind the parser; the other half tries the parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from service.pb import fraud_pb2 as pb

MARK: Final = "5ecret"
"""Stands in every id that is sent, and nowhere else: what repeats it has told an id."""

CARD: Final = "4111111111111111"

SCORE: Final = "/fraud.v1.FraudScoring/Score"

PATHS: Final = (
    (SCORE, 55),
    ("/fraud.v1.FraudScoring/ScoreBatch", 15),
    ("/fraud.v1.EventIngest/Record", 20),
    ("/fraud.v1.Models/GetLineup", 3),
    ("/grpc.health.v1.Health/Check", 3),
    ("/fraud.v1.FraudScoring/Unheard", 2),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", 2),
)
"""Methods and how often they are called, in hundredths."""

_NUMBERS: Final = (0, 1, -1, 2, 127, 128, 255, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**53, 2**63 - 1, -(2**63))
_TEXTS: Final = (
    *("", " ", "\n", "\x00", "é", "\U0001f600", "a" * 128, "a" * 129, "a" * 5000, "../../etc/passwd", "%s%n", "{0}"),
    *(CARD, "4111-1111-1111-1111", "fraud:p-1", "registered:u", "\u202e", "'; --", "a\nb", "Infinity", "NaN"),
)


class Call(NamedTuple):
    """One call to make."""

    path: str
    message: bytes
    metadata: tuple[tuple[str, str], ...]
    timeout_s: float


class Fuzzer:
    """Makes calls without end, the same ones for the same seed."""

    def __init__(self, seed: int, token: str, now_ms: int) -> None:
        """Get what it needs; `token` is one that is let in."""
        self._random = Random(seed)
        self._authorized = (("authorization", f"Bearer {token}"),)
        self._now_ms = now_ms
        self._paths, self._weights = zip(*PATHS, strict=True)
        self._earlier = [b"\x0a\x00"] * 200
        self._made = 0

    def calls(self) -> Iterator[Call]:
        """Make calls."""
        random = self._random
        while True:
            (path,) = random.choices(self._paths, self._weights)
            data = self._message(path).SerializeToString()
            if random.random() < 0.5:
                for _ in range(random.choice((1, 1, 1, 2, 5))):
                    data = random.choice(_MUTATIONS)(random, data, self._earlier)
            if len(data) < 1000:
                self._earlier[random.randrange(len(self._earlier))] = data
            yield Call(path, data, self._metadata(), 0.002 if random.random() < 0.01 else 10.0)

    def largest(self, events: int, purchases: int) -> Iterator[Call]:
        """Make calls with as many events and purchases as one may have; what they hold is right."""
        for number in count():
            bought = [
                pb.Purchase(
                    purchase_id=f"largest-{number}-{at}",
                    user_id=self._id("u"),
                    seller_id=self._id("s"),
                    item_id=self._id("i"),
                    card_hash=self._id("c"),
                    amount_minor=1999,
                    event_time_ms=self._now_ms,
                )
                for at in range(max(events, purchases))
            ]
            record = pb.RecordRequest(events=[pb.Event(purchase=one) for one in bought[:events]])
            score = pb.ScoreBatchRequest(
                requests=[pb.ScoreRequest(purchase=one, explain=True, with_features=True) for one in bought[:purchases]]
            )
            # Twice each: what is known already is told with all that is known of it.
            for path, message in (("EventIngest/Record", record), ("FraudScoring/ScoreBatch", score)) * 2:
                yield Call(f"/fraud.v1.{path}", message.SerializeToString(), self._authorized, 60.0)

    # --- messages that parse --------------------------------------------------------------------

    def _message(self, path: str) -> Message:
        random = self._random
        match path.rpartition("/")[2]:
            case "Record":
                return pb.RecordRequest(events=[self._event() for _ in range(random.choice((0, 1, 1, 2, 5)))])
            case "ScoreBatch":
                return pb.ScoreBatchRequest(requests=[self._score() for _ in range(random.choice((0, 1, 2, 8)))])
            case "GetLineup" | "Check":
                return pb.GetLineupRequest()
        return self._score()

    def _score(self) -> pb.ScoreRequest:
        random = self._random
        request = pb.ScoreRequest(
            purchase=self._purchase(),
            record=random.random() < 0.05,
            explain=random.random() < 0.05,
            with_features=random.random() < 0.05,
        )
        return self._spoilt(request) if random.random() < 0.3 else request

    def _purchase(self) -> pb.Purchase:
        random = self._random
        self._made += 1
        return pb.Purchase(
            purchase_id=f"p-{MARK}-{self._made if random.random() < 0.8 else random.randrange(1000)}",
            user_id=self._id("u"),
            seller_id=self._id("s"),
            item_id=self._id("i"),
            card_hash=self._id("c"),
            amount_minor=random.randrange(1, 100_000),
            quantity=random.randrange(4),
            event_time_ms=self._now_ms - random.randrange(10**9) if random.random() < 0.5 else 0,
        )

    def _event(self) -> pb.Event:
        random = self._random
        event = pb.Event(event_time_ms=self._now_ms - random.randrange(10**9))
        kind = random.choice([field.name for field in pb.Event.DESCRIPTOR.oneofs_by_name["kind"].fields])
        if kind == "purchase":
            event.event_time_ms = 0
            event.purchase.CopyFrom(self._purchase())
        else:
            content = getattr(event, kind)
            content.SetInParent()
            for field in content.DESCRIPTOR.fields:
                setattr(content, field.name, self._id(field.name[0]) if _is_text(field) else random.randrange(4))
        return self._spoilt(event) if random.random() < 0.3 else event

    def _id(self, letter: str) -> str:
        return f"{letter}-{MARK}-{self._random.randrange(200)}"

    def _spoilt(self, message: Any) -> Any:
        """Give one field of a message, however deep, a value that nobody expects."""
        random = self._random
        inside = [
            getattr(message, field.name)
            for field in message.DESCRIPTOR.fields
            if field.message_type is not None and not field.is_repeated and message.HasField(field.name)
        ]
        if inside and random.random() < 0.8:
            self._spoilt(random.choice(inside))
            return message
        field = random.choice(message.DESCRIPTOR.fields)
        if field.message_type is not None or field.is_repeated:
            message.ClearField(field.name)
        elif _is_text(field):
            setattr(message, field.name, random.choice(_TEXTS))
        else:
            for value in random.sample(_NUMBERS, len(_NUMBERS)):
                try:
                    setattr(message, field.name, value)
                except (ValueError, TypeError):
                    continue
                break
        return message

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        random = self._random
        metadata: tuple[tuple[str, str], ...] = self._authorized
        if random.random() < 0.02:
            metadata = (("authorization", random.choice(("", "Bearer", "Bearer x", "Basic eA==", f"Bearer {MARK}"))),)
        if random.random() < 0.05:
            traceparent = "".join(random.choices("0123456789abcdef-", k=random.randrange(70)))
            metadata = (
                *metadata,
                ("traceparent", traceparent),
                ("x-request-id", random.choice((MARK * 20, CARD, "r-1"))),
            )
        return metadata


# --- bytes that are wrong -----------------------------------------------------------------------


def _flip(random: Random, data: bytes, _earlier: list[bytes]) -> bytes:
    changed = bytearray(data or b"\x00")
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(random: Random, data: bytes, _earlier: list[bytes]) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _insert(random: Random, data: bytes, _earlier: list[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 2, 8, 100))) + data[at:]


def _remove(random: Random, data: bytes, _earlier: list[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.choice((1, 2, 8)) :]


def _repeat(random: Random, data: bytes, _earlier: list[bytes]) -> bytes:
    return (data * random.choice((2, 2, 10, 10, 10, 200)))[:1_000_000]


def _splice(random: Random, data: bytes, earlier: list[bytes]) -> bytes:
    other = random.choice(earlier)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _noise(random: Random, _data: bytes, _earlier: list[bytes]) -> bytes:
    return random.randbytes(random.choice((1, 10, 100, 1000)))


def _unknown(random: Random, data: bytes, _earlier: list[bytes]) -> bytes:
    """Append a field of any number and wire type; a length may be a lie."""
    tag = random.choice((1, 2, 3, 9, 15, 16, 1000, 2**29 - 1)) << 3 | random.randrange(8)
    return (
        data + _varint(tag) + random.choice((_varint(random.choice((0, 1, 5, 2**31, 2**64 - 1))), random.randbytes(8)))
    )


def _nest(random: Random, data: bytes, _earlier: list[bytes]) -> bytes:
    """Append groups within groups, deeper than any parser should follow."""
    depth = random.choice((50, 99, 101, 101, 1000, 10_000))
    return data + b"\xfb\x07" * depth + b"\xfc\x07" * depth


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _is_text(field: FieldDescriptor) -> bool:
    return field.cpp_type == FieldDescriptor.CPPTYPE_STRING


_MUTATIONS: Final[tuple[Callable[[Random, bytes, list[bytes]], bytes], ...]] = (
    *(_flip, _flip, _flip, _cut, _insert, _remove),
    *(_repeat, _splice, _noise, _unknown, _nest),
)
