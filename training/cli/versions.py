"""Commands that look at versions: models, show, diff, history; and attach, for the copy of a remote registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from service.errors import BadSetting
from service.exit_codes import ExitCode
from training.cli.options import REGISTRY, Json, Registry
from training.console import ERR, OUT, fail, table

if TYPE_CHECKING:  # commands start faster without what they do not use
    from service.registry.lineup_file import LineupSpec

app = typer.Typer()


@app.command(epilog="Example: python -m training models --json")
def models(registry: Registry = REGISTRY, as_json: Json = False) -> None:
    """List the published versions, what each of them is, how good it was and where it comes from."""
    from training.versions import listed  # noqa: PLC0415

    found = listed(registry, _lineup(registry))
    if as_json:
        typer.echo(json.dumps([one.values() for one in found]))
    elif found:
        OUT.print(table([{name: escape(text) for name, text in one.row().items()} for one in found]))
    else:
        OUT.print(f"{registry} holds no versions: publish one with `python -m training train EVENTS`")


@app.command(epilog="Example: python -m training show 7")
def show(
    version: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    registry: Registry = REGISTRY,
    as_json: Json = False,
) -> None:
    """Tell everything about a version: data, thresholds, metrics, features, lineage, and what became of it."""
    from service.registry.artifact import REPORT_FILE, numbers, version_path  # noqa: PLC0415
    from training.versions import events, manifest_of, sections  # noqa: PLC0415

    if version not in numbers(registry):
        fail(f"version {version} is not in the registry {registry}", ExitCode.NOT_FOUND)
    manifest = manifest_of(registry, version)
    lineup = _lineup(registry)
    role = "" if lineup is None else lineup.role(version)
    concerning = [event for event in events(registry) if version in event.roles]
    if as_json:
        history = [{**event.values(), "became": event.roles[version]} for event in concerning]
        typer.echo(json.dumps({"role": role, "manifest": manifest.model_dump(mode="json"), "history": history}))
        return
    for title, values in sections(manifest, role).items():
        _section(title, values)
    report = version_path(registry, version) / REPORT_FILE
    _section("report", {"file": str(report) if report.is_file() else "not here"})
    if concerning:
        OUT.print("\n[bold]history[/]")
        OUT.print(table([{**_escaped(one.row()), "became": one.roles[version] or "not live"} for one in concerning]))


@app.command(epilog="Example: python -m training diff 6 7")
def diff(
    old: Annotated[int, typer.Argument(min=1, help="Number of one version.")],
    new: Annotated[int, typer.Argument(min=1, help="Number of the other version.")],
    registry: Registry = REGISTRY,
    as_json: Json = False,
) -> None:
    """Tell what differs between two versions: features, parameters, thresholds, metrics, data, libraries."""
    from service.registry.artifact import numbers  # noqa: PLC0415
    from training.versions import differences, manifest_of  # noqa: PLC0415

    for version in (old, new):
        if version not in numbers(registry):
            fail(f"version {version} is not in the registry {registry}", ExitCode.NOT_FOUND)
    found = differences(manifest_of(registry, old), manifest_of(registry, new))
    if as_json:
        typer.echo(json.dumps(found))
        return
    if not found:
        OUT.print(f"Versions {old} and {new} differ in nothing that their manifests tell.")
    for title, values in found.items():
        OUT.print(f"\n[bold]{title}[/]")
        lines = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("", f"version {old}", f"version {new}"):
            lines.add_column(heading)
        for name, sides in values.items():
            lines.add_row(escape(name), *(escape(side) or "none" for side in sides))
        OUT.print(lines)


@app.command(epilog="Example: python -m training history --limit 5")
def history(
    registry: Registry = REGISTRY,
    limit: Annotated[int, typer.Option(min=1, help="Changes to list, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List who changed what is live, when and why."""
    from training.versions import events  # noqa: PLC0415

    found = events(registry)[:limit]
    if as_json:
        typer.echo(json.dumps([one.values() for one in found]))
    elif found:
        OUT.print(table([_escaped(one.row()) for one in found]))
    else:
        OUT.print(f"Nothing was ever promoted in {registry}.")


@app.command(epilog="Example: python -m training attach s3://our-models/fraud --registry var/registry")
def attach(
    url: Annotated[str, typer.Argument(envvar="FRAUD_REGISTRY__REMOTE", help="s3://bucket/folder, gs://… or az://…")],
    registry: Registry = REGISTRY,
    as_json: Json = False,
) -> None:
    """Make a folder the copy of a registry on an object store; every command then works on that registry.

    Credentials, region and endpoint come from the environment, under the provider's own names (AWS_ACCESS_KEY_ID …).
    """
    from service.registry.artifact import versions  # noqa: PLC0415
    from service.registry.remote import attach as attach_copy  # noqa: PLC0415
    from service.registry.remote import refresh  # noqa: PLC0415

    attach_copy(registry, url)
    refresh(registry)
    found = versions(registry)
    if as_json:
        typer.echo(json.dumps({"registry": str(registry), "remote": url, "versions": found}))
    else:
        OUT.print(escape(f"{registry} is a copy of {url}, which holds {len(found)} versions."))


def _lineup(registry: Path) -> LineupSpec | None:
    """Return what should be live; when it is not readable, say so, and return the newest one of the history."""
    from service.registry.lineup_file import read_history, read_lineup  # noqa: PLC0415

    try:
        return read_lineup(registry)
    except BadSetting as error:
        past = read_history(registry)
        ERR.print(escape(f"{error}; roles are those of revision {max(past, default=0)}, which a rollback restores"))
        return past[max(past)].lineup if past else None


def _section(title: str, values: Mapping[str, str]) -> None:
    OUT.print(f"\n[bold]{escape(title)}[/]")
    lines = Table.grid(padding=(0, 2))
    for name, text in values.items():
        lines.add_row(escape(name), escape(text))
    OUT.print(lines)


def _escaped(row: Mapping[str, str]) -> dict[str, str]:
    return {name: escape(text) for name, text in row.items()}
