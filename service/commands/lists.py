"""`python -m service lists`: allow, block or review single users, sellers, items and cards; who did so, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from service.exit_codes import ExitCode

if TYPE_CHECKING:  # commands start faster without what they do not use
    from service.core.event import EntityKey
    from service.core.listing import Listing, ListingChange

app = typer.Typer(
    no_args_is_help=True,
    help="Allow, block or review single users, sellers, items and cards; who did so, and why.",
    epilog="Examples:\n\n  python -m service lists add --block --card c7f4 --for 30d --why 'reported stolen'\n\n"
    "  python -m service lists show\n\n  python -m service lists audit --card c7f4",
)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file of settings; FRAUD_… in the environment wins.", show_default=False),
]
User = Annotated[str, typer.Option("--user", help="Id of a user.", show_default=False)]
Seller = Annotated[str, typer.Option("--seller", help="Id of a seller.", show_default=False)]
Item = Annotated[str, typer.Option("--item", help="Id of an item.", show_default=False)]
Card = Annotated[str, typer.Option("--card", help="Keyed hash of a card, never its number.", show_default=False)]
Why = Annotated[str, typer.Option("--why", help="The reason; kept in the audit. No personal data, please.")]
Who = Annotated[str, typer.Option("--who", help="Who does it; kept in the audit.", show_default="the login name")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

_PAGE: Final = 1000


@app.command(
    epilog="Examples:\n\n  python -m service lists add --block --card c7f4 --for 30d --why 'reported stolen'\n\n"
    "  python -m service lists add --allow --user u-1 --until 2027-01-31 --why 'checked by phone'"
)
def add(
    why: Why,
    block: Annotated[bool, typer.Option("--block", help="Its purchases are declined.")] = False,
    allow: Annotated[
        bool, typer.Option("--allow", help="Its purchases are approved, unless something blocks them.")
    ] = False,
    review: Annotated[bool, typer.Option("--review", help="Its purchases are looked at by people.")] = False,
    user: User = "",
    seller: Seller = "",
    item: Item = "",
    card: Card = "",
    for_: Annotated[str, typer.Option("--for", help="How long: 45m, 12h, 30d or 8w; default: for ever.")] = "",
    until: Annotated[str, typer.Option("--until", help="Until when (UTC): 2027-01-31 or 2027-01-31T18:00.")] = "",
    who: Who = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Add an entry, in the place of one that there may be. Every worker knows it within a second."""
    from service.commands.listing import added, expiry_of, opened_editor, who_am_i  # noqa: PLC0415

    chosen = [name for name, is_it in (("block", block), ("allow", allow), ("review", review)) if is_it]
    if len(chosen) != 1:
        raise typer.BadParameter("name one of --block, --allow and --review")
    if for_ and until:
        raise typer.BadParameter("name one of --for and --until")
    key = _key(user, seller, item, card)
    with opened_editor(config) as desk:
        listing = added(desk, key, chosen[0], expiry_of(until or for_, desk.now_ms), why, who or who_am_i())
    _print_entries([listing], as_json=as_json)


@app.command(epilog="Example: python -m service lists remove --card c7f4 --why 'was a mistake'")
def remove(
    why: Why,
    user: User = "",
    seller: Seller = "",
    item: Item = "",
    card: Card = "",
    who: Who = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Remove an entry; exit code 6 when there is none."""
    from service.commands.listing import opened_editor, who_am_i  # noqa: PLC0415

    key = _key(user, seller, item, card)
    with opened_editor(config) as desk:
        removed = desk.editor.remove(key, desk.said(why), who or who_am_i())
    if removed is None:
        typer.echo(f"error: no {key.kind.name.lower()} of this id is listed", err=True)
        raise typer.Exit(ExitCode.NOT_FOUND)
    _print_entries([removed], as_json=as_json)


@app.command(epilog="Examples:\n\n  python -m service lists show\n\n  python -m service lists show --card c7f4 --json")
def show(
    user: User = "", seller: Seller = "", item: Item = "", card: Card = "", config: Config = None, as_json: Json = False
) -> None:
    """Show the entries that hold now; of one entity, exit code 6 when it is not listed."""
    from service.commands.listing import opened_editor  # noqa: PLC0415

    key = _key(user, seller, item, card) if user or seller or item or card else None
    with opened_editor(config) as desk:
        entries = [one for one in desk.table.read().entries.values() if one.holds(desk.now_ms)]
    if key is not None:
        entries = [one for one in entries if one.key == key]
        if not entries:
            typer.echo(f"error: no {key.kind.name.lower()} of this id is listed", err=True)
            raise typer.Exit(ExitCode.NOT_FOUND)
    _print_entries(sorted(entries), as_json=as_json)


@app.command(
    epilog="Examples:\n\n  python -m service lists audit\n\n  python -m service lists audit --after 1200 --json"
)
def audit(
    user: User = "",
    seller: Seller = "",
    item: Item = "",
    card: Card = "",
    after: Annotated[int, typer.Option(help="Only changes with a number above this.", min=0)] = 0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what was ever added, removed or expired: when, by whom and why. JSON is one line for each change."""
    from service.commands.listing import opened_editor  # noqa: PLC0415

    key = _key(user, seller, item, card) if user or seller or item or card else None
    shown = []
    with opened_editor(config) as desk:
        number = 0
        while page := desk.table.changes(number, _PAGE):
            number = page[-1].number
            shown += [one for one in page if one.number > after and key in (None, one.listing.key)]
    _print_changes(shown, as_json=as_json)


@app.command(
    "import",
    epilog="A line of the file: card,c7f4,block,30d,reported stolen; the first line names the columns: "
    "kind,id,effect,expires,why\n\nExample: python -m service lists import blocked.csv",
)
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with the columns kind, id, effect, expires, why.")],
    who: Who = "",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Add entries from a CSV file: all of them, or none when a line is wrong. Repeating it is harmless."""
    from service.commands.listing import entries_of, opened_editor, who_am_i  # noqa: PLC0415

    with opened_editor(config) as desk:
        listings = entries_of(file, desk, who or who_am_i())
        desk.editor.add(listings)
    if as_json:
        typer.echo(json.dumps({"added": len(listings)}))
    else:
        typer.echo(f"{len(listings):,} entries added")


def add_to(service: typer.Typer) -> None:
    """Add the commands to a command line."""
    service.add_typer(app, name="lists")


def _key(user: str, seller: str, item: str, card: str) -> EntityKey:
    from service.core.event import KINDS, EntityKey  # noqa: PLC0415

    named = [EntityKey(kind, id_) for kind, id_ in zip(KINDS, (user, seller, item, card), strict=True) if id_]
    if len(named) != 1:
        raise typer.BadParameter("name one of --user, --seller, --item and --card")
    return named[0]


def _print_entries(entries: list[Listing], *, as_json: bool) -> None:
    from rich.table import Table  # noqa: PLC0415

    from service.show import OUT, when  # noqa: PLC0415

    if as_json:
        typer.echo(json.dumps([_document(one) for one in entries]))
        return
    if not entries:
        OUT.print("nobody is listed")
        return
    table = Table("kind", "id", "effect", "until", "why", "who", "since")
    for one in entries:
        until = when(one.expires_ms) if one.expires_ms else "for ever"
        table.add_row(one.kind.name.lower(), one.id, one.effect, until, one.why, one.who, when(one.made_ms))
    OUT.print(table)


def _print_changes(changes: list[ListingChange], *, as_json: bool) -> None:
    from rich.table import Table  # noqa: PLC0415

    from service.show import OUT, when  # noqa: PLC0415

    if as_json:
        for one in changes:
            line = {**one._asdict(), "act": one.act.name.lower(), "listing": _document(one.listing)}
            typer.echo(json.dumps(line))
        return
    table = Table("number", "when", "act", "who", "why", "kind", "id", "effect")
    for one in changes:
        kind, id_, effect = one.listing.kind.name.lower(), one.listing.id, one.listing.effect
        table.add_row(str(one.number), when(one.at_ms), one.act.name.lower(), one.who, one.why, kind, id_, effect)
    OUT.print(table)


def _document(listing: Listing) -> dict[str, object]:
    return {**listing._asdict(), "kind": listing.kind.name.lower()}
