"""Commands that learn: train."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from training.cli.options import REGISTRY, Events, Habits, Json, Registry, checked_options, named_parameters
from training.console import progress
from training.summaries import show_training

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n  python -m training train events.parquet\n\n"
    "  python -m training train events.parquet --label-delay-days 14 --test-share 0 --parameter num_leaves=31"
)
def train(
    events: Events,
    registry: Registry = REGISTRY,
    seed: Annotated[int, typer.Option(help="The same events and seed give the same model.")] = 7,
    habits: Habits = "attempts",
    cutoff: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Use nothing that became known later (UTC)."),
    ] = None,
    label_delay_days: Annotated[float, typer.Option(help="Purchases younger than that are left out.")] = 7.0,
    validation_share: Annotated[float, typer.Option(help="Share of the time that sets thresholds.")] = 0.2,
    test_share: Annotated[float, typer.Option(help="Share of the time that is judged once; 0 = none.")] = 0.2,
    blank_share: Annotated[float, typer.Option(help="Share of rows also learned without profiles.")] = 0.1,
    review_rate: Annotated[float, typer.Option(help="Share of the purchases to review or decline.")] = 0.02,
    decline_precision: Annotated[float, typer.Option(help="Share of the declined that must be fraud.")] = 0.8,
    parameter: Annotated[list[str] | None, typer.Option(help="LightGBM's name=value; may be repeated.")] = None,
    notes: Annotated[str, typer.Option(help="For people; kept in the manifest.")] = "",
    as_json: Json = False,
) -> None:
    """Train a model and publish it as a new version; nothing goes live by it."""
    from training.train import TrainOptions  # noqa: PLC0415
    from training.train import train as train_model  # noqa: PLC0415

    values = {
        "seed": seed,
        "habits": habits,
        "cutoff_ms": 0 if cutoff is None else int(cutoff.replace(tzinfo=UTC).timestamp() * 1000),
        "label_delay_days": label_delay_days,
        "validation_share": validation_share,
        "test_share": test_share,
        "blank_share": blank_share,
        "review_rate": review_rate,
        "decline_precision": decline_precision,
        "parameters": named_parameters(parameter or ()),
        "notes": notes,
    }
    options = checked_options(TrainOptions, values)
    with progress(quiet=as_json) as tell:
        summary = train_model(events, registry, options, datetime.now(UTC), tell)
    show_training(summary, as_json=as_json)
