"""What commands print of what was done: the same values for people and, as JSON, for machines."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import typer

from training.console import OUT, table

if TYPE_CHECKING:  # commands start faster without what they do not use
    from training.handbook import WeekResult
    from training.importer import ImportSummary
    from training.train import TrainSummary


def import_values(summary: ImportSummary) -> dict[str, Any]:
    """Return what an import did."""
    return {
        "path": str(summary.file.path),
        "events": summary.file.rows,
        "content_hash": summary.file.content_hash,
        "rows": summary.rows,
        "rejected": summary.rejected,
        "rejected_path": None if summary.rejected_path is None else str(summary.rejected_path),
        "rounded_amounts": summary.rounded_amounts,
        "purchases": summary.purchases,
        "frauds": summary.frauds,
        "first_event_ms": summary.first_event_ms,
        "last_event_ms": summary.last_event_ms,
    }


def week_values(week: WeekResult) -> dict[str, Any]:
    """Return what a test week gave."""
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in week._asdict().items()}


def show_training(summary: TrainSummary, *, as_json: bool) -> None:
    """Print what a training gave: metrics by part, thresholds with their reasons, and what to do next."""
    metrics = {
        part: {name: interval.model_dump() for name, interval in values.items()}
        for part, values in summary.metrics.items()
    }
    shown = {
        "version": summary.version,
        "registry": str(summary.registry),
        "rows": summary.rows,
        "frauds": summary.frauds,
        "thresholds": summary.thresholds.model_dump(),
        "recall": summary.recall,
        "metrics": metrics,
    }
    if as_json:
        typer.echo(json.dumps(shown))
        return
    lines = [
        {
            "part": part.replace("_", " "),
            "metric": name.replace("_", " "),
            "value": one["value"],
            "95 %": "" if one["low"] is None else f"{one['low']:.3f} to {one['high']:.3f}",
        }
        for part, values in metrics.items()
        for name, one in values.items()
    ]
    OUT.print(table(lines))
    parts = [{"part": name, "rows": rows, "frauds": summary.frauds[name]} for name, rows in summary.rows.items()]
    OUT.print(table(parts))
    OUT.print(summary.thresholds.why)
    report = summary.registry / "versions" / f"{summary.version:06d}" / "report.html"
    OUT.print(f"version [bold]{summary.version}[/bold] is published, report: {report}")
    OUT.print(f"make it live: python -m training promote {summary.version} --registry {summary.registry}")
