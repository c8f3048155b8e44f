"""What people see on the command line: outcomes, profiles and decisions as tables."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import typer
from rich.console import Console
from rich.table import Table

OUT: Final = Console()
ERR: Final = Console(stderr=True)
SCREENFUL: Final = 20


def print_outcomes(counts: Counter[str], problems: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print how many events had which outcome, and the first that were not taken."""
    if as_json:
        typer.echo(json.dumps({"outcomes": counts, "problems": problems}))
        return
    for name, count in sorted(counts.items()):
        OUT.print(f"{name:<10} {count:>10,}")
    for problem in problems[:SCREENFUL]:
        ERR.print(f"line {problem['line']}: {problem['status']}: {problem['field']} {problem['reason']}")
    if len(problems) > SCREENFUL:
        ERR.print(f"… and {len(problems) - SCREENFUL:,} more")


def print_message(message: Any) -> None:  # noqa: ANN401  any response
    """Print a response as one line of JSON."""
    from google.protobuf import json_format  # noqa: PLC0415

    typer.echo(json_format.MessageToJson(message, always_print_fields_with_no_presence=True, indent=None))


def when(time_ms: int) -> str:
    """Return a time for people; 0 is never."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") + "Z" if time_ms else "never"


def print_profile(kind: str, entity_id: str, shown: dict[str, Any]) -> None:
    """Print a profile as tables."""
    OUT.print(f"[bold]{kind} {entity_id}[/bold]  revision {shown['revision']}")
    table = Table("total", "value")
    for name, value in shown["totals"].items():
        table.add_row(name, when(value) if name.endswith("_ms") else f"{value:,}")
    OUT.print(table)
    for name, series in shown["series"].items():
        if not series["buckets"]:
            continue
        first = next(iter(series["buckets"].values()))
        table = Table("bucket", *first, title=f"series {name}")
        for bucket, sums in series["buckets"].items():
            table.add_row(when(int(bucket) * series["bucket_ms"]), *(f"{value:,}" for value in sums.values()))
        OUT.print(table)
    for name, entries in shown["recent"].items():
        if entries:
            table = Table("id (hashed)", "last met", title=f"recent {name}")
            for entry, time_ms in entries.items():
                table.add_row(entry, when(time_ms))
            OUT.print(table)


def print_decision(document: dict[str, Any]) -> None:
    """Print a decision as tables: verdict, reasons, profiles, scores, row."""
    purchase = document["purchase"]
    OUT.print(
        f"[bold]{document['decision']}[/bold]  purchase {purchase['purchase_id']}  score {document['score']:.4f}  "
        f"(review from {document['thresholds']['review']:.4f}, decline from {document['thresholds']['decline']:.4f})"
    )
    OUT.print(
        f"decided {when(document['decided_at_ms'])}  lineup {document['lineup_revision']}  "
        f"versions {document['model_versions']}"
        + ("  [yellow]degraded[/yellow]" if document["degraded"] else "")
        + ("  recorded" if document["recorded"] else "")
        + (f"  let through by chance, as {document['control_share']:.3%} of declines" if document["control"] else "")
    )
    OUT.print(
        f"user {purchase['user_id']}  seller {purchase['seller_id'] or '-'}  item {purchase['item_id'] or '-'}  "
        f"amount {purchase['amount_minor']:,} {purchase['currency']} minor units  quantity {purchase['quantity']}  "
        f"at {when(purchase['event_time_ms'])}"
    )
    if document["score_decision"] not in {None, document["decision"]}:
        OUT.print(f"the score alone said {document['score_decision']}")
    if document["policy_version"] or document["rules"]:
        active = f"policy {document['policy_version']}" if document["policy_version"] else "no policy"
        OUT.print(f"{active}, rules that held: {', '.join(document['rules']) or 'none'}")
    if document["reasons"]:
        table = Table("log-odds", "reason", "feature or rule", title="reasons")
        for reason in document["reasons"]:
            weight = "" if reason["code"] in document["rules"] else f"{reason['contribution']:+.2f}"
            table.add_row(weight, reason["text"], reason["code"])
        OUT.print(table)
    table = Table("profile", "revision read", title="profiles as they were read")
    for kind, seen in document["profiles"].items():
        table.add_row(kind, seen)
    OUT.print(table)
    table = Table("version", "score", "raw score", "role", title="scores")
    for one in document["scores"]:
        role = "shadow" if one["shadow"] else "answer"
        table.add_row(str(one["version"]), f"{one['score']:.6f}", f"{one['raw_score']:.6f}", role)
    OUT.print(table)
    table = Table("feature", "value", title="row")
    for name, value in document["row"].items():
        table.add_row(name, "unknown" if value is None else f"{value:.6g}")
    OUT.print(table)
