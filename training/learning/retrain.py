"""Retraining as a job: snapshot, train, publish, promote if better; for cron or a Kubernetes CronJob.

One at a time: a lock in the folder of runs, which the kernel lets go of when the job dies. A job that was killed at
any step leaves nothing half-done: the next one goes on with its run when it would do the same work, and begins
anew otherwise. The same data are never learned from twice with the same options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from math import isnan
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from service.errors import BadArtifact
from service.registry.artifact import read_manifest, version_path
from service.registry.checks import not_better
from service.registry.lineup_file import read_lineup
from service.registry.manifest import Manifest
from service.registry.promotion import promote
from service.settings import Settings
from service.store.opening import open_store
from training.data.events import Progress
from training.judge.drift import RECENT_DAYS, drift_of
from training.learning.mlflow_log import log_run
from training.learning.options import TrainOptions
from training.learning.origin import origin_of
from training.learning.runs import Run, RunLog, new_run, read_runs, resumed_run, sole_run
from training.learning.train import recipe_of, train_in
from training.snapshot.export import MAX_EVENTS_PER_S, ExportOptions, take_snapshot
from training.snapshot.read import Snapshot, open_snapshot

COMMAND: Final = "retrain"
"""The name of the work: of its runs, and of its lock."""

WHO: Final = "training retrain"
"""Who promotes, for the history."""


class RetrainOptions(BaseModel):
    """When to retrain, how, and what a new version must show to be promoted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: TrainOptions = TrainOptions()
    margin: float = Field(
        0.0, ge=-1.0, le=1.0, description="Average precision by which it must be better on the same test purchases."
    )
    only_if_drift: float | None = Field(
        None, ge=0.0, description="Retrain when a feature or the score has drifted by more (PSI)."
    )
    only_if_older_than_days: float | None = Field(
        None, ge=0.0, description="Retrain when the champion is older; with --only-if-drift, either is enough."
    )
    drift_days: float = Field(RECENT_DAYS, gt=0.0, description="Days of the newest decisions that drift is taken of.")
    max_events_per_s: int = Field(MAX_EVENTS_PER_S, ge=0, description="Pace of the snapshot; 0 = no bound.")


class Folders(NamedTuple):
    """Where everything is kept."""

    registry: Path
    snapshots: Path
    runs: Path


class Outcome(StrEnum):
    """What a retraining came to."""

    PROMOTED = "promoted"
    NOT_PROMOTED = "not promoted"
    NOTHING_TO_DO = "nothing to do"
    BUSY = "busy"


class Retrained(NamedTuple):
    """What a retraining came to and why; what it did not come to is None."""

    outcome: Outcome
    why: str
    snapshot: str | None = None
    run: str | None = None
    version: int | None = None


def retrain(
    settings: Settings, folders: Folders, options: RetrainOptions, now: datetime, progress: Progress
) -> Retrained:
    """Retrain once, if there is reason to. Raises what its steps raise; the run then says why it failed.

    `settings` are those of the service, which name the store, its habits and its currency.
    """
    with sole_run(folders.runs, COMMAND) as free:
        if not free:
            return Retrained(Outcome.BUSY, f"another retraining holds the lock in {folders.runs}")
        champion = _champion(folders.registry)
        if options.only_if_drift is None and not (due := _due(champion, None, folders, options, now)).is_due:
            return Retrained(Outcome.NOTHING_TO_DO, due.why)
        snapshot = _snapshot(settings, folders, options, now, progress)
        due = _due(champion, snapshot, folders, options, now)
        if not due.is_due:
            return Retrained(Outcome.NOTHING_TO_DO, due.why, snapshot.manifest.id)
        return _retrained(snapshot, folders, options, now, progress)._replace(snapshot=snapshot.manifest.id)


class _Due(NamedTuple):
    is_due: bool
    why: str


def _due(
    champion: Manifest | None, snapshot: Snapshot | None, folders: Folders, options: RetrainOptions, now: datetime
) -> _Due:
    """Tell whether there is reason to retrain; without a snapshot drift is not looked at."""
    oldest, most = options.only_if_older_than_days, options.only_if_drift
    if champion is None or (oldest is None and most is None):
        return _Due(is_due=True, why="nothing answers yet" if champion is None else "it was asked for")
    age_days = (now - champion.created_at) / timedelta(days=1)
    found = [f"version {champion.version} is {age_days:.1f} days old"]
    if oldest is not None and age_days > oldest:
        return _Due(is_due=True, why=found[0])
    if most is not None and snapshot is not None:
        try:
            drifted = drift_of(snapshot, champion, folders.registry, options.drift_days)
        except BadArtifact as error:
            return _Due(is_due=True, why=str(error))
        name, index = max(((name, one) for name, one in drifted.items() if not isnan(one)), key=itemgetter(1))
        found.append(f"{name} drifted most, by {index:.3f}")
        if index > most:
            return _Due(is_due=True, why=found[1])
    return _Due(is_due=False, why=" and ".join(found))


def _champion(registry: Path) -> Manifest | None:
    lineup = read_lineup(registry)
    return None if lineup is None else read_manifest(version_path(registry, lineup.champion))


def _snapshot(
    settings: Settings, folders: Folders, options: RetrainOptions, now: datetime, progress: Progress
) -> Snapshot:
    wanted = ExportOptions(settings.ingest.habits, settings.ingest.currency, options.max_events_per_s, COMMAND)
    with closing(open_store(settings)) as store:
        taken = take_snapshot(store, folders.snapshots, wanted, now, progress)
    return open_snapshot(folders.snapshots, taken.manifest.id)


def _retrained(
    snapshot: Snapshot, folders: Folders, options: RetrainOptions, now: datetime, progress: Progress
) -> Retrained:
    """Train and promote, in the run of a job that was killed over the same work when there is one."""
    recipe = recipe_of(origin_of(snapshot), options.train)
    same = [run for run in read_runs(folders.runs, folders.registry) if (run.command, run.recipe) == (COMMAND, recipe)]
    done = next((run for run in same if run.state == "finished"), None)
    if done is not None:
        why = f"run {done.id} learned the same from the same data: {done.outcome}"
        return Retrained(Outcome.NOTHING_TO_DO, why, run=done.id, version=done.version)
    killed = next((run for run in same if run.state == "killed" and _is_current(run, folders.registry)), None)
    with _run(folders.runs, killed, options, now) as log:
        summary = train_in(log, snapshot, folders.registry, options.train, progress)
        assert summary.version is not None, "a retraining publishes"
        outcome, why = _promoted(log, summary.version, folders.registry, options.margin)
        log.note(outcome=f"{outcome}: {why}")
    log_run(log.run, log.path)
    return Retrained(outcome, why, run=log.run.id, version=summary.version)


def _is_current(run: Run, registry: Path) -> bool:
    """Tell whether what a killed run published, if it came so far, was compared with what answers now."""
    lineup = read_lineup(registry)
    return run.version is None or lineup is None or lineup.champion in {run.version, run.parent}


@contextmanager
def _run(runs: Path, killed: Run | None, options: RetrainOptions, now: datetime) -> Iterator[RunLog]:
    begun = (
        new_run(runs, COMMAND, options.model_dump(mode="json"), now) if killed is None else resumed_run(runs, killed.id)
    )
    with begun as log:
        yield log


def _promoted(log: RunLog, version: int, registry: Path, margin: float) -> tuple[Outcome, str]:
    """Promote a version when it is better than what answers now, and say why or why not."""
    log.note(step="promoting")
    lineup = read_lineup(registry)
    if lineup is None:
        promote(registry, version, WHO, f"run {log.run.id}: the first version")
        return Outcome.PROMOTED, f"version {version} is the first"
    if lineup.champion == version:
        return Outcome.PROMOTED, f"version {version} answers already"
    if lineup.answer.kind != "champion":
        return Outcome.NOT_PROMOTED, f"a {lineup.answer.kind} answers now, and a promotion would end it"
    manifest = read_manifest(version_path(registry, version))
    refused = not_better(manifest, lineup.champion, margin)
    if refused or manifest.comparison is None:
        return Outcome.NOT_PROMOTED, refused
    better = (
        f"{manifest.comparison.metric.replace('_', ' ')} {manifest.comparison.candidate_value:.4f} against "
        f"{manifest.comparison.champion_value:.4f} of version {lineup.champion}"
    )
    promote(registry, version, WHO, f"run {log.run.id}: {better}", margin=margin)
    return Outcome.PROMOTED, better
