"""Logs: every line is JSON, and none holds what must not leave."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from service.errors import BadSetting
from service.logs import describe_exception, scrub
from tests.running import ROOT

CARD = "4111111111111111"
TOKEN = "fraud_" + "aB3-_" * 8 + "xyz"


def logged(code: str) -> list[dict[str, Any]]:
    """Return the lines that a process logs which runs some code; every one must be JSON."""
    script = f"from service.logs import configure\nconfigure('info')\n{code}"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_lines_of_libraries_are_json_too() -> None:
    """Whoever logs through Python's logging, or warns, gets a line like ours."""
    lines = logged(
        "import logging, warnings\n"
        "logging.getLogger('grpc').error('it %s', 'failed')\n"
        "logging.getLogger('grpc').info('chatter')\n"
        "warnings.warn('old', stacklevel=1)"
    )
    assert [(line["logger"], line["level"]) for line in lines] == [("grpc", "error"), ("py.warnings", "warning")]
    assert lines[0]["event"] == "it failed"
    assert all("timestamp" in line and "process" in line for line in lines)


@pytest.mark.parametrize(
    "end",
    [
        "raise KeyError('user-77')",
        "import threading\nthreading.Thread(target={}.__getitem__, args=['user-77']).start()",
    ],
    ids=["main thread", "other thread"],
)
def test_what_nobody_caught_is_one_line_without_its_values(end: str) -> None:
    """An exception that ends a thread is told by type and place; what it says may be somebody's id."""
    (line,) = logged(end)
    assert line["exception"][0]["type"] == "KeyError"
    assert "user-77" not in json.dumps(line)


def test_an_exception_is_told_with_those_behind_it() -> None:
    """Types and places of a chain; text only of ours and of the operating system's."""
    try:
        try:
            open("/nowhere/user-77")  # noqa: PTH123, SIM115  the exception is what it is for
        except OSError as error:
            raise BadSetting("setting x: is wrong") from error
    except BadSetting as error:
        ours, system = describe_exception(error)
    assert (ours["type"], ours["text"]) == ("service.errors.BadSetting", "setting x: is wrong")
    assert (system["type"], system["text"]) == ("FileNotFoundError", "No such file or directory")
    assert ours["at"][0].endswith(" test_an_exception_is_told_with_those_behind_it")


def test_a_chain_that_bites_its_tail_is_told_once() -> None:
    """Two exceptions that name each other as cause end."""
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    assert len(describe_exception(one)) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"card {CARD} refused", "card [card number] refused"),
        ("card 4111 1111-1111.1111", "card [card number]"),
        (f"Bearer {TOKEN}", "Bearer [token]"),
        ("4111111111111112", "4111111111111112"),
        ("1783987200000", "1783987200000"),
        ("read 12 of 345", "read 12 of 345"),
    ],
)
def test_cards_and_tokens_are_taken_out(text: str, expected: str) -> None:
    """Whatever passes for a card number or a token is replaced, wherever it stands."""
    assert scrub(text) == expected
    assert scrub({"a": [text, (text,)]}) == {"a": [expected, [expected]]}


def test_lines_are_scrubbed() -> None:
    """Ours and those of libraries, message and fields."""
    lines = logged(
        "import logging, structlog\n"
        f"structlog.get_logger().error('x', reason='card {CARD}')\n"
        f"logging.error('header Bearer {TOKEN}')"
    )
    assert lines[0]["reason"] == "card [card number]"
    assert lines[1]["event"] == "header Bearer [token]"
