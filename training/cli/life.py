"""Commands on the life of a version: models, promote, rollback."""

from __future__ import annotations

import json
from getpass import getuser
from typing import Annotated

import typer

from training.cli.options import REGISTRY, Json, Registry, Who, Why
from training.console import OUT, show, table

app = typer.Typer()


@app.command(epilog="Example: python -m training models --json")
def models(registry: Registry = REGISTRY, as_json: Json = False) -> None:
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
    registry: Registry = REGISTRY,
    who: Who = "",
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Make a version the one that answers, after every check that a service makes; services follow by themselves."""
    from service.registry.promotion import promote as promote_version  # noqa: PLC0415

    lineup = promote_version(registry, version, who or getuser(), why)
    show({"champion": lineup.champion, "lineup_revision": lineup.revision}, as_json=as_json)


@app.command(epilog='Example: python -m training rollback --why "too many reviews"')
def rollback(registry: Registry = REGISTRY, who: Who = "", why: Why = "", as_json: Json = False) -> None:
    """Go back to what answered before the last promotion."""
    from service.registry.promotion import rollback as roll_back  # noqa: PLC0415

    lineup = roll_back(registry, who or getuser(), why)
    show({"champion": lineup.champion, "lineup_revision": lineup.revision}, as_json=as_json)
