"""The command that computes rows: replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from service.core.profile import Habits
from training.cli.options import SNAPSHOTS, Dask, Json, Snapshots
from training.console import progress, show

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n  python -m training replay --snapshot latest rows.parquet\n\n"
    "  python -m training replay events.parquet rows.parquet"
)
def replay(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="[EVENTS] OUT", help="Event file, without --snapshot; rows to write."),
    ],
    snapshot: Annotated[str, typer.Option(help="Replay a snapshot, by its revisions; latest = the newest.")] = "",
    snapshots: Snapshots = SNAPSHOTS,
    habits: Annotated[
        str, typer.Option(help="What habits are made of: attempts or settlements; a snapshot knows it itself.")
    ] = "attempts",
    dask: Dask = "",
    partitions: Annotated[
        int, typer.Option(min=0, max=100, help="Parts of the entities, replayed each by itself; 0 = by the size.")
    ] = 0,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder with room for the rows; every worker of a cluster sees it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay an event file or a snapshot to the rows that the service would have built, one for each purchase.

    An event file is replayed in one go, unless --dask or --partitions is given; the rows are the same.
    """
    from service.core.features import FEATURES  # noqa: PLC0415  other commands start faster without it
    from training.replay.by_entity import Spread  # noqa: PLC0415
    from training.replay.cluster import cluster_at  # noqa: PLC0415
    from training.replay.rows_file import write_rows, write_rows_by_entity  # noqa: PLC0415
    from training.snapshot.read import open_snapshot  # noqa: PLC0415

    *sources, out = files
    if len(sources) != (0 if snapshot else 1):
        raise typer.BadParameter("give EVENTS and OUT, or --snapshot and OUT", param_hint="[EVENTS] OUT")
    if habits not in get_args(Habits):
        raise typer.BadParameter(f"{habits!r} is neither {' nor '.join(get_args(Habits))}", param_hint="--habits")
    made_of = cast(Habits, habits)
    source = open_snapshot(snapshots, snapshot) if snapshot else sources[0]
    with progress(quiet=as_json) as tell, cluster_at(dask) as cluster:
        if isinstance(source, Path) and not (dask or partitions):
            rows = write_rows(source, out, FEATURES, made_of, tell)
        else:
            rows = write_rows_by_entity(source, out, FEATURES, made_of, Spread(cluster, partitions, scratch), tell)
    show({"path": str(out), "rows": rows, "features": len(FEATURES)}, as_json=as_json)
