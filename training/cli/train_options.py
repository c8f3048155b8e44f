"""The options of a training, for every command that trains: `train` and `retrain`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from training.cli.options import DATES, milliseconds, named_parameters

Runs = Annotated[Path, typer.Option("--runs", envvar="FRAUD_RUNS", help="Folder that keeps every run.")]
Seed = Annotated[int, typer.Option(help="The same data, options and seed give the same model.")]
LabelDelay = Annotated[float, typer.Option(help="Purchases younger than that are left out.")]
ValidationShare = Annotated[float, typer.Option(help="Share of the time that sets thresholds and that tuning sees.")]
TestShare = Annotated[float, typer.Option(help="Share of the time that is judged once; 0 = none.")]
BlankShare = Annotated[float, typer.Option(help="Share of rows also learned without profiles.")]
HistoryDays = Annotated[float, typer.Option(help="Learn from the last days of the training part alone; 0 = all.")]
HonestShare = Annotated[float, typer.Option(help="Share of the honest training purchases to learn from.")]
Tune = Annotated[int, typer.Option(help="Parameter sets to try on validation; 0 = ours as they are.")]
StopAfter = Annotated[int, typer.Option(help="Stop after so many trees without gain on validation; 0 = grow all.")]
ReviewRate = Annotated[float, typer.Option(help="Share of the purchases to review or decline.")]
DeclinePrecision = Annotated[float, typer.Option(help="Share of the declined that must be fraud.")]
CostReview = Annotated[
    int | None,
    typer.Option(
        "--cost-review-minor",
        help="Cost of a review in minor units: thresholds then have the lowest cost, whatever share that reviews.",
    ),
]
CostDecline = Annotated[
    float, typer.Option("--cost-decline-share", help="Cost of a wrong decline, as a share of its amount.")
]
Parameter = Annotated[list[str] | None, typer.Option(help="LightGBM's name=value; may be repeated.")]
Notes = Annotated[str, typer.Option(help="For people; kept in the manifest.")]
Cutoff = Annotated[
    datetime | None,
    typer.Option(formats=DATES, help="Use nothing that became known later (UTC)."),
]

RUNS: Final = Path("var/runs")


def train_values(given: dict[str, Any], cutoff: datetime | None, parameter: Iterable[str] | None) -> dict[str, Any]:
    """Return the values of `TrainOptions` that a command line gives."""
    return {**given, "cutoff_ms": milliseconds(cutoff) or 0, "parameters": named_parameters(parameter or ())}
