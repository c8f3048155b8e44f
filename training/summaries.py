"""What commands print of what was done: the same values for people and, as JSON, for machines."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import typer

from training.console import OUT, table

if TYPE_CHECKING:  # commands start faster without what they do not use
    from training.benchmark.handbook import WeekResult
    from training.data.importer import ImportSummary
    from training.learning.runs import Run
    from training.learning.train import TrainSummary


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


def run_line(run: Run) -> dict[str, Any]:
    """Return a run as a line of a table: AP on the part that judges, and its gain over the champion there."""
    against = run.comparison
    return {
        "run": run.id,
        "state": run.state,
        "data": "" if run.source is None else run.source.id,
        "AP": run.average_precision,
        "gain": "" if against is None else f"{against.difference.value:+.4f}",
        "version": run.version,
        "options": " ".join([*([] if run.command == "train" else [run.command]), _changed(run)]),
    }


def _changed(run: Run) -> str:
    """Return what a training was told beside the defaults."""
    from training.learning.options import TrainOptions  # noqa: PLC0415  brings LightGBM along

    usual = TrainOptions().model_dump(mode="json")
    told = run.options.get("train", run.options)
    if not isinstance(told, dict):
        return ""
    changed = {name: value for name, value in told.items() if usual.get(name) != value}
    parameters = changed.pop("parameters", None)
    if isinstance(parameters, dict):
        changed |= parameters
    return " ".join(f"{name}={value}" for name, value in changed.items() if not isinstance(value, list))


def show_training(summary: TrainSummary, *, as_json: bool) -> None:
    """Print what a training gave: metrics by part, thresholds with their reasons, and what to do next."""
    metrics = {
        part: {name: interval.model_dump() for name, interval in values.items()}
        for part, values in summary.metrics.items()
    }
    against = summary.comparison
    shown = {
        "version": summary.version,
        "run": summary.run,
        "registry": str(summary.registry),
        "rows": summary.rows,
        "frauds": summary.frauds,
        "thresholds": summary.thresholds.model_dump(),
        "recall": summary.recall,
        "metrics": metrics,
        "comparison": None if against is None else against.model_dump(),
    }
    if as_json:
        typer.echo(json.dumps(shown))
        return
    lines = [
        {
            "part": part.replace("_", " "),
            "metric": name.replace("_", " "),
            "value": one["value"],
            "95 %": _interval(one["low"], one["high"]),
        }
        for part, values in metrics.items()
        for name, one in values.items()
    ]
    OUT.print(table(lines))
    parts = [{"part": name, "rows": rows, "frauds": summary.frauds[name]} for name, rows in summary.rows.items()]
    OUT.print(table(parts))
    OUT.print(summary.thresholds.why)
    if against is not None:
        OUT.print(
            f"against the champion, version {against.champion}: {against.metric.replace('_', ' ')} "
            f"{against.candidate_value:.4f} and {against.champion_value:.4f}, "
            f"difference {against.difference.value:+.4f} "
            f"({_interval(against.difference.low, against.difference.high)})"
        )
    if summary.version is None:
        OUT.print(f"run [bold]{summary.run}[/bold] is kept, and nothing was published")
        return
    report = summary.registry / "versions" / f"{summary.version:06d}" / "report.html"
    OUT.print(f"version [bold]{summary.version}[/bold] is published, report: {report}")
    OUT.print(f"make it live: python -m training promote {summary.version} --registry {summary.registry}")


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
