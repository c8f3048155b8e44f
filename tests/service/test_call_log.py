"""The lines for calls: what they tell, and how many there may be."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from service.call_log import CallLog
from service.edge_settings import LogSettings
from service.headers import Metadata, header, request_id
from service.metrics import Metrics

SCORE = "/fraud.v1.FraudScoring/Score"


def noted(*codes: str, metrics: Metrics | None = None, **fields: Any) -> list[dict[str, Any]]:
    """Return the lines for calls with these codes."""
    log = CallLog(LogSettings(max_calls_per_s=2), metrics or Metrics())
    with capture_logs() as lines:
        for code in codes:
            log.note(SCORE, code, 0.0123456, fields.pop("metadata", ()), **fields)
    return [dict(line) for line in lines]


def test_a_refused_call_is_one_line() -> None:
    """With method, code, duration, what the caller was told, who it is, and its request id."""
    (line,) = noted(
        "INVALID_ARGUMENT", metadata=[("x-request-id", "r-1")], caller="checkout", reason="purchase_id must be set"
    )
    assert line == {
        "event": "call refused",
        "log_level": "warning",
        "method": SCORE,
        "code": "INVALID_ARGUMENT",
        "milliseconds": 12.346,
        "request_id": "r-1",
        "caller": "checkout",
        "reason": "purchase_id must be set",
    }


def test_a_slow_call_is_no_failure() -> None:
    """An answered call that took long is told as that."""
    (line,) = noted("OK")
    assert (line["event"], line["log_level"]) == ("call slow", "info")


def test_a_failure_of_ours_is_an_error() -> None:
    """With the exception behind it."""
    (line,) = noted("INTERNAL", error=ValueError("user-77"))
    assert (line["event"], line["log_level"]) == ("call failed", "error")


def test_a_flood_of_one_kind_is_bounded_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines a second for each code, and a count of the rest."""
    monkeypatch.setattr("service.call_log.time.monotonic", lambda: 5.0)
    metrics = Metrics()
    lines = noted(*["UNAUTHENTICATED"] * 10, "INTERNAL", metrics=metrics)
    assert [line["code"] for line in lines] == ["UNAUTHENTICATED", "UNAUTHENTICATED", "INTERNAL"]
    assert metrics.registry.get_sample_value("fraud_calls_not_logged_total") == 8


def test_slow_calls_need_not_be_logged() -> None:
    """0 is never."""
    assert CallLog(LogSettings(slow_ms=0), Metrics()).slow_s == float("inf")
    assert CallLog(LogSettings(slow_ms=250), Metrics()).slow_s == 0.25


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, "4111111111111111", 'r-1"}\n{"event":"forged', "id-é"])
def test_a_request_id_that_cannot_stand_in_a_log_is_replaced(sent: str) -> None:
    """No forged lines, no card numbers, nothing long: such a call gets an id of ours."""
    made = request_id([("x-request-id", sent)])
    assert made != sent
    assert len(made) == 16


def test_a_request_id_of_the_caller_is_kept() -> None:
    """So that its logs and ours can be joined."""
    assert request_id([("user-agent", "x"), ("x-request-id", "a3f9-77.B")]) == "a3f9-77.B"


def test_a_header_is_its_first_value() -> None:
    """Bytes are of keys that end in -bin, and are no text."""
    metadata: Metadata = [("a", "1"), ("a", "2"), ("b-bin", b"3")]
    assert [header(metadata, name) for name in ("a", "b-bin", "c")] == ["1", "", ""]
