"""`python -m service backup`: a copy of the embedded store, taken while it is served."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Final

import typer

EPILOG: Final = (
    "Examples:\n\n  python -m service backup /backups/2026-11-21\n\n"
    "  python -m service backup /backups/2026-11-21 --config fraud.toml --json\n\n"
    "To restore, stop the service and put the copy in the place of store.lmdb.path: docs/runbook.md."
)


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to make; nothing must be there.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="TOML file of settings; FRAUD_… in the environment wins."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Copy the embedded store, whole and at one instant, while the service goes on.

    For store.kind lmdb. What an Aerospike cluster holds is kept by `python -m training snapshot`.
    """
    from service.errors import BadSetting  # noqa: PLC0415  other commands start faster without them
    from service.settings import load  # noqa: PLC0415
    from service.store.lmdb_backup import back_up  # noqa: PLC0415

    store = load(config).store
    if store.kind != "lmdb":
        raise BadSetting(
            "setting store.kind: a cluster is not copied as a directory: take a snapshot with "
            "`python -m training snapshot`, which `python -m training snapshots restore` puts into a fresh one"
        )
    begun_s = time.monotonic()
    copied = {
        "path": str(folder),
        "bytes": back_up(store.lmdb, folder),
        "seconds": round(time.monotonic() - begun_s, 3),
    }
    typer.echo(json.dumps(copied) if as_json else f"{folder}: {copied['bytes']:,} bytes in {copied['seconds']} s")


def add_to(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("backup", epilog=EPILOG)(command)
