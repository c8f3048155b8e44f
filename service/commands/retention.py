"""`python -m service retention`: lets go of what the settings do not keep, for a job that runs every night."""

from __future__ import annotations

import json
from typing import Final

import typer

from service.commands.lists import Config, Json

_MORE: Final = (
    "Examples:\n\n  python -m service retention\n\n"
    "  python -m training snapshot && python -m training verify latest && python -m service retention --json"
)


def retention(config: Config = None, as_json: Json = False) -> None:
    """Let go of events, decisions and the audit of the lists that are older than the settings say.

    Events and decisions go only when a verified snapshot holds them. The service may go on.
    """
    from service.clock import WallClock  # noqa: PLC0415
    from service.retention import retain  # noqa: PLC0415
    from service.settings import load  # noqa: PLC0415
    from service.show import OUT  # noqa: PLC0415
    from service.store.opening import open_store  # noqa: PLC0415

    settings = load(config)
    store = open_store(settings)
    try:
        retained = retain(store, settings.retention, WallClock().now_ms())
    finally:
        store.close()
    if as_json:
        typer.echo(json.dumps(retained._asdict()))
        return
    held = f", all held by snapshot {retained.snapshot}" if retained.snapshot else ""
    OUT.print(f"let go of: {retained.events:,} events, {retained.decisions:,} decisions{held}")
    OUT.print(f"let go of: {retained.changes:,} lines of the audit of the lists")
    most = settings.retention.max_entries
    if most in retained:
        OUT.print(f"there may be more: retention.max_entries ({most:,}) bounds one run")


def add_to(service: typer.Typer) -> None:
    """Add the command to a command line."""
    service.command("retention", epilog=_MORE)(retention)
