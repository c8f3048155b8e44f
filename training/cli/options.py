"""Options that several commands have, and how they are checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from service.errors import BadSetting
from service.registry.files import remote_of
from training.console import ERR

DATES: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
"""How commands take a moment."""


def up_to_date(registry: Path) -> Path:
    """Bring the copy of a remote registry up to date; when that one does not answer, say so and take what is here."""
    if remote_of(registry):
        from service.registry.remote import refresh  # noqa: PLC0415  most registries have no remote one

        try:
            refresh(registry)
        except BadSetting as error:
            ERR.print(f"{error}; this is the copy as it was last brought up to date", markup=False)
    return registry


Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines, and nothing else.")]
Events = Annotated[Path, typer.Argument(metavar="EVENTS", help="Event file (Parquet) of `simulate` or `import`.")]
Registry = Annotated[
    Path,
    typer.Option(
        "--registry",
        "-r",
        envvar="FRAUD_REGISTRY__PATH",
        help="Folder of the model registry, or of the copy of a remote one.",
        callback=up_to_date,
    ),
]
Snapshots = Annotated[
    Path, typer.Option("--snapshots", envvar="FRAUD_SNAPSHOTS", help="Folder that holds the snapshots.")
]
Dask = Annotated[
    str, typer.Option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster, as tcp://host:port.")
]
SnapshotId = Annotated[str, typer.Option("--snapshot", help="Id of the snapshot; latest = the newest.")]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="The service's settings, as TOML: they name the store.")
]
Who = Annotated[str, typer.Option(help="Who does it, for the history; you, when left out.", show_default=False)]
Why = Annotated[str, typer.Option(help="Why, for the history.")]
Habits = Annotated[
    str, typer.Option(help="What habits are made of: attempts or settlements, as the service's ingest.habits.")
]

Since = Annotated[
    datetime | None,
    typer.Option(formats=DATES, help="Leave out what became known before (UTC).", show_default=False),
]
Until = Annotated[
    datetime | None,
    typer.Option(formats=DATES, help="Leave out what became known from then on (UTC).", show_default=False),
]

MetricsFile = Annotated[
    Path | None, typer.Option("--metrics", help="Also write gauges for node-exporter's textfile collector (*.prom).")
]

REGISTRY: Final = Path("var/registry")
SNAPSHOTS: Final = Path("var/snapshots")

Options = TypeVar("Options", bound=BaseModel)


def milliseconds(moment: datetime | None) -> int | None:
    """Return a moment of an option (UTC) in milliseconds since the epoch."""
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def checked_options(model: type[Options], values: Mapping[str, object]) -> Options:
    """Return the options of a command; the first that is wrong makes it a wrong call."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # What several options together break has no place; pydantic says of our own words that they are an error.
        name = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else None
        message = first["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"{message[0].lower()}{message[1:]}", param_hint=name) from error


def named_parameters(given: Iterable[str]) -> dict[str, bool | int | float | str]:
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
