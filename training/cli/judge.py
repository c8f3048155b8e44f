"""Commands that judge live versions by what was recorded: compare, backtest, drift."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.core.windows import DAY_MS
from service.exit_codes import ExitCode
from training.cli.options import (
    DATES,
    REGISTRY,
    SNAPSHOTS,
    Json,
    MetricsFile,
    Registry,
    SnapshotId,
    Snapshots,
    checked_options,
    milliseconds,
)
from training.console import fail, progress

if TYPE_CHECKING:  # commands start faster without what they do not use
    from training.judge.outcomes import Outcomes
    from training.snapshot.read import Snapshot

app = typer.Typer()

Cutoff = Annotated[
    datetime | None,
    typer.Option(
        formats=DATES,
        help="Judge by what was known then (UTC).",
        show_default="all that the snapshot holds",
    ),
]
LabelDelay = Annotated[float, typer.Option(min=0.0, help="Purchases younger than that are left out.")]


@app.command(
    epilog="Examples:\n\n  python -m training compare --metrics /var/lib/node_exporter/fraud.prom\n\n"
    "  python -m training compare --snapshot s000012 --label-delay-days 30"
)
def compare(
    snapshot: SnapshotId = "latest",
    snapshots: Snapshots = SNAPSHOTS,
    registry: Registry = REGISTRY,
    cutoff: Cutoff = None,
    label_delay_days: LabelDelay = 7.0,
    champion: Annotated[
        int | None, typer.Option(min=1, help="Version to compare with.", show_default="the champion of the registry")
    ] = None,
    review_rate: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the purchases that recall and precision look at.")
    ] = 0.02,
    seed: Annotated[int, typer.Option(min=0, help="The same snapshot and seed give the same intervals.")] = 7,
    metrics: MetricsFile = None,
    as_json: Json = False,
) -> None:
    """Judge every version that answered or scored in shadow on matured labels, each on what the champion scored too."""
    from service.registry.lineup_file import read_lineup  # noqa: PLC0415
    from training.judge.compare import champion_of  # noqa: PLC0415
    from training.judge.compare import compare as compare_versions  # noqa: PLC0415
    from training.judge.judgements import comparison_gauges, show_comparison  # noqa: PLC0415
    from training.judge.textfile import write_families  # noqa: PLC0415
    from training.snapshot.read import open_snapshot  # noqa: PLC0415

    opened = open_snapshot(snapshots, snapshot, reveal=False)
    outcomes = _outcomes(opened, cutoff, label_delay_days)
    if champion is None:
        lineup = read_lineup(registry)
        champion = lineup.champion if lineup is not None and lineup.champion in outcomes.versions else None
    with progress(quiet=as_json) as tell:
        judged = compare_versions(outcomes, champion_of(outcomes, champion), review_rate, seed, tell)
    if metrics is not None:
        write_families(metrics, comparison_gauges(judged))
    show_comparison(_heading(opened, outcomes), judged, as_json=as_json)


@app.command(
    epilog="Examples:\n\n  python -m training backtest --review 0.1 --decline 0.6\n\n"
    "  python -m training backtest --policy policy.toml --out changed.parquet\n\n"
    "  python -m training backtest --version 9 --out changed.parquet\n\n"
    "  python -m training backtest --blend 7,8 --review 0.1 --decline 0.6 --json"
)
def backtest(
    snapshot: SnapshotId = "latest",
    snapshots: Snapshots = SNAPSHOTS,
    registry: Registry = REGISTRY,
    cutoff: Cutoff = None,
    label_delay_days: LabelDelay = 7.0,
    review: Annotated[
        float | None, typer.Option(help="Score from which a purchase is reviewed.", show_default="see above")
    ] = None,
    decline: Annotated[
        float | None, typer.Option(help="Score from which a purchase is declined.", show_default="see above")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Version whose score decides.")] = None,
    blend: Annotated[str, typer.Option(metavar="V,V,…", help="Versions whose mean score decides.")] = "",
    policy: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Policy that decides: a file, or the number of a published one.",
            show_default="as then",
        ),
    ] = "",
    degraded_rule: Annotated[
        str, typer.Option(help="What degraded answers decide, where no policy says it: the scoring.degraded_rule.")
    ] = "at_least_review",
    patterns: Annotated[
        Path | None, typer.Option(metavar="EVENTS", help="Simulated event file that names the patterns of fraud.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parquet file to write what is decided otherwise to.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what another policy, other thresholds, another version or a blend would have decided, and what that means.

    A threshold that is not given stays what it was; with --version it is that version's own, and with --blend
    the one that stops as many purchases as were stopped. With --policy a table tells what each of its rules does;
    without it the rules that held then hold now. Listings count where they counted then.
    """
    from training.data.events import frames  # noqa: PLC0415
    from training.judge.backtest import backtest as judge_sides  # noqa: PLC0415
    from training.judge.backtest import caught_by_pattern, pattern_names, write_changed  # noqa: PLC0415
    from training.judge.judgements import show_backtest  # noqa: PLC0415
    from training.judge.proposal import Proposal, Recorded, decide_anew  # noqa: PLC0415
    from training.policies import policy_named  # noqa: PLC0415
    from training.snapshot.read import open_snapshot  # noqa: PLC0415

    versions = _versions(version, blend)
    rules = policy_named(registry, policy) if policy else None
    values = {
        "versions": versions,
        "review": review,
        "decline": decline,
        "degraded_rule": degraded_rule,
        "policy": rules,
    }
    proposal = checked_options(Proposal, values)
    opened = open_snapshot(snapshots, snapshot, reveal=out is not None or patterns is not None)
    outcomes = _outcomes(opened, cutoff, label_delay_days)
    with progress(quiet=as_json) as tell:
        recorded = Recorded(opened, opened.manifest.layouts, registry, opened.manifest.habits)
        proposed = decide_anew(recorded, outcomes, proposal, tell)
    found = judge_sides(proposed.frame, proposed.scores, proposed.decisions)
    named = None if patterns is None else pattern_names(frames(patterns, ("purchase_id", "pattern")))
    by_pattern = [] if named is None else caught_by_pattern(proposed.frame, proposed.decisions, named)
    if out is not None:
        write_changed(out, found.changed)
    show_backtest(_heading(opened, outcomes), proposed, found, by_pattern, out, as_json=as_json)


@app.command(
    epilog="Examples:\n\n  python -m training drift\n\n"
    "  python -m training drift --version 7 --days 1 --fail-above 0.25"
)
def drift(
    snapshot: SnapshotId = "latest",
    snapshots: Snapshots = SNAPSHOTS,
    registry: Registry = REGISTRY,
    version: Annotated[
        int | None, typer.Option(min=1, help="Version whose training is compared with.", show_default="the champion")
    ] = None,
    days: Annotated[float, typer.Option(min=0.001, help="How far back from the newest decision.")] = 7.0,
    fail_above: Annotated[
        float | None, typer.Option(min=0.0, help="End with exit code 1 when an index is larger.", show_default="never")
    ] = None,
    metrics: MetricsFile = None,
    as_json: Json = False,
) -> None:
    """Measure how far recent decisions have drifted from a version's training: features, and its score."""
    from service.registry.artifact import read_manifest, version_path  # noqa: PLC0415
    from service.registry.lineup_file import read_lineup  # noqa: PLC0415
    from training.judge.drift import measure_drift, newest_decision_ms  # noqa: PLC0415
    from training.judge.judgements import drift_gauges, show_drift  # noqa: PLC0415
    from training.judge.textfile import write_families  # noqa: PLC0415
    from training.snapshot.read import open_snapshot  # noqa: PLC0415

    opened = open_snapshot(snapshots, snapshot, reveal=False)
    if version is None:
        lineup = read_lineup(registry)
        if lineup is None:
            fail(f"{registry} has no champion: say which --version", ExitCode.NOT_FOUND)
        version = lineup.champion
    manifest = read_manifest(version_path(registry, version))
    since_ms = newest_decision_ms(opened) - int(days * DAY_MS)
    with progress(quiet=as_json) as tell:
        found = measure_drift(opened, manifest, opened.manifest.layouts, registry, since_ms, tell)
    if metrics is not None:
        write_families(metrics, drift_gauges(found, version))
    drifted = [name for name, one in found.columns.items() if fail_above is not None and one.value > fail_above]
    show_drift(opened.manifest.id, version, found, drifted, as_json=as_json)
    if drifted:
        raise typer.Exit(ExitCode.FAILED)


def _outcomes(opened: Snapshot, cutoff: datetime | None, label_delay_days: float) -> Outcomes:
    from training.judge.outcomes import Maturity, load_outcomes  # noqa: PLC0415

    newest_ms = opened.manifest.newest_ingest_ms
    cutoff_ms = milliseconds(cutoff)
    return load_outcomes(
        opened, Maturity(newest_ms if cutoff_ms is None else cutoff_ms, int(label_delay_days * DAY_MS))
    )


def _heading(opened: Snapshot, outcomes: Outcomes) -> dict[str, Any]:
    maturity = outcomes.maturity
    times = {"cutoff_ms": maturity.cutoff_ms, "purchases_before_ms": maturity.end_ms}
    return {"snapshot": opened.manifest.id, **times, **outcomes.shares()}


def _versions(version: int | None, blend: str) -> tuple[int, ...]:
    if version is not None and blend:
        raise typer.BadParameter("give --version or --blend, not both", param_hint="--blend")
    if version is not None:
        return (version,)
    try:
        versions = tuple(int(number) for number in blend.split(",")) if blend else ()
    except ValueError as error:
        raise typer.BadParameter(f"{blend!r} is not a list of versions like 7,8", param_hint="--blend") from error
    if len(versions) == 1 or any(number < 1 for number in versions):
        raise typer.BadParameter("a blend is of two versions or more", param_hint="--blend")
    return versions
