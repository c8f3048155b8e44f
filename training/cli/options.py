"""Options that several commands have, and how they are checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from pydantic import BaseModel, ValidationError

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines, and nothing else.")]
Events = Annotated[Path, typer.Argument(metavar="EVENTS", help="Event file (Parquet) of `simulate` or `import`.")]
Registry = Annotated[
    Path, typer.Option("--registry", "-r", envvar="FRAUD_REGISTRY__PATH", help="Folder of the model registry.")
]
Snapshots = Annotated[
    Path, typer.Option("--snapshots", envvar="FRAUD_SNAPSHOTS", help="Folder that holds the snapshots.")
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="The service's settings, as TOML: they name the store.")
]
Who = Annotated[str, typer.Option(help="Who does it, for the history; you, when left out.", show_default=False)]
Why = Annotated[str, typer.Option(help="Why, for the history.")]
Habits = Annotated[
    str, typer.Option(help="What habits are made of: attempts or settlements, as the service's ingest.habits.")
]

REGISTRY: Final = Path("var/registry")
SNAPSHOTS: Final = Path("var/snapshots")

Options = TypeVar("Options", bound=BaseModel)


def checked_options(model: type[Options], values: Mapping[str, object]) -> Options:
    """Return the options of a command; the first that is wrong makes it a wrong call."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0]).replace("_", "-")
        raise typer.BadParameter(f"{first['msg'][0].lower()}{first['msg'][1:]}", param_hint=name) from error


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
