"""Runs: every training, finished or not, kept with what it was given and what it gave.

A run is the folder `runs/<id>` with `run.json`, replaced whole at each step, and, when it searched for
parameters, the study of that search. The process that works on a run holds a lock in its folder, which the kernel
lets go of when the process dies, however it dies: a run that says it is started while nobody holds its lock
was killed. Nothing has to be cleaned up for that to be seen.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, JsonValue, ValidationError

from service.errors import BadArtifact, BadSetting, FraudError
from service.registry.artifact import read_manifest, version_path, versions
from service.registry.files import replace_file, sync_directory
from service.registry.manifest import Comparison, Count, Interval, Part, Source, ThresholdChoice

RUN_FILE: Final = "run.json"
STUDY_FILE: Final = "study.jsonl"
ROWS_FOLDER: Final = "rows"
"""Where a run keeps its matrix while it works: it is gone when the run ends."""

ABANDONED_S: Final = 3600.0
"""Age from which a folder that never became a run is removed."""

LOCK_WAIT_S: Final = 1.0
"""How long a resumed run waits for its lock: who lists runs holds each lock for some microseconds."""

_LOCK: Final = ".lock"
_UNBORN: Final = ".unborn-"
_POLL_S: Final = 0.01

State = Literal["started", "finished", "failed", "killed"]


class Run(Part):
    """One run, as `run.json` holds it; `killed` is never written, only found out."""

    format: Literal[1] = 1
    id: str
    command: str
    state: State = "started"
    step: str = ""
    """What it was doing last."""
    started_at: AwareDatetime
    seconds: Annotated[float, Field(ge=0.0)] = 0.0
    """How long it took, until `step` when it did not finish."""
    host: str = ""
    pid: Count = 0
    recipe: str = ""
    """Names what decides the model: options, data and code; equal recipes give equal models."""
    options: dict[str, JsonValue] = Field({})
    source: Source | None = None
    seed: int | None = None
    parameters: dict[str, bool | int | float | str] = Field({})
    """LightGBM's, after the search when there was one."""
    sampling: dict[str, float] = Field({})
    """Which of the training rows it learned from, as in the manifest."""
    trials: Count = 0
    """Tried by the search for parameters, those of earlier attempts at the same run included."""
    rows: dict[str, Count] = Field({})
    frauds: dict[str, Count] = Field({})
    metrics: dict[str, dict[str, Interval]] = Field({})
    recall: dict[str, float] = Field({})
    """On the part that judges, by fraud pattern where it is known."""
    thresholds: ThresholdChoice | None = None
    comparison: Comparison | None = None
    parent: int | None = None
    """The champion of its day."""
    version: int | None = None
    """What it published; None while it has not, and for experiments."""
    outcome: str = ""
    """What came of it, in a sentence."""

    @property
    def average_precision(self) -> float | None:
        """Return the average precision on the test part, else on validation, None while nobody knows."""
        measured = self.metrics.get("test", self.metrics.get("validation", {})).get("average_precision")
        return None if measured is None else measured.value


class RunLog:
    """The run that this process works on: each change is on disk, whole, when `note` returns."""

    def __init__(self, path: Path, run: Run) -> None:
        """Go on with a run whose lock the caller holds."""
        self.path = path
        self.run = run
        self._before_s = run.seconds
        self._begun_s = time.monotonic()

    def note(self, **changes: Any) -> None:  # noqa: ANN401  fields of Run; `model_validate` checks them
        """Change fields of the run and keep it."""
        seconds = self._before_s + time.monotonic() - self._begun_s
        self.run = Run.model_validate({**dict(self.run), **changes, "seconds": seconds})
        replace_file(self.path / RUN_FILE, self.run.model_dump_json(indent=2).encode() + b"\n")


@contextmanager
def new_run(runs: Path, command: str, options: Mapping[str, JsonValue], now: datetime) -> Iterator[RunLog]:
    """Begin a run, hold its lock, and keep how it ended: finished, or failed with the reason.

    Its folder appears with `run.json` in it and locked. Raises BadSetting when the folder cannot be written.
    """
    run = Run(
        id="",
        command=command,
        started_at=now.astimezone(UTC),
        host=socket.gethostname(),
        pid=os.getpid(),
        options=dict(options),
    )
    try:
        runs.mkdir(parents=True, exist_ok=True)
        _tidy(runs)
        unborn = runs / f"{_UNBORN}{os.getpid()}-{time.time_ns()}"
        unborn.mkdir()
        descriptor = os.open(unborn / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BadSetting(f"folder of runs {runs}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with _kept(_born(runs, unborn, run)) as log:
            yield log
    finally:
        os.close(descriptor)


@contextmanager
def resumed_run(runs: Path, id_: str) -> Iterator[RunLog]:
    """Go on with a run that was killed or failed; raises BadSetting when there is none, or when it still runs."""
    path = runs / id_
    run = _read(path)
    if run is None:
        raise BadSetting(f"run {id_} is not in {runs}: `training runs` lists those that are")
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not _lock(descriptor, LOCK_WAIT_S):
            raise BadSetting(f"run {id_} is still being worked on by process {run.pid} on {run.host}")
        if run.state == "finished":
            raise BadSetting(f"run {id_} is finished: there is nothing to resume")
        with _kept(RunLog(path, run)) as log:
            log.note(state="started", host=socket.gethostname(), pid=os.getpid(), outcome="")
            yield log
    finally:
        os.close(descriptor)


@contextmanager
def sole_run(runs: Path, name: str) -> Iterator[bool]:
    """Hold the lock of one kind of work and tell whether it was free; the kernel frees it when the holder dies."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(runs / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BadSetting(f"folder of runs {runs}: cannot be written: {error.strerror}") from error
    try:
        yield _lock(descriptor, 0.0)
    finally:
        os.close(descriptor)


def read_runs(runs: Path, registry: Path) -> list[Run]:
    """Return all runs, the newest first, with those whose process died as `killed`.

    A run that was killed right after its version was published is given that version: the manifest names it.
    """
    try:
        paths = sorted((entry for entry in runs.iterdir() if not entry.name.startswith(".")), reverse=True)
    except FileNotFoundError:
        return []
    found = [_as_found(path, run) for path in paths if (run := _read(path)) is not None]
    if any(run.state == "killed" and run.version is None for run in found):
        made = published(registry)
        return [run.model_copy(update={"version": run.version or made.get(run.id)}) for run in found]
    return found


def published(registry: Path) -> dict[str, int]:
    """Return the versions by the run that made them; one that cannot be read is nobody's."""
    made = {}
    for version in versions(registry):
        with suppress(BadArtifact):
            made[read_manifest(version_path(registry, version)).run] = version
    made.pop("", None)
    return made


def _born(runs: Path, unborn: Path, run: Run) -> RunLog:
    """Give a run its id and its name on disk, in one step: ids sort by time."""
    stamp = f"{run.started_at:%Y%m%d-%H%M%S}"
    number = 0
    while True:
        named = run.model_copy(update={"id": f"{stamp}-{number:02d}"})
        path = runs / named.id
        if not path.exists():
            replace_file(unborn / RUN_FILE, named.model_dump_json(indent=2).encode() + b"\n")
            # A rename onto another run's folder fails, because that one is not empty.
            with suppress(OSError):
                unborn.rename(path)
                sync_directory(runs)
                return RunLog(path, named)
        number += 1


@contextmanager
def _kept(log: RunLog) -> Iterator[RunLog]:
    """Keep how a run ends; only sentences of our own are kept, others may hold anything."""
    try:
        yield log
    except BaseException as error:
        reason = str(error) if isinstance(error, FraudError) else type(error).__name__
        with suppress(OSError):
            log.note(state="failed", outcome=reason)
        raise
    log.note(state="finished", step="")


def _read(path: Path) -> Run | None:
    """Return a run; None for what is none: a stray file, a run of a later release."""
    try:
        return Run.model_validate_json((path / RUN_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _as_found(path: Path, run: Run) -> Run:
    """Return a run as it is now: killed, when nobody holds its lock although it never ended."""
    if run.state != "started":
        return run
    try:
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return run.model_copy(update={"state": "killed"})
    except OSError:
        return run
    try:
        if not _lock(descriptor, 0.0, fcntl.LOCK_SH):
            return run
        # It may have ended since it was read.
        last = _read(path) or run
        return last.model_copy(update={"state": "killed"}) if last.state == "started" else last
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait_s: float, how: int = fcntl.LOCK_EX) -> bool:
    give_up = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                return False
            time.sleep(_POLL_S)
        else:
            return True


def _tidy(runs: Path) -> None:
    """Remove what processes that were killed left behind: folders that never became runs, and matrices."""
    long_ago = datetime.now(UTC) - timedelta(seconds=ABANDONED_S)
    for unborn in runs.glob(f"{_UNBORN}*"):
        with suppress(FileNotFoundError):
            if unborn.stat().st_mtime < long_ago.timestamp():
                shutil.rmtree(unborn, ignore_errors=True)
    for rows in runs.glob(f"[!.]*/{ROWS_FOLDER}"):
        with suppress(FileNotFoundError), (rows.parent / _LOCK).open("rb") as lock:
            if _lock(lock.fileno(), 0.0):
                shutil.rmtree(rows, ignore_errors=True)
