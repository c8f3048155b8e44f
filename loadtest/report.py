"""The report of a load test: one HTML file with its plots inside, that works offline and can be mailed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from loadtest.charts import charts
from loadtest.result import Result
from loadtest.search import HELD
from loadtest.sla import WINDOW_S, told_errors

_PAGES: Final = Environment(
    loader=ChoiceLoader([PackageLoader("loadtest"), PackageLoader("training.report")]),  # the latter has page.css
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

BUSY_CORES: Final = 0.85
"""Share of a core from which a generator makes calls late by itself."""


def folder_of(result: Result, out: Path) -> Path:
    """Return where the report of a test goes: a folder of its own, named by when it began (UTC)."""
    return out / f"{result.began_at:%Y%m%d-%H%M%S}"


def write_report(result: Result, folder: Path) -> Path:
    """Write report.html and result.json; returns the page. Cost: less than a second."""
    result.write(folder)
    page = folder / "report.html"
    page.write_text(report_html(result), encoding="utf-8")
    return page


def report_html(result: Result) -> str:
    """Return the page; the same result gives the same page."""
    judgement = result.judgement
    return _PAGES.get_template("report.html.j2").render(
        result=result,
        verdict=judgement.verdict.name,
        judgement=judgement,
        calls=result.calls,
        kinds=[(kind, tally, tally.latencies, told_errors(tally.codes)) for kind, tally in result.kinds()],
        charts=list(charts(result)),
        notes=list(_notes(result)),
        window_s=WINDOW_S,
        held=HELD,
        percentiles=(0.5, 0.9, 0.99, 0.999, 0.9999),
    )


def _notes(result: Result) -> list[str]:
    """Return what a reader should know before believing the figures."""
    notes = []
    if result.generator_cores > BUSY_CORES:
        notes.append(
            f"The generators were busy on {result.generator_cores:.2f} cores: latencies include the time that calls "
            "waited to be sent. With cores to spare, use more of them (--generators)."
        )
    if result.plan.rate and not result.steps:
        notes.append("The rate was given, so nobody knows which share of saturation it is.")
    if void := result.judgement.void:
        notes.append(
            f"{void:,} of {result.judgement.windows:,} windows of {WINDOW_S} s are void: the empty handler was late in "
            "them, or failed. Limits and refusals are judged over those that are left, when they are at least half; "
            "all else over all of them. What was seen over all stands beside what counts."
        )
    if result.judgement.verdict.name == "VOID":
        notes.append("A void run says neither that the service level holds nor that it does not.")
    return notes
