"""Asking a running service for its health: what probes do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.app import App
from service.exit_codes import ExitCode
from service.health import UNAVAILABLE, problem
from service.server import SCORING
from tests.service.conftest import settings_in
from tests.tree.files import ROOT

NOBODY = "127.0.0.1:1"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module of ours as a probe would."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_a_service_with_a_model_has_no_problem(app: App) -> None:
    """The process serves, and so does scoring."""
    target = f"127.0.0.1:{app.server.port}"
    assert [problem(target), problem(target, SCORING)] == ["", ""]


def test_without_a_model_the_process_serves_and_scoring_does_not(tmp_path: Path) -> None:
    """Liveness and readiness are told apart: a service that waits for its first model is not restarted."""
    app = App(settings_in(tmp_path))
    app.start()
    try:
        target = f"127.0.0.1:{app.server.port}"
        assert [problem(target), problem(target, SCORING)] == ["", "it is NOT_SERVING"]
    finally:
        app.stop()


def test_a_name_that_nobody_has_is_a_problem(app: App) -> None:
    """A probe that is spelt wrong fails, with a reason."""
    assert problem(f"127.0.0.1:{app.server.port}", "fraud.v1.Scoring") != ""


def test_nobody_there_is_a_problem() -> None:
    """The reason names where it was looked."""
    assert "Connection refused" in problem(NOBODY)


@pytest.mark.parametrize("command", [("service", "health"), ("service.health",)], ids=" ".join)
def test_both_commands_say_it_by_exit_code(app: App, command: tuple[str, ...]) -> None:
    """The command for people and the cheap one for probes agree."""
    there = run(*command, "--target", f"127.0.0.1:{app.server.port}", "--service", SCORING)
    gone = run(*command, "--target", NOBODY)
    assert (there.returncode, gone.returncode) == (ExitCode.OK, ExitCode.UNAVAILABLE)
    assert f"{NOBODY}: " in gone.stderr


def test_the_probe_names_a_file_that_it_cannot_read(tmp_path: Path) -> None:
    """A certificate that was not mounted is one sentence, no traceback."""
    asked = run("service.health", FRAUD_CA=str(tmp_path / "ca.crt"))
    assert (asked.returncode, len(asked.stderr.splitlines())) == (ExitCode.UNAVAILABLE, 1)


def test_the_probe_knows_its_exit_code() -> None:
    """It does without the module that names them, whose import would double what it costs."""
    assert ExitCode(UNAVAILABLE) is ExitCode.UNAVAILABLE
