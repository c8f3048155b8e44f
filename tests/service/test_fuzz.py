"""A short fuzz: what a million messages must not do, a few thousand must not either."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError

from service.app import App
from service.errors import InvalidInput
from service.pb import fraud_pb2 as pb
from service.settings import IngestSettings
from service.wire import Reader
from tests.fuzz.messages import CARD, MARK, Fuzzer
from tests.fuzz_soak import slope, soak
from tests.make import NOW_MS


def test_nothing_breaks_and_nothing_is_told(tmp_path: Path) -> None:
    """No INTERNAL, no restart, no changed answer, no error in the log, and no id in the log or in an error."""
    _, result = soak(tmp_path, messages=2500, connections=200, warm_up=500, seed=7, rest_s=0.0)
    assert result | {"log_lines": 0} == {
        "answers_the_same": True,
        "exit_code": 0,
        "forbidden": 0,
        "told": 0,
        "logged_ids": 0,
        "logged_errors": {},
        "log_lines": 0,
    }


def read(reader: Reader, message: pb.Event) -> str:
    """Read an event; returns what the caller is told, "" when nothing is wrong."""
    try:
        reader.event(message, NOW_MS)
    except InvalidInput as error:
        return str(error)
    return ""


def test_the_reader_gives_an_event_or_says_what_is_wrong() -> None:
    """Whatever parses becomes an event or InvalidInput, whose text repeats no id."""
    reader, told = Reader(IngestSettings()), []
    for call in islice(Fuzzer(3, "token", NOW_MS).calls(), 20_000):
        try:
            request = pb.RecordRequest.FromString(call.message)
        except DecodeError:
            continue
        told += [read(reader, message) for message in request.events]
    assert len(told) > 3000
    assert [text for text in told if MARK in text or CARD in text] == []


@pytest.mark.parametrize(("depth", "code"), [(50, "OK"), (101, "INVALID_ARGUMENT"), (200_000, "INVALID_ARGUMENT")])
def test_nesting_is_bounded(app: App, depth: int, code: str) -> None:
    """Groups within groups, deeper than protobuf's hundred, are no message; fewer are passed over as unknown."""
    request = pb.ScoreRequest(purchase=pb.Purchase(purchase_id="p-1", user_id="u-1")).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{app.server.port}") as channel:
        score: Any = channel.unary_unary("/fraud.v1.FraudScoring/Score")
        call = score.future(request + b"\xfb\x07" * depth + b"\xfc\x07" * depth, timeout=20)
        assert call.code().name == code


def test_a_slope_is_that_of_the_line() -> None:
    """Least squares: exact on a line, nothing for what goes nowhere."""
    assert slope([1.0, 3.0, 5.0, 7.0]) == 2.0
    assert slope([4.0, 4.0, 4.0]) == 0.0
    assert slope([1.0]) == 0.0
