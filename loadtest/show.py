"""The result on the console."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtest.mix import EMPTY
from loadtest.result import Result

_COLOURS = {"PASS": "green", "FAIL": "red", "VOID": "yellow"}


def show(result: Result, page: Path) -> None:
    """Print the verdict with its reasons, and where the report is."""
    console = Console()
    verdict, sentence, objectives = result.judgement
    kinds = Table(
        "calls", "due", "answered", "p50 ms", "p99 ms", "p99.9 ms", "max ms", title=f"{result.rate:,.0f} calls a second"
    )
    for kind, tally in result.kinds():
        latencies = tally.latencies
        figures = (latencies.percentile_ms(0.5), latencies.percentile_ms(0.99), latencies.percentile_ms(0.999))
        row = (*(f"{one:.2f}" for one in figures), f"{latencies.max_us / 1000:.1f}")
        kinds.add_row(kind, f"{tally.calls:,}", f"{tally.answered:,}", *row, style="dim" if kind == EMPTY else "")
    console.print(kinds)
    promised = Table("promised", "seen", "", "empty handler")
    for one in objectives:
        held = "[green]holds" if one.holds else "[red]missed"
        promised.add_row(one.wanted, one.seen, held, one.empty_seen)
    console.print(promised)
    console.print(f"[bold {_COLOURS[verdict.name]}]{verdict.name}[/]: {sentence}", highlight=False)
    console.print(f"report: {page}", highlight=False)
