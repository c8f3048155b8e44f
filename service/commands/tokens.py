"""`python -m service tokens`: the file of callers, without an editor."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from pydantic import ValidationError
from rich.table import Table

from service.callers import ROLES, Entry, add_caller, new_token, read_callers, remove_callers, token_sha256
from service.edge_settings import AccessSettings
from service.exit_codes import ExitCode
from service.settings import load
from service.show import OUT

NEW_EPILOG: Final = (
    "Examples:\n\n  python -m service tokens new --name checkout --role score --role record\n\n"
    "  python -m service tokens new --name pipeline --role record --calls-per-s 2000 --days 90\n\n"
    "  python -m service tokens new --name checkout --role score --certificate checkout.example.com"
)

_OPTIONS: Final = {"roles": "role", "calls_per_s": "calls-per-s", "expires": "days"}
"""Fields of an entry that have another name as an option."""

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file of settings; FRAUD_… in the environment wins.", show_default=False),
]
Callers = Annotated[
    Path | None, typer.Option("--callers", help="File of callers; default: the setting access.callers_path.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

tokens = typer.Typer(no_args_is_help=True, help="Manage who may call: tokens, certificates, roles and rates.")


@tokens.command(epilog=NEW_EPILOG)
def new(
    name: Annotated[str, typer.Option(help="Who calls; several tokens of one name share its rate.")],
    role: Annotated[list[str], typer.Option(help=f"What it may do: {', '.join(ROLES)}; may be given several times.")],
    calls_per_s: Annotated[
        float | None, typer.Option(help="Purchases and events a second, over all workers; default: no bound.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Days until it expires; default: never.", min=1)] = None,
    certificate: Annotated[
        str, typer.Option(help="Let in the client certificate of this common name, DNS name or URI; no token is made.")
    ] = "",
    callers: Callers = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let a caller in: prints its token, once, and keeps only the hash. A running service follows within a second."""
    access = load(config).access
    path = _path(callers, access)
    token = "" if certificate else new_token()
    expires = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    try:
        entry = Entry(
            name=name,
            token_sha256=token_sha256(token) if token else "",
            certificate=certificate,
            roles=role,  # the model checks what they are
            calls_per_s=calls_per_s,
            expires=expires,
        )
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        option = str(first["loc"][0]) if first["loc"] else "certificate"
        _fail(f"--{_OPTIONS.get(option, option)}: {first['msg'][0].lower()}{first['msg'][1:]}")
    add_caller(path, entry, access.max_callers)
    if as_json:
        typer.echo(json.dumps({**_shown(entry), "token": token}))
        return
    if token:
        typer.echo(token)
        typer.echo(f"this is the only time that the token is shown; its hash stands in {path}", err=True)
    else:
        typer.echo(f"whoever shows a valid certificate of {certificate} is {name}, says {path}", err=True)


@tokens.command("list", epilog="Example: python -m service tokens list --json")
def list_callers(callers: Callers = None, config: Config = None, as_json: Json = False) -> None:
    """Show who may call."""
    access = load(config).access
    shown = [_shown(entry) for entry in read_callers(_path(callers, access), access.max_callers)]
    if as_json:
        typer.echo(json.dumps(shown))
        return
    table = Table("name", "proof", "roles", "calls/s", "expires")
    for one in shown:
        proof = f"token {one['token_sha256'][:12]}…" if one["token_sha256"] else f"certificate {one['certificate']}"
        table.add_row(
            one["name"], proof, " ".join(one["roles"]), str(one["calls_per_s"] or "any"), one["expires"] or "never"
        )
    OUT.print(table)


@tokens.command(epilog="Example: python -m service tokens revoke --name checkout --sha256 9f86d081884c")
def revoke(
    name: Annotated[str, typer.Option(help="Who is no longer let in.")],
    sha256: Annotated[str, typer.Option(help="Only the token whose hash begins so: see `tokens list`.")] = "",
    callers: Callers = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let a caller in no more: all its entries, or one token. A running service follows within a second."""
    access = load(config).access
    removed = remove_callers(
        _path(callers, access),
        lambda entry: entry.name == name and entry.token_sha256.startswith(sha256),
        access.max_callers,
    )
    if not removed:
        typer.echo(f"error: no entry of {name}{f' begins with {sha256}' if sha256 else ''}", err=True)
        raise typer.Exit(ExitCode.NOT_FOUND)
    typer.echo(json.dumps({"removed": removed}) if as_json else f"removed {removed} of {name}")


def _path(callers: Path | None, access: AccessSettings) -> Path:
    path = callers or access.callers_path
    if path is None:
        _fail("name the file: --callers FILE, or the setting access.callers_path")
    return path


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(ExitCode.USAGE)


def _shown(entry: Entry) -> dict[str, Any]:
    return {**entry.model_dump(mode="json", exclude={"roles"}), "roles": [one for one in ROLES if one in entry.roles]}


def add_to(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.add_typer(tokens, name="tokens")
