"""Every run is kept, whole, and what became of it is told even when its process could not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.errors import BadSetting
from training.learning.runs import ROWS_FOLDER, RUN_FILE, Run, new_run, read_runs, resumed_run, sole_run

NOW = datetime(2026, 8, 1, 3, tzinfo=UTC)

_HOLDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from training.learning.runs import new_run, sole_run
with sole_run(Path(sys.argv[1]), "retrain"), new_run(Path(sys.argv[1]), "train", {}, datetime.now(UTC)) as log:
    log.note(step="fitting")
    print(log.run.id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Name a folder of runs that is not there yet."""
    return tmp_path / "runs"


def _listed(runs: Path) -> list[Run]:
    return read_runs(runs, runs.parent / "registry")


def _holder(runs: Path) -> subprocess.Popen[str]:
    """Start a process that works on a run, and holds a lock, until its input ends."""
    command = [sys.executable, "-c", _HOLDER, str(runs)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_run_that_ends_well_is_finished(runs: Path) -> None:
    """It keeps what was noted, and how long it took."""
    with new_run(runs, "train", {"seed": 7}, NOW) as log:
        log.note(step="fitting", version=3)
    [run] = _listed(runs)
    assert (run.state, run.version, run.options, run.started_at) == ("finished", 3, {"seed": 7}, NOW)


def test_a_run_that_fails_keeps_the_reason(runs: Path) -> None:
    """A sentence of ours is kept; of anything else the kind alone, for its text may hold anything."""
    for error in (BadSetting("too little history"), ValueError("4111 1111 1111 1111")):
        with pytest.raises(type(error)), new_run(runs, "train", {}, NOW):
            raise error
    assert [(run.state, run.outcome) for run in _listed(runs)] == [
        ("failed", "ValueError"),
        ("failed", "too little history"),
    ]


def test_runs_of_one_second_have_different_ids(runs: Path) -> None:
    """Ids sort by time, and no two runs share one."""
    for _ in range(3):
        with new_run(runs, "train", {}, NOW):
            pass
    assert [run.id for run in _listed(runs)] == [f"20260801-030000-0{number}" for number in (2, 1, 0)]


def test_a_run_whose_process_was_killed_is_killed(runs: Path) -> None:
    """While the process lives its run is started; killed, it is killed, and its locks are free."""
    with _holder(runs) as process:
        assert process.stdout is not None
        id_ = process.stdout.readline().strip()
        assert [(run.id, run.state, run.step) for run in _listed(runs)] == [(id_, "started", "fitting")]
        with sole_run(runs, "retrain") as free:
            assert not free
        with pytest.raises(BadSetting, match=f"still being worked on by process {process.pid}"), resumed_run(runs, id_):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert [run.state for run in _listed(runs)] == ["killed"]
    with sole_run(runs, "retrain") as free:
        assert free


def test_a_killed_run_goes_on_under_its_id(runs: Path) -> None:
    """A resumed run keeps what it had noted, and ends as others do; meanwhile its matrix takes no room."""
    with _holder(runs) as process:
        assert process.stdout is not None
        id_ = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (runs / id_ / ROWS_FOLDER).mkdir()
    with new_run(runs, "train", {}, NOW):
        assert not (runs / id_ / ROWS_FOLDER).exists()
    with resumed_run(runs, id_) as log:
        assert log.run.step == "fitting"
        assert _states(runs)[id_] == "started"
    assert _states(runs)[id_] == "finished"


def _states(runs: Path) -> dict[str, str]:
    return {run.id: run.state for run in _listed(runs)}


@pytest.mark.parametrize(("id_", "sentence"), [("20260801-030000-00", "is finished"), ("nowhere", "is not in")])
def test_what_cannot_be_resumed_is_one_sentence(runs: Path, id_: str, sentence: str) -> None:
    """A run that ended well, or that nobody knows, is refused in words."""
    with new_run(runs, "train", {}, NOW):
        pass
    with pytest.raises(BadSetting, match=sentence), resumed_run(runs, id_):
        pass


def test_what_is_no_run_is_not_listed(runs: Path) -> None:
    """A stray file, a run of a later release and a folder that never became a run are passed over."""
    with new_run(runs, "train", {}, NOW) as log:
        whole = (log.path / RUN_FILE).read_text()
    (runs / "notes.txt").write_text("hello")
    (runs / ".unborn-1-1").mkdir()
    for name, text in (("later", whole.replace('"format": 1', '"format": 2')), ("torn", whole[:80])):
        (runs / name).mkdir()
        (runs / name / RUN_FILE).write_text(text)
    assert len(_listed(runs)) == 1
