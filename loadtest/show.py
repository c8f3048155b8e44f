"""The result on the console."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtest.mix import EMPTY
from loadtest.result import Result
from loadtest.search import HELD
from loadtest.sla import Judgement

_COLOURS = {"PASS": "green", "FAIL": "red", "VOID": "yellow"}


def show(result: Result, page: Path) -> None:
    """Print the verdict with its reasons, and where the report is."""
    console = Console()
    judgement = result.judgement
    if result.steps:
        console.print(_search(result))
        console.print(
            f"saturation: {result.saturation:,.0f} calls a second of an open loop, of which {HELD:.0%} were answered "
            f"for {result.plan.confirm_s} s; "
            f"peak of the closed loop: {result.peak:,.0f}",
            highlight=False,
        )
    console.print(_kinds(result))
    if decided := result.decided:
        console.print(f"decided: {decided}", highlight=False)
    for code, words in result.words:
        console.print(f"the first {code} was told: {words}", highlight=False, markup=False)
    console.print(_promised(judgement))
    verdict = judgement.verdict.name
    console.print(f"[bold {_COLOURS[verdict]}]{verdict}[/]: {judgement.sentence}", highlight=False)
    console.print(f"report: {page}", highlight=False)


def _search(result: Result) -> Table:
    """Return the steps: calls in flight of the closed loop, then rates of the open one."""
    table = Table("search", "answered/s", "share", "p50 ms", "p99 ms", "refused", "")
    for step in result.steps:
        table.add_row(
            f"{step.rate:,.0f} a second" if step.open else f"{step.in_flight} in flight",
            f"{step.answered_per_s:,.0f}",
            f"{step.answered_share:.1%}",
            f"{step.p50_ms:.2f}",
            f"{step.p99_ms:.2f}",
            f"{step.refused:,}",
            step.outcome,
            style="" if step.open else "dim",
        )
    return table


def _kinds(result: Result) -> Table:
    title = f"{result.rate:,.0f} calls a second" + (", over all windows" if result.judgement.void else "")
    table = Table("calls", "due", "answered", "p50 ms", "p99 ms", "p99.9 ms", "max ms", title=title)
    for kind, tally in result.kinds():
        latencies = tally.latencies
        figures = (latencies.percentile_ms(0.5), latencies.percentile_ms(0.99), latencies.percentile_ms(0.999))
        row = (*(f"{one:.2f}" for one in figures), f"{latencies.max_us / 1000:.1f}")
        table.add_row(kind, f"{tally.calls:,}", f"{tally.answered:,}", *row, style="dim" if kind == EMPTY else "")
    return table


def _promised(judgement: Judgement) -> Table:
    """Return what was promised and seen: where it counts, and over all windows when that is not the same."""
    table = Table("promised", "seen, where it counts" if judgement.selects else "seen", "")
    if judgement.selects:
        table.add_column("over all windows")
    table.add_column("empty handler")
    for one in judgement.objectives:
        held = "[green]holds" if one.holds else "[red]missed"
        overall = (one.overall if one.overall_holds else f"[yellow]{one.overall}",) if judgement.selects else ()
        table.add_row(one.wanted, one.seen, held, *overall, one.empty_seen)
    return table
