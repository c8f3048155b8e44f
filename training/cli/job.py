"""Commands that a scheduler runs: retrain."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from typing import Annotated

import typer

from training.cli import train_options as options_of
from training.cli.options import REGISTRY, SNAPSHOTS, Config, Json, Registry, Snapshots, checked_options
from training.cli.train_options import RUNS, Runs, train_values
from training.console import progress, show

app = typer.Typer()


class RetrainCode(IntEnum):
    """What the shell learns of a retraining, beside the codes of `service.exit_codes`."""

    PROMOTED = 0
    NOT_PROMOTED = 10
    NOTHING_TO_DO = 11
    BUSY = 12


@app.command(
    epilog="Exit codes: 0 a new version was promoted · 10 one was published, but is not better · 11 nothing to do · "
    "12 another retraining holds the lock · others as everywhere\n\n"
    "Examples:\n\n  python -m training retrain --config fraud.toml --margin 0.005\n\n"
    "  python -m training retrain --only-if-drift 0.25 --only-if-older-than 7 --json"
)
def retrain(
    config: Config = None,
    registry: Registry = REGISTRY,
    snapshots: Snapshots = SNAPSHOTS,
    runs: Runs = RUNS,
    margin: Annotated[
        float, typer.Option(help="Average precision by which it must be better on the same test purchases.")
    ] = 0.0,
    only_if_drift: Annotated[
        float | None, typer.Option(help="Only when a feature or the score has drifted by more (PSI).")
    ] = None,
    only_if_older_than: Annotated[
        float | None, typer.Option(help="Only when the champion is older, in days; with drift, either is enough.")
    ] = None,
    drift_days: Annotated[float, typer.Option(help="Days of the newest decisions that drift is taken of.")] = 7.0,
    max_events_per_s: Annotated[int, typer.Option(help="Pace of the snapshot; 0 = no bound.")] = 20_000,
    tune: options_of.Tune = 0,
    seed: options_of.Seed = 7,
    label_delay_days: options_of.LabelDelay = 7.0,
    validation_share: options_of.ValidationShare = 0.2,
    test_share: options_of.TestShare = 0.2,
    blank_share: options_of.BlankShare = 0.1,
    history_days: options_of.HistoryDays = 0.0,
    honest_share: options_of.HonestShare = 1.0,
    stop_after: options_of.StopAfter = 0,
    review_rate: options_of.ReviewRate = 0.02,
    decline_precision: options_of.DeclinePrecision = 0.8,
    cost_review_minor: options_of.CostReview = None,
    cost_decline_share: options_of.CostDecline = 0.1,
    parameter: options_of.Parameter = None,
    notes: options_of.Notes = "",
    as_json: Json = False,
) -> None:
    """Take a snapshot, train, publish, and promote what is better; for cron or a Kubernetes CronJob.

    One at a time, and safe to kill at any moment: the next one repairs or repeats.
    """
    from service.settings import load  # noqa: PLC0415
    from training.learning.options import TrainOptions  # noqa: PLC0415
    from training.learning.retrain import Folders, RetrainOptions  # noqa: PLC0415
    from training.learning.retrain import retrain as retrain_once  # noqa: PLC0415

    given = {
        "seed": seed,
        "label_delay_days": label_delay_days,
        "validation_share": validation_share,
        "test_share": test_share,
        "blank_share": blank_share,
        "history_days": history_days,
        "honest_share": honest_share,
        "tune": tune,
        "stop_after": stop_after,
        "review_rate": review_rate,
        "decline_precision": decline_precision,
        "cost_review_minor": cost_review_minor,
        "cost_decline_share": cost_decline_share,
        "notes": notes,
    }
    values = {
        "train": checked_options(TrainOptions, train_values(given, None, parameter)),
        "margin": margin,
        "only_if_drift": only_if_drift,
        "only_if_older_than_days": only_if_older_than,
        "drift_days": drift_days,
        "max_events_per_s": max_events_per_s,
    }
    options = checked_options(RetrainOptions, values)
    with progress(quiet=as_json) as tell:
        done = retrain_once(load(config), Folders(registry, snapshots, runs), options, datetime.now(UTC), tell)
    show(done._asdict(), as_json=as_json)
    raise typer.Exit(RetrainCode[done.outcome.name])
