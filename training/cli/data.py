"""Commands that make and read event files: simulate, import, record."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import Events, Json, Since, Until, checked_options, milliseconds
from training.console import ERR, progress, show
from training.summaries import import_values

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n  python -m training simulate market.parquet\n\n"
    "  python -m training simulate big.parquet --purchases 2500000 --days 180 --seed 11 --json"
)
def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Event file to write (Parquet).")],
    purchases: Annotated[int, typer.Option(help="Purchases in all.")] = 100_000,
    days: Annotated[int, typer.Option(help="Days of purchases.")] = 60,
    users: Annotated[int, typer.Option(help="Honest users; 0 = one for every 12 purchases.")] = 0,
    sellers: Annotated[int, typer.Option(help="Honest sellers; 0 = one for every 200 purchases.")] = 0,
    items: Annotated[int, typer.Option(help="Items of honest sellers; 0 = ten for every seller.")] = 0,
    fraud_rate: Annotated[float, typer.Option(help="Share of the purchases that are fraud.")] = 0.01,
    last_day: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The last day (UTC).", show_default="2026-07-30")
    ] = datetime(2026, 7, 30, tzinfo=UTC),
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 7,
    as_json: Json = False,
) -> None:
    """Simulate a market: registrations, purchases, settlements, reports, chargebacks and named frauds."""
    from training.simulate import MarketSettings  # noqa: PLC0415  other commands start faster without it
    from training.simulate import simulate as simulate_market  # noqa: PLC0415

    values = {
        "purchases": purchases,
        "days": days,
        "users": users,
        "sellers": sellers,
        "items": items,
        "fraud_rate": fraud_rate,
        "last_day": last_day.date(),
        "seed": seed,
    }
    settings = checked_options(MarketSettings, values)
    with progress(quiet=as_json) as tell:
        summary = simulate_market(settings, out, tell)
    shown = {
        "path": str(summary.file.path),
        "events": summary.file.rows,
        "content_hash": summary.file.content_hash,
        "purchases": summary.purchases,
        "frauds": summary.frauds,
        "patterns": summary.patterns,
        "first_event_ms": summary.first_event_ms,
        "last_event_ms": summary.last_event_ms,
    }
    show(shown, as_json=as_json)


@app.command(
    "import",
    epilog="Examples:\n\n  python -m training import transactions.parquet events.parquet --mapping handbook\n\n"
    "  python -m training import sales.csv events.parquet --mapping sales.toml --strict",
)
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet, CSV or JSON Lines.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Event file to write (Parquet).")],
    mapping: Annotated[str, typer.Option("--mapping", "-m", help="TOML file, or the name of a built-in mapping.")],
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the file when any row is bad.")] = False,
    as_json: Json = False,
) -> None:
    """Import purchases from a file; FRAUD_HASH_KEY holds the key for ids that the mapping hashes."""
    from training.data.importer import import_file  # noqa: PLC0415
    from training.data.mapping import load_mapping  # noqa: PLC0415

    key = os.environ.get("FRAUD_HASH_KEY", "").encode()
    with progress(quiet=as_json) as tell:
        summary = import_file(source, load_mapping(mapping), out, tell, strict=strict, hash_key=key)
    show(import_values(summary), as_json=as_json)
    for finding in summary.findings if not as_json else ():
        ERR.print(f"left out: {finding}")


@app.command(
    epilog="Examples:\n\n  python -m training record events.parquet --target 127.0.0.1:50051\n\n"
    "  python -m training record events.parquet --since 2026-07-20 --score"
)
def record(
    events: Events,
    target: Annotated[str, typer.Option("--target", "-t", help="host:port of a service on the event clock.")] = (
        "127.0.0.1:50051"
    ),
    since: Since = None,
    until: Until = None,
    score: Annotated[
        bool, typer.Option("--score", help="Ask for a decision on every purchase, and record it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Record an event file into a running service, in its order; running it again is harmless."""
    from service.client import FraudClient  # noqa: PLC0415
    from training.live import BEYOND_MS, Span, record_file  # noqa: PLC0415

    span = Span(milliseconds(since) or 0, milliseconds(until) or BEYOND_MS)
    with FraudClient(target, score_deadline_ms=1000) as client, progress(quiet=as_json) as tell:
        outcomes = record_file(client, events, tell, span, score=score)
    show(dict(sorted(outcomes.items())), as_json=as_json)
