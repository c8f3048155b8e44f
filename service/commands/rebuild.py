"""`python -m service rebuild`: profiles out of the event log, in place or into a fresh place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

EPILOG: Final = (
    "Examples:\n\n  python -m service rebuild\n\n"
    "  python -m service rebuild --verify --json\n\n"
    "  python -m service rebuild --into var/fresh"
)


def command(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="TOML file of settings; FRAUD_… in the environment wins."),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare only, and exit 1 when a profile differs.")] = False,
    into: Annotated[Path | None, typer.Option(help="Fresh directory to rebuild into (store.kind lmdb).")] = None,
    into_prefix: Annotated[str, typer.Option(help="Fresh set prefix to rebuild into (store.kind aerospike).")] = "",
    switch: Annotated[
        bool, typer.Option("--switch", help="With --into: exchange the directories at the end; stop the service first.")
    ] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="No service uses the store: also make profiles that are not there.")
    ] = False,
    max_memory_mb: Annotated[
        int, typer.Option(help="Memory for profiles, in MiB; less takes more passes.", min=1)
    ] = 1024,
    max_events_per_s: Annotated[
        int, typer.Option(help="Events read, and profiles settled, in a second; 0 = no bound.", min=0)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Recreate profiles from the event log, so that a new aggregate has its whole history.

    In place, while the service goes on; before that, every worker must run the release that brings the aggregate.
    """
    from service.commands.rebuilding import Wish, run  # noqa: PLC0415  other commands start faster without it

    run(config, Wish(into, into_prefix, switch, verify, alone, max_memory_mb << 20, max_events_per_s), as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("rebuild", epilog=EPILOG)(command)
