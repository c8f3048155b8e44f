"""The command that holds what was served to what replay makes of it: parity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.exit_codes import ExitCode
from training.cli.options import REGISTRY, SNAPSHOTS, Dask, Json, MetricsFile, Registry, SnapshotId, Snapshots
from training.console import OUT, fail, progress, show, table

if TYPE_CHECKING:  # commands start faster without what they do not use
    from training.judge.parity import Parity

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n  python -m training parity --decisions 100000\n\n"
    "  python -m training parity --snapshot s000012 --metrics /var/lib/node_exporter/parity.prom"
)
def parity(
    snapshot: SnapshotId = "latest",
    snapshots: Snapshots = SNAPSHOTS,
    registry: Registry = REGISTRY,
    decisions: Annotated[int, typer.Option(min=0, help="Compare the newest so many; 0 = all.")] = 0,
    scratch: Annotated[Path | None, typer.Option(help="Folder with room for the rows, 8 bytes a value.")] = None,
    dask: Dask = "",
    metrics: MetricsFile = None,
    as_json: Json = False,
) -> None:
    """Replay the rows of recorded decisions from the revisions that they read; ends with 1 when any value differs."""
    from training.judge.judgements import numbers  # noqa: PLC0415
    from training.judge.parity import parity as compare  # noqa: PLC0415
    from training.judge.parity import parity_gauges, parity_values  # noqa: PLC0415
    from training.judge.textfile import write_families  # noqa: PLC0415
    from training.replay.by_entity import Spread  # noqa: PLC0415
    from training.replay.cluster import cluster_at  # noqa: PLC0415
    from training.snapshot.read import open_snapshot  # noqa: PLC0415

    opened = open_snapshot(snapshots, snapshot)
    with progress(quiet=as_json) as tell, cluster_at(dask) as cluster:
        found = compare(opened, registry, Spread(cluster, scratch=scratch), decisions, tell)
    if metrics is not None:
        write_families(metrics, parity_gauges(found))
    if as_json:
        typer.echo(json.dumps(numbers({"snapshot": opened.manifest.id, **parity_values(found)})))
    else:
        _show(opened.manifest.id, found)
    if not found.equal:
        count = found.features.total() + found.scores.total()
        fail(f"{count:,} values of {len(found.purchases):,} purchases differ from their replay", ExitCode.FAILED)


def _show(snapshot: str, found: Parity) -> None:
    """Print what was compared, then what differs."""
    shown = {
        "snapshot": snapshot,
        "decisions": found.decisions,
        "rows_compared": found.compared,
        "values_compared": found.values,
        "scores_compared": found.scored,
        "differences": found.features.total() + found.scores.total(),
    }
    show(shown, as_json=False)
    differing = [{"feature": name, "differences": count} for name, count in found.features.most_common() if count]
    if differing:
        OUT.print(table(differing))
    if found.differences:
        OUT.print(table([one._asdict() for one in found.differences[:20]]))
    for reason, count in sorted(found.left_out.items()):
        OUT.print(f"not compared: {count:,} times, {reason}")
