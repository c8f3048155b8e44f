"""The command line of the offline half: `python -m training`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from service.exit_codes import EPILOG, ExitCode, run
from training.console import ERR, OUT, fail, progress, show, table
from training.summaries import import_values, show_training, week_values

if TYPE_CHECKING:
    from training.events import Progress as Tell

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="From events to a promoted model: simulate or import, replay, train, promote, benchmark.",
    epilog=(
        f"{EPILOG}\n\nExample: python -m training simulate market.parquet, then "
        "python -m training train market.parquet, then python -m training promote 1"
    ),
)
benchmark = typer.Typer(no_args_is_help=True, help="Run a published protocol on data that you have.")
app.add_typer(benchmark, name="benchmark")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines, and nothing else.")]
Events = Annotated[Path, typer.Argument(metavar="EVENTS", help="Event file (Parquet) of `simulate` or `import`.")]
Registry = Annotated[
    Path, typer.Option("--registry", "-r", envvar="FRAUD_REGISTRY__PATH", help="Folder of the model registry.")
]
Who = Annotated[str, typer.Option(help="Who does it, for the history; you, when left out.", show_default=False)]
Why = Annotated[str, typer.Option(help="Why, for the history.")]
Habits = Annotated[
    str, typer.Option(help="What habits are made of: attempts or settlements, as the service's ingest.habits.")
]

_REGISTRY: Final = Path("var/registry")

Options = TypeVar("Options", bound=BaseModel)


@app.command(
    epilog="Examples:\n\n  python -m training simulate market.parquet\n\n"
    "  python -m training simulate big.parquet --purchases 2500000 --days 180 --seed 11 --json"
)
def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Event file to write (Parquet).")],
    purchases: Annotated[int, typer.Option(help="Purchases in all.")] = 100_000,
    days: Annotated[int, typer.Option(help="Days of purchases.")] = 60,
    fraud_rate: Annotated[float, typer.Option(help="Share of the purchases that are fraud.")] = 0.01,
    last_day: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The last day (UTC).", show_default="2026-07-30")
    ] = datetime(2026, 7, 30, tzinfo=UTC),
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 7,
    as_json: Json = False,
) -> None:
    """Simulate a market: registrations, purchases, settlements, reports, chargebacks and named frauds."""
    from training.simulate import MarketSettings  # noqa: PLC0415  other commands start faster without it
    from training.simulate import simulate as simulate_market  # noqa: PLC0415

    values = {"purchases": purchases, "days": days, "fraud_rate": fraud_rate, "last_day": last_day.date(), "seed": seed}
    settings = _options(MarketSettings, values)
    with progress(quiet=as_json) as tell:
        summary = simulate_market(settings, out, tell)
    shown = {
        "path": str(summary.file.path),
        "events": summary.file.rows,
        "content_hash": summary.file.content_hash,
        "purchases": summary.purchases,
        "frauds": summary.frauds,
        "patterns": summary.patterns,
        "first_event_ms": summary.first_event_ms,
        "last_event_ms": summary.last_event_ms,
    }
    show(shown, as_json=as_json)


@app.command(
    "import",
    epilog="Examples:\n\n  python -m training import transactions.parquet events.parquet --mapping handbook\n\n"
    "  python -m training import sales.csv events.parquet --mapping sales.toml --strict",
)
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet, CSV or JSON Lines.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Event file to write (Parquet).")],
    mapping: Annotated[str, typer.Option("--mapping", "-m", help="TOML file, or the name of a built-in mapping.")],
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the file when any row is bad.")] = False,
    as_json: Json = False,
) -> None:
    """Import purchases from a file; FRAUD_HASH_KEY holds the key for ids that the mapping hashes."""
    from training.importer import import_file  # noqa: PLC0415
    from training.mapping import load_mapping  # noqa: PLC0415

    key = os.environ.get("FRAUD_HASH_KEY", "").encode()
    with progress(quiet=as_json) as tell:
        summary = import_file(source, load_mapping(mapping), out, tell, strict=strict, hash_key=key)
    show(import_values(summary), as_json=as_json)
    for finding in summary.findings if not as_json else ():
        ERR.print(f"left out: {finding}")


@app.command(epilog="Example: python -m training replay events.parquet rows.parquet")
def replay(
    events: Events,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Rows file to write (Parquet).")],
    habits: Habits = "attempts",
    as_json: Json = False,
) -> None:
    """Replay an event file to the rows that the service would have built, one for each purchase."""
    from service.core.features import FEATURES  # noqa: PLC0415
    from training.rows_file import write_rows  # noqa: PLC0415
    from training.train import TrainOptions  # noqa: PLC0415

    checked = _options(TrainOptions, {"habits": habits}).habits
    with progress(quiet=as_json) as tell:
        rows = write_rows(events, out, FEATURES, checked, tell)
    show({"path": str(out), "rows": rows, "features": len(FEATURES)}, as_json=as_json)


@app.command(epilog="Example: python -m training record events.parquet --target 127.0.0.1:50051")
def record(
    events: Events,
    target: Annotated[str, typer.Option("--target", "-t", help="host:port of a service on the event clock.")] = (
        "127.0.0.1:50051"
    ),
    as_json: Json = False,
) -> None:
    """Record an event file into a running service, in its order; running it again is harmless."""
    from service.client import FraudClient  # noqa: PLC0415
    from training.live import record_file  # noqa: PLC0415

    with FraudClient(target) as client, progress(quiet=as_json) as tell:
        outcomes = record_file(client, events, tell)
    show(dict(sorted(outcomes.items())), as_json=as_json)


@app.command(
    epilog="Examples:\n\n  python -m training train events.parquet\n\n"
    "  python -m training train events.parquet --label-delay-days 14 --test-share 0 --parameter num_leaves=31"
)
def train(  # noqa: PLR0917  as many options as a training has
    events: Events,
    registry: Registry = _REGISTRY,
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
        "parameters": _parameters(parameter or ()),
        "notes": notes,
    }
    options = _options(TrainOptions, values)
    with progress(quiet=as_json) as tell:
        summary = train_model(events, registry, options, datetime.now(UTC), tell)
    show_training(summary, as_json=as_json)


@app.command(epilog="Example: python -m training models --json")
def models(registry: Registry = _REGISTRY, as_json: Json = False) -> None:
    """List the published versions, and which of them are live."""
    from service.registry.artifact import read_manifest, version_path, versions  # noqa: PLC0415
    from service.registry.lineup_file import read_lineup  # noqa: PLC0415

    lineup = read_lineup(registry)
    listed = []
    for version in versions(registry):
        manifest = read_manifest(version_path(registry, version))
        answers = lineup is not None and version in lineup.answering
        shadows = lineup is not None and version in lineup.shadowing
        measured = manifest.metrics.get("test", manifest.metrics.get("validation", {}))
        precision = measured.get("average_precision")
        listed.append(
            {
                "version": version,
                "role": "answers" if answers else "shadows" if shadows else "",
                "created_at": manifest.created_at.isoformat(" ", "minutes"),
                "features": len(manifest.features),
                "trees": manifest.trees,
                "average_precision": None if precision is None else precision.value,
                "notes": manifest.notes,
            }
        )
    if as_json:
        typer.echo(json.dumps(listed))
    elif listed:
        OUT.print(table(listed))
    else:
        OUT.print(f"{registry} holds no versions: publish one with `python -m training train EVENTS`")


@app.command(epilog='Example: python -m training promote 7 --why "better on July"')
def promote(
    version: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    registry: Registry = _REGISTRY,
    who: Who = "",
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Make a version the one that answers, after every check that a service makes; services follow by themselves."""
    from service.registry.promotion import promote as promote_version  # noqa: PLC0415

    lineup = promote_version(registry, version, who or getuser(), why)
    show({"champion": lineup.champion, "lineup_revision": lineup.revision}, as_json=as_json)


@app.command(epilog='Example: python -m training rollback --why "too many reviews"')
def rollback(registry: Registry = _REGISTRY, who: Who = "", why: Why = "", as_json: Json = False) -> None:
    """Go back to what answered before the last promotion."""
    from service.registry.promotion import rollback as roll_back  # noqa: PLC0415

    lineup = roll_back(registry, who or getuser(), why)
    show({"champion": lineup.champion, "lineup_revision": lineup.revision}, as_json=as_json)


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
    from training.handbook import Options as HandbookOptions  # noqa: PLC0415
    from training.handbook import import_handbook, mean_of, run  # noqa: PLC0415

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


# --- what commands share ------------------------------------------------------------------------


def _online(events: Path, folder: Path, result: Any, options: Any, tell: Tell) -> dict[str, Any]:  # noqa: ANN401  imported late
    from training.online import check_online  # noqa: PLC0415

    return check_online(events, folder, result, options, tell)._asdict()


def _options(model: type[Options], values: Mapping[str, object]) -> Options:
    """Return the options of a command; the first that is wrong makes it a wrong call."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).replace("_", "-")
        raise typer.BadParameter(f"{first['msg'][0].lower()}{first['msg'][1:]}", param_hint=name) from error


def _parameters(given: Iterable[str]) -> dict[str, bool | int | float | str]:
    """Return LightGBM's parameters out of name=value; numbers and truth as JSON writes them, else text."""
    parameters = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise typer.BadParameter(f"{text!r} is not name=value", param_hint="--parameter")
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = value
        parameters[name] = parsed if isinstance(parsed, bool | int | float) else value
    return parameters


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
