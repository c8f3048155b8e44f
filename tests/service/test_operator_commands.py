"""`service lists`, `forget`, `receipts` and `retention`, as operators call them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.exit_codes import ExitCode
from service.store.protocol import Submission
from tests.make import make_purchase
from tests.store.decisions import make_decision
from tests.store.places import TEST_SIZE_BYTES, Place
from tests.tree.files import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Name an empty store."""
    return Place("lmdb", str(tmp_path / "store"))


@pytest.fixture
def run(place: Place, tmp_path: Path) -> Run:
    """Give a way to call the command line on that store."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        store = {
            "FRAUD_STORE__LMDB__PATH": place.where,
            "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": str(TEST_SIZE_BYTES),
            "COLUMNS": "200",
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **store, **environment},
        )

    return call


def document(call: subprocess.CompletedProcess[str]) -> Any:
    """Return what a call printed as JSON."""
    assert call.returncode == ExitCode.OK, call.stderr
    return json.loads(call.stdout)


@pytest.mark.parametrize(
    "command",
    [
        ("lists",),
        *(("lists", name) for name in ("add", "remove", "show", "audit", "import")),
        ("forget",),
        ("receipts",),
    ],
    ids=" ".join,
)
def test_help_ends_in_a_worked_example(run: Run, command: tuple[str, ...]) -> None:
    """Whoever asks for help sees a call that works."""
    shown = run(*command, "--help")
    assert shown.returncode == ExitCode.OK
    assert re.search(rf"Examples?: *(python -m service {command[0]})", re.sub(r"\s+", " ", shown.stdout))


def test_an_entry_is_added_shown_removed_and_stays_in_the_audit(run: Run) -> None:
    """The way of one entry, with who did what and why."""
    added = run(
        "lists",
        "add",
        "--block",
        "--card",
        "c7f4",
        "--for",
        "30d",
        "--why",
        "reported stolen",
        "--who",
        "ada",
        "--json",
    )
    [listing] = document(added)
    days = datetime.fromtimestamp(listing["expires_ms"] / 1000, UTC) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < days < timedelta(days=30, hours=1)
    assert document(run("lists", "show", "--json")) == [listing]
    assert document(run("lists", "show", "--card", "c7f4", "--json")) == [listing]
    assert run("lists", "show", "--user", "c7f4").returncode == ExitCode.NOT_FOUND
    assert document(run("lists", "remove", "--card", "c7f4", "--why", "a mistake", "--who", "bob", "--json")) == [
        listing
    ]
    assert run("lists", "remove", "--card", "c7f4", "--why", "a mistake").returncode == ExitCode.NOT_FOUND
    lines = [json.loads(line) for line in run("lists", "audit", "--json").stdout.splitlines()]
    assert [(line["number"], line["act"], line["who"], line["why"]) for line in lines] == [
        (1, "added", "ada", "reported stolen"),
        (2, "removed", "bob", "a mistake"),
    ]
    assert len(run("lists", "audit", "--after", "1", "--json").stdout.splitlines()) == 1
    assert "reported stolen" in run("lists", "audit").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (("--card", "x"), "name one of --block, --allow and --review", ExitCode.USAGE),
        (("--block",), "name one of --user, --seller, --item and --card", ExitCode.USAGE),
        (("--block", "--card", "x", "--for", "1d", "--until", "2099-01-01"), "--for and --until", ExitCode.USAGE),
        (("--block", "--card", "4111111111111111"), "list a card by its hash", ExitCode.BAD_INPUT),
        (("--block", "--card", "x", "--for", "1 day"), "expires is neither a duration", ExitCode.BAD_INPUT),
        (("--block", "--card", "x", "--until", "2020-01-01"), "expires must lie in the future", ExitCode.BAD_INPUT),
    ],
)
def test_a_bad_entry_is_refused_in_a_sentence(run: Run, arguments: tuple[str, ...], sentence: str, code: int) -> None:
    """What is wrong is said, with the exit code for who must act."""
    refused = run("lists", "add", "--why", "test", *arguments)
    assert refused.returncode == code
    assert sentence in re.sub(r"[│\s]+", " ", refused.stderr)
    assert "4111" not in refused.stderr + refused.stdout


def test_a_file_is_imported_wholly_or_not_at_all(run: Run, tmp_path: Path) -> None:
    """Wrong lines are named by number, without what they hold, and then nothing is added; a right file is."""
    file = tmp_path / "listed.csv"
    file.write_text(
        "kind,id,effect,expires,why\ncard,c-1,block,30d,stolen\ncard,4111111111111111,block,,x\n"
        "shop,s-1,allow,,x\nuser,u-1,review,soon,x\ncard,c-1,block,,again\nuser,u-2,review\n"
    )
    refused = run("lists", "import", str(file))
    assert refused.returncode == ExitCode.BAD_INPUT
    assert all(f"line {number}:" in refused.stderr for number in (3, 4, 5, 6, 7))
    assert "4111" not in refused.stderr
    assert document(run("lists", "show", "--json")) == []
    file.write_text(
        "\ufeffeffect,kind,id,expires,why\nblock,card,c-1,30d,stolen\nALLOW,Seller,s-1,,größer als geprüft\n"
    )
    assert document(run("lists", "import", str(file), "--json")) == {"added": 2}
    shown = document(run("lists", "show", "--json"))
    assert [(one["kind"], one["id"], one["effect"], one["why"]) for one in shown] == [
        ("seller", "s-1", "allow", "größer als geprüft"),
        ("card", "c-1", "block", "stolen"),
    ]
    assert run("lists", "import", str(tmp_path / "none.csv")).returncode == ExitCode.BAD_INPUT


def test_a_person_is_forgotten_with_a_receipt(run: Run, place: Place) -> None:
    """The receipt is printed and kept, is found by the id, and names nobody; then nothing is known of the person."""
    store = place.open()
    store.apply([Submission(make_purchase())])
    store.put_decisions([make_decision()])
    store.close()
    forgotten = run("forget", "--user", "u-1", "--why", "asked for it", "--who", "ada", "--json")
    receipt = document(forgotten)
    assert (receipt["profiles"], receipt["events"], receipt["decisions"], receipt["who"]) == (2, 1, 1, "ada")
    assert "u-1" not in forgotten.stdout
    assert "no folder of snapshots" in forgotten.stderr
    assert run("profile", "user", "u-1").returncode == ExitCode.NOT_FOUND
    assert run("decision", "p-1").returncode == ExitCode.NOT_FOUND
    assert document(run("receipts", "--user", "u-1", "--json")) == receipt
    assert run("receipts", "--user", "u-2", "--json").stdout == ""
    assert receipt["id"] in run("receipts").stdout


def test_a_reason_must_not_name_the_person(run: Run) -> None:
    """A receipt is kept for ever: a reason with the id in it is refused."""
    refused = run("forget", "--user", "u-1", "--why", "u-1 asked for it")
    assert refused.returncode == ExitCode.BAD_INPUT
    assert "must not name the person" in refused.stderr


def test_retention_says_what_it_needs(run: Run) -> None:
    """Without an end nothing goes; with one, the folder of verified snapshots must be named."""
    assert document(run("retention", "--json")) == {"events": 0, "decisions": 0, "changes": 0, "snapshot": ""}
    refused = run("retention", FRAUD_RETENTION__EVENTS_DAYS="400")
    assert refused.returncode == ExitCode.BAD_SETTING
    assert "retention.verified_snapshots" in refused.stderr
