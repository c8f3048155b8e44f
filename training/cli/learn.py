"""Commands that learn, and that use what was learned: train, runs, score."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli import train_options as options_of
from training.cli.options import REGISTRY, SNAPSHOTS, Dask, Habits, Json, Registry, Snapshots, checked_options
from training.cli.train_options import RUNS, Runs, train_values
from training.console import OUT, progress, show, table
from training.summaries import run_line, show_training

if TYPE_CHECKING:  # commands start faster without what they do not use
    from training.replay.cluster import Cluster
    from training.snapshot.read import Snapshot

app = typer.Typer()

EventFile = Annotated[
    Path | None, typer.Argument(metavar="[EVENTS]", help="Event file of `simulate` or `import`, or give --snapshot.")
]
SnapshotId = Annotated[
    str, typer.Option("--snapshot", metavar="ID", help="Snapshot to use instead of a file; latest = the newest.")
]


@app.command(
    epilog="Examples:\n\n  python -m training train --snapshot latest --tune 30\n\n"
    "  python -m training train events.parquet --no-publish --parameter num_leaves=31\n\n"
    "  python -m training train --snapshot s000012 --resume 20260801-030000-00\n\n"
    "  python -m training train events.parquet --label-delay-days 14 --cost-review-minor 300"
)
def train(
    events: EventFile = None,
    snapshot: SnapshotId = "",
    snapshots: Snapshots = SNAPSHOTS,
    registry: Registry = REGISTRY,
    runs: Runs = RUNS,
    resume: Annotated[
        str, typer.Option(metavar="RUN", help="Go on with a run that was killed or failed, with its own options.")
    ] = "",
    publish: Annotated[bool, typer.Option(help="Publish the version; --no-publish keeps the run alone.")] = True,
    dask: Dask = "",
    tune: options_of.Tune = 0,
    seed: options_of.Seed = 7,
    habits: Habits = "attempts",
    cutoff: options_of.Cutoff = None,
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
    """Train a model and publish it as a new version; nothing goes live by it.

    Killed at any step, it leaves a run that `runs` shows as killed and --resume goes on with.
    """
    from training.learning.options import TrainOptions  # noqa: PLC0415
    from training.learning.train import train as train_model  # noqa: PLC0415

    given = {
        "seed": seed,
        "habits": habits,
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
        "publish": publish,
        "notes": notes,
    }
    options = checked_options(TrainOptions, train_values(given, cutoff, parameter))
    source = _source(events, snapshot, snapshots)
    with progress(quiet=as_json) as tell, _cluster(dask) as cluster:
        now = datetime.now(UTC)
        summary = train_model(source, registry, options, now, tell, runs=runs, resume=resume, cluster=cluster)
    show_training(summary, as_json=as_json)


@app.command(epilog="Example: python -m training runs --json")
def runs(
    folder: Runs = RUNS,
    registry: Registry = REGISTRY,
    limit: Annotated[int, typer.Option(min=1, help="Runs to list, the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """List the runs, the newest first: what they were given and what came of them; `killed` when their process died."""
    from training.learning.runs import read_runs  # noqa: PLC0415

    listed = read_runs(folder, registry)[:limit]
    if as_json:
        typer.echo(json.dumps([run.model_dump(mode="json") for run in listed]))
    elif listed:
        OUT.print(table([run_line(run) for run in listed]))
    else:
        OUT.print(f"{folder} holds no runs: begin one with `python -m training train`")


@app.command(
    epilog="Examples:\n\n  python -m training score --snapshot latest scores.parquet\n\n"
    "  python -m training score --events events.parquet --version 7 scores.parquet --json"
)
def score(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File of scores to write (Parquet), for its owner alone.")],
    events: Annotated[Path | None, typer.Option(help="Event file to score, instead of a snapshot.")] = None,
    snapshot: SnapshotId = "",
    snapshots: Snapshots = SNAPSHOTS,
    registry: Registry = REGISTRY,
    version: Annotated[
        int | None, typer.Option(min=1, help="Version that scores.", show_default="the champion")
    ] = None,
    dask: Dask = "",
    as_json: Json = False,
) -> None:
    """Score every purchase of a snapshot as the service would have, to the last bit."""
    from service.errors import BadSetting  # noqa: PLC0415
    from service.registry.artifact import read_manifest, version_path  # noqa: PLC0415
    from service.registry.lineup_file import read_lineup  # noqa: PLC0415
    from service.registry.servable import Servable  # noqa: PLC0415
    from training.learning.bulk import score_source  # noqa: PLC0415

    source = _source(events, snapshot, snapshots)
    if version is None:
        lineup = read_lineup(registry)
        if lineup is None:
            raise BadSetting(f"registry {registry}: nothing was promoted yet; name a --version")
        version = lineup.champion
    path = version_path(registry, version)
    servable = Servable.load(path, read_manifest(path).habits)
    os.umask(0o077)
    with progress(quiet=as_json) as tell, _cluster(dask) as cluster:
        scored = score_source(source, servable, out, tell, cluster)
    show({"path": str(out), "version": version, **scored._asdict()}, as_json=as_json)


@contextmanager
def _cluster(address: str) -> Iterator[Cluster | None]:
    from training.replay.cluster import cluster_at  # noqa: PLC0415

    with cluster_at(address) if address else nullcontext() as cluster:
        yield cluster


def _source(events: Path | None, snapshot: str, snapshots: Path) -> Path | Snapshot:
    from training.snapshot.read import open_snapshot  # noqa: PLC0415

    if (events is None) == (not snapshot):
        raise typer.BadParameter("name an event file or a snapshot, and not both", param_hint="--snapshot")
    return open_snapshot(snapshots, snapshot) if events is None else events
