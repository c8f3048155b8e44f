"""The command line: help with examples, exit codes by name, one clear sentence for what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.app import App
from service.client import FraudClient
from service.exit_codes import ExitCode
from service.pb import fraud_pb2 as pb
from service.settings import Settings
from tests.service.bad import purchase
from tests.tree.files import ROOT

COMMANDS = (
    "serve",
    "score",
    "record",
    "profile",
    "decision",
    "lineup",
    "rebuild",
    "settings",
    "check",
    "health",
    "backup",
)


def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m service` as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture
def target(app: App) -> str:
    """Name the running service."""
    return f"127.0.0.1:{app.server.port}"


@pytest.fixture
def store(app: App) -> dict[str, str]:
    """Name the running service's store to commands that look into it."""
    return {
        "FRAUD_STORE__LMDB__PATH": str(app.settings.store.lmdb.path),
        "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": "268435456",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_a_worked_example(command: str) -> None:
    """Whoever asks for help sees a call that works."""
    shown = run(command, "--help")
    assert shown.returncode == ExitCode.OK
    assert f"service {command}" in re.sub(r"\s+", " ", shown.stdout.split("Options")[1])


def test_the_commands_of_the_readme_exist() -> None:
    """What the README tells a newcomer to type is there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for module in ("service", "training"):
        shown = subprocess.run(
            [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        used = set(re.findall(rf"python -m {module} ([a-z]+)", text))
        assert used, "the README shows commands"
        assert {command for command in used if not re.search(rf"^│ {command}\s", shown, re.MULTILINE)} == set()


def test_every_setting_is_documented() -> None:
    """`settings` prints each with its meaning, and none lacks one."""
    shown = json.loads(run("settings", "--json").stdout)
    assert shown["server.threads"] == Settings().server.threads
    assert "ingest.currency" in shown
    assert "server.budget_ms" in run("settings").stdout


def test_a_bad_setting_is_one_sentence(tmp_path: Path) -> None:
    """A wrong value, a wrong name, a wrong file: one line that names it, and the exit code for settings."""
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[server]\nthreadz = 3\n", encoding="utf-8")
    for arguments, environment, named in (
        (("check",), {"FRAUD_SERVER__THREADS": "many"}, "server.threads"),
        (("check", "--config", str(wrong)), {}, "server.threadz"),
        (("check", "--config", str(tmp_path / "none.toml")), {}, "none.toml"),
        (("check",), {"FRAUD_STORE__LMDB__PATH": "/proc/nowhere"}, "/proc/nowhere"),
    ):
        failed = run(*arguments, **environment)
        assert failed.returncode == ExitCode.BAD_SETTING, failed
        assert failed.stderr.startswith("error: ")
        assert named in failed.stderr
        assert failed.stderr.count("\n") == 1


def test_no_service_is_told_from_a_bad_request(target: str) -> None:
    """Nobody listens: UNAVAILABLE; a field is wrong: BAD_INPUT that names it."""
    ask = ("score", "--purchase", "p-1", "--user", "u-1", "--amount")
    assert run(*ask, "5", "--target", "127.0.0.1:1").returncode == ExitCode.UNAVAILABLE
    refused = run(*ask, "-5", "--target", target)
    assert refused.returncode == ExitCode.BAD_INPUT
    assert "purchase.amount_minor" in refused.stderr


def test_events_are_recorded_from_a_file_of_lines(target: str, tmp_path: Path) -> None:
    """Good lines are applied, bad ones named by number, and the exit code says that there were some."""
    lines = tmp_path / "events.jsonl"
    lines.write_text(
        '{"userRegistered": {"userId": "u-1"}, "eventTimeMs": "1783987200000"}\n'
        "not json\n"
        '{"fraudConfirmed": {"purchaseId": "p-9"}, "eventTimeMs": "1783987200000"}\n'
        '{"userRegistered": {"userId": "u 1"}, "eventTimeMs": "1783987200000"}\n'
        '{"purchase": {"purchaseId": "p-1", "userId": "u-1", "amountMinor": NaN}}\n'
        '{"purchase": {"purchaseId": "p-1", "userId": 7}}\n',
        encoding="utf-8",
    )
    done = run("record", str(lines), "--target", target, "--json")
    assert done.returncode == ExitCode.BAD_INPUT
    shown = json.loads(done.stdout)
    assert shown["outcomes"] == {"APPLIED": 1, "PARKED": 1, "REJECTED": 4}
    assert [(problem["line"], problem["field"]) for problem in shown["problems"]] == [
        (2, "line"),
        (5, "amount_minor"),
        (6, "user_id"),
        (4, "user_registered.user_id"),
    ]


def test_an_analyst_sees_a_decision_and_a_profile(app: App, client: FraudClient, store: dict[str, str]) -> None:
    """`decision` shows verdict, row and profiles as read; `profile` what is known; neither shows the card."""
    client.record([pb.Event(purchase=purchase(purchase_id="p-0"))])
    answer = client.score(purchase(), record=True, explain=True)
    app.decision_log.stop(5)
    (shown,) = json.loads(run("decision", "p-1", "--json", **store).stdout)
    assert shown["score"] == answer.score
    assert shown["profiles"] == dict.fromkeys(("user", "seller", "item", "card"), "revision 1")
    assert [reason["text"] for reason in shown["reasons"]] == [reason.text for reason in answer.reasons]
    assert "c-1" not in json.dumps(shown)
    assert "user_tenure" in run("decision", "p-1", **store).stdout
    profile = json.loads(run("profile", "user", "u-1", "--json", **store).stdout)
    assert profile["totals"]["purchases"] == 2
    assert run("decision", "p-404", **store).returncode == ExitCode.NOT_FOUND
    assert run("profile", "user", "u-404", **store).returncode == ExitCode.NOT_FOUND
    assert run("profile", "shop", "u-1", **store).returncode == ExitCode.USAGE


def test_a_service_drains_on_sigterm(tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0, and what it decided is kept."""
    environment = {
        **os.environ,
        "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
        "FRAUD_STORE__LMDB__PATH": str(tmp_path / "store"),
        "FRAUD_REGISTRY__PATH": str(tmp_path / "registry"),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "service", "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(" ", 1)[1])
        with FraudClient(f"127.0.0.1:{port}") as client:
            assert client.record([pb.Event(user_registered={"user_id": "u-1"})])[0].status == pb.APPLIED
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == ExitCode.OK
    assert '"stopped"' in errors
