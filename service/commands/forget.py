"""`python -m service forget`: erases a person; `receipts`: what was done for whom it may concern."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from service.commands.lists import Config, Json, Who

if TYPE_CHECKING:  # commands start faster without what they do not use
    from service.receipts import Receipt
    from service.settings import Settings

SNAPSHOTS: Final = Path("var/snapshots")
"""Where the offline half keeps snapshots unless it is told otherwise."""

_MORE: Final = {
    "forget": "Examples:\n\n  python -m service forget --user u-1 --why 'asked for it on 2026-11-02'\n\n"
    "  python -m service forget --user u-1 --why 'asked for it' --snapshots var/snapshots --yes --json",
    "receipts": "Examples:\n\n  python -m service receipts\n\n  python -m service receipts --user u-1 --json",
}


def forget(
    user: Annotated[str, typer.Option(help="Id of the person.")],
    why: Annotated[str, typer.Option(help="The reason; kept in the receipt. No personal data, please.")] = "requested",
    who: Who = "",
    snapshots: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of snapshots whose pseudonyms of the person are to name nobody; may be given more than once. "
            "Default: the setting retention.verified_snapshots, else var/snapshots if it is there."
        ),
    ] = None,
    max_events_per_s: Annotated[
        int, typer.Option(help="Entries of the logs read in a second; 0 = no bound.", min=0)
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Erase a person's profile, decisions and pseudonyms, and every id that leads there; print the receipt.

    The service may go on. Run it again when it was broken off: it finishes.
    """
    from datetime import UTC, datetime  # noqa: PLC0415

    from service.commands.listing import who_am_i  # noqa: PLC0415
    from service.core.limits import looks_like_card  # noqa: PLC0415
    from service.errors import InvalidInput, Violation  # noqa: PLC0415
    from service.forget import Request  # noqa: PLC0415
    from service.forget import forget as forget_person  # noqa: PLC0415
    from service.settings import load  # noqa: PLC0415
    from service.store.opening import open_store  # noqa: PLC0415

    if not user:
        raise InvalidInput([Violation("user", "must not be empty")])
    if user in why or any(map(looks_like_card, why.split())):
        raise InvalidInput([Violation("why", "must not name the person: it is kept in the receipt")])
    settings = load(config)
    folders = _folders(settings, snapshots)
    if not yes and sys.stdin.isatty():
        typer.confirm("This cannot be undone. Forget this person?", abort=True, err=True)
    if not folders:
        typer.echo("no folder of snapshots is there: name each that exists with --snapshots", err=True)
    request = Request(user, why, who or who_am_i(), folders, max_events_per_s)
    store = open_store(settings)
    try:
        receipt = forget_person(store, request, datetime.now(UTC))
    finally:
        store.close()
    _print([receipt], as_json=as_json)
    if receipt.listings_kept and not as_json:
        typer.echo("the person is listed: `python -m service lists remove` takes that out, too", err=True)


def receipts(
    user: Annotated[str, typer.Option(help="Only those of this person.", show_default=False)] = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the receipts of persons who were forgotten; they name nobody, but who knows an id finds its receipts."""
    from service.receipts import receipts as kept  # noqa: PLC0415
    from service.settings import load  # noqa: PLC0415
    from service.store.opening import open_store  # noqa: PLC0415

    store = open_store(load(config))
    try:
        found = kept(store.papers, user)
    finally:
        store.close()
    _print(found, as_json=as_json)


def add_to(service: typer.Typer) -> None:
    """Add the commands to a command line."""
    for command in (forget, receipts):
        service.command(command.__name__, epilog=_MORE[command.__name__])(command)


def _folders(settings: Settings, named: list[Path] | None) -> tuple[Path, ...]:
    """Return the folders of snapshots that may know the person."""
    from service.vault import vault_path  # noqa: PLC0415

    if named:
        return tuple(dict.fromkeys(folder.resolve() for folder in named))
    chosen = settings.retention.verified_snapshots
    if chosen is not None:
        return (chosen,)
    return (SNAPSHOTS,) if vault_path(SNAPSHOTS).is_file() else ()


def _print(found: list[Receipt], *, as_json: bool) -> None:
    from rich.table import Table  # noqa: PLC0415

    from service.show import OUT  # noqa: PLC0415

    documents = [receipt.model_dump(mode="json") for receipt in found]
    if as_json:
        for document in documents:
            typer.echo(json.dumps(document))
        return
    for document in documents:
        table = Table("receipt", document["id"])
        for name, value in document.items():
            if name != "id":
                shown = (
                    ", ".join(f"{folder}: {count}" for folder, count in value.items())
                    if name == "pseudonyms"
                    else value
                )
                table.add_row(name, str(shown))
        OUT.print(table)
    if not documents:
        OUT.print("nobody was forgotten")
