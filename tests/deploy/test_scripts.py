"""The scripts that the trainer's image runs: again and again, every night."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.running import wait_until
from tests.tree.files import ROOT

EVERY = str(ROOT / "scripts" / "every.sh")
NIGHTLY = str(ROOT / "scripts" / "nightly.sh")

OBEDIENT_PYTHON = """#!/bin/sh
echo "$2 $3" >> "$CALLS"
case "$2 $3" in
"training retrain") exit "$RETRAIN" ;;
"training compare") exit "$COMPARE" ;;
esac
"""
"""Stands in for Python: notes what it is asked, and ends as it is told."""


def nightly(folder: Path, retrain: int, compare: int) -> tuple[int, list[str]]:
    """Run the nightly script, with commands that end with these codes; returns its own and what it asked."""
    python, calls = folder / "python", folder / "calls"
    python.write_text(OBEDIENT_PYTHON)
    python.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "RETRAIN": str(retrain),
        "COMPARE": str(compare),
    }
    done = subprocess.run([NIGHTLY, "--margin", "0.01"], env=environment, capture_output=True, check=False)
    return done.returncode, calls.read_text().splitlines()


ALL = ["training retrain", "training compare", "service retention"]


@pytest.mark.parametrize("retrain", [0, 10, 11, 12])
def test_a_night_without_a_better_model_is_a_good_night(tmp_path: Path, retrain: int) -> None:
    """What is live is judged all the same, and whoever watches the job is not woken."""
    assert nightly(tmp_path, retrain, compare=0) == (0, ALL)


def test_trouble_of_retraining_is_trouble_of_the_night(tmp_path: Path) -> None:
    """Its exit code is the job's, so that a scheduler sees it."""
    assert nightly(tmp_path, retrain=5, compare=0) == (5, ["training retrain"])


def test_nothing_to_judge_by_is_no_trouble(tmp_path: Path) -> None:
    """In the first days no truth has come yet; `FraudNotJudged` watches over later ones."""
    assert nightly(tmp_path, retrain=0, compare=4) == (0, ALL)


def test_a_command_is_run_again_and_again_whatever_it_ends_with(tmp_path: Path) -> None:
    """One bad day does not end the schedule; SIGTERM does, at once and with 0."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([EVERY, "0.05", "sh", "-c", "exit 3"], stdout=output)
    try:
        wait_until(lambda: log.read_text().count("every: exit code 3") > 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_a_command_that_runs_is_told_to_end(tmp_path: Path) -> None:
    """SIGTERM is handed on, so that a job can finish in order, and waited for."""
    told = tmp_path / "told"
    job = f"trap 'touch {told}; exit 0' TERM; touch {tmp_path}/runs; while :; do sleep 0.05; done"
    process = subprocess.Popen([EVERY, "3600", "sh", "-c", job])
    try:
        wait_until((tmp_path / "runs").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert told.exists()
    finally:
        process.kill()
        process.wait()
