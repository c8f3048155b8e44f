"""Commands that run published protocols on data that you have: benchmark handbook."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.exit_codes import ExitCode
from training.cli.options import Json
from training.console import OUT, fail, progress, table
from training.summaries import week_values

if TYPE_CHECKING:
    from training.data.events import Progress as Tell

app = typer.Typer()
benchmark = typer.Typer(no_args_is_help=True, help="Run a published protocol on data that you have.")
app.add_typer(benchmark, name="benchmark")


@benchmark.command(
    epilog="Examples:\n\n  python -m training benchmark handbook --data transactions.parquet --weeks 1\n\n"
    "  python -m training benchmark handbook --data transactions.parquet --train-days 56 --out scores.parquet\n\n"
    "  python -m training benchmark handbook --data transactions.parquet --weeks 1 --online --json"
)
def handbook(
    data: Annotated[Path, typer.Option(help="The handbook's transactions, as one Parquet file.")],
    first_test_week: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d"], help="First day of the first test week.", show_default="2018-08-08"),
    ] = datetime(2018, 8, 8, tzinfo=UTC),
    weeks: Annotated[int | None, typer.Option(min=1, help="Test weeks; left out: all that the file holds.")] = None,
    train_days: Annotated[int, typer.Option(min=1, help="Days to train on, ending 7 days before each week.")] = 7,
    out: Annotated[Path | None, typer.Option(help="Write transaction_id, score for every row of the weeks.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Also score through a service, and compare.")] = False,
    as_json: Json = False,
) -> None:
    """Run the published protocol of the Fraud Detection Handbook: train, test and judge week by week."""
    from training.benchmark.handbook import Options as HandbookOptions  # noqa: PLC0415
    from training.benchmark.handbook import import_handbook, mean_of, run  # noqa: PLC0415

    options = HandbookOptions(first_test_week.date(), weeks, train_days)
    with TemporaryDirectory(prefix="handbook-") as name, progress(quiet=as_json) as tell:
        events = Path(name) / "events.parquet"
        import_handbook(data, events, tell)
        result = run(events, options, tell)
        if out is not None:
            result.write_scores(out)
        compared = _online(events, Path(name), result, options, tell) if online else None
    shown: dict[str, Any] = {
        "weeks": [week_values(week) for week in result.weeks],
        "mean": mean_of(result.weeks),
    }
    if compared is not None:
        shown["online"] = compared
    if as_json:
        typer.echo(json.dumps(shown))
    else:
        OUT.print(table([*shown["weeks"], {"first_day": "mean", **shown["mean"]}]))
        if compared is not None:
            OUT.print(table([compared]))
    if compared is not None and compared["differences"]:
        fail(f"online and offline differ: {compared['first']}", ExitCode.FAILED)


def _online(events: Path, folder: Path, result: Any, options: Any, tell: Tell) -> dict[str, Any]:  # noqa: ANN401  imported late
    from training.benchmark.online import check_online  # noqa: PLC0415

    return check_online(events, folder, result, options, tell)._asdict()
