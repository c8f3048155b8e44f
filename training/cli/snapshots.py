"""Commands on snapshots: snapshot, snapshots (delete, export, restore), verify."""

from __future__ import annotations

import json
import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.exit_codes import ExitCode
from training.cli.options import SNAPSHOTS, Config, Json, Snapshots
from training.console import OUT, fail, progress, show, table

if TYPE_CHECKING:  # commands start faster without what they do not use
    from training.snapshot.manifest import SnapshotManifest

app = typer.Typer()
snapshots = typer.Typer(
    help="List the snapshots of a folder; delete one, write one as an event file, or restore a lost store.",
    epilog="Examples:\n\n  python -m training snapshots --json\n\n  python -m training snapshots delete s000003",
)
app.add_typer(snapshots, name="snapshots")

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the snapshot, such as s000003.")]

ALL = "all"


@app.command(
    epilog="Examples:\n\n  python -m training snapshot --config fraud.toml\n\n"
    "  python -m training snapshot --max-events-per-s 5000 --notes nightly --json"
)
def snapshot(
    config: Config = None,
    folder: Snapshots = SNAPSHOTS,
    max_events_per_s: Annotated[
        int, typer.Option(min=0, help="Events and decisions to read of the store in a second; 0 = no bound.")
    ] = 20_000,
    notes: Annotated[str, typer.Option(help="For people; kept in the manifest.")] = "",
    as_json: Json = False,
) -> None:
    """Export what the store recorded since the last snapshot; run it again when it was interrupted, and it goes on."""
    from service.settings import load  # noqa: PLC0415
    from service.store.opening import open_store  # noqa: PLC0415
    from training.snapshot.export import ExportOptions, take_snapshot  # noqa: PLC0415

    settings = load(config)
    options = ExportOptions(settings.ingest.habits, settings.ingest.currency, max_events_per_s, notes)
    with closing(open_store(settings)) as store, progress(quiet=as_json) as tell:
        taken = take_snapshot(store, folder, options, datetime.now(UTC), tell)
    manifest = taken.manifest
    shown = {
        "id": manifest.id,
        "made": taken.made,
        "parent": manifest.parent,
        "new_events": taken.events,
        "new_decisions": taken.decisions,
        "new_bytes": taken.new_bytes,
        "events": manifest.rows_events,
        "decisions": manifest.rows_decisions,
        "gone_events": manifest.events.gone,
        "gone_decisions": manifest.decisions.gone,
        "content_sha256": manifest.content_sha256,
    }
    show(shown, as_json=as_json)
    if not (taken.made or as_json):
        OUT.print(f"nothing is new: {manifest.id} stands for what the store holds")


@snapshots.callback(invoke_without_command=True)
def list_(context: typer.Context, folder: Snapshots = SNAPSHOTS, as_json: Json = False) -> None:
    """List the snapshots of a folder; delete one, write one as an event file, or restore a lost store."""
    from training.snapshot.folder import read_manifest  # noqa: PLC0415
    from training.snapshot.folder import snapshots as ids  # noqa: PLC0415

    if context.invoked_subcommand is not None:
        return
    manifests = [read_manifest(folder, id_) for id_ in ids(folder)]
    listed = _listed(manifests)
    if as_json:
        typer.echo(json.dumps(listed))
    elif listed:
        OUT.print(table(listed))
    else:
        OUT.print(f"{folder} holds no snapshots: take one with `python -m training snapshot`")


@snapshots.command(epilog="Example: python -m training snapshots delete s000003")
def delete(id_: Id, folder: Snapshots = SNAPSHOTS, as_json: Json = False) -> None:
    """Delete a snapshot; the partitions that others use stay, and so do others that were made from it."""
    from training.snapshot.delete import delete_snapshot  # noqa: PLC0415

    deleted = delete_snapshot(folder, id_)
    show({"id": id_, "files": deleted.files, "bytes": deleted.bytes}, as_json=as_json)


@snapshots.command(epilog="Example: python -m training snapshots export latest events.parquet")
def export(
    id_: Id,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Event file to write (Parquet), for its owner alone.")],
    folder: Snapshots = SNAPSHOTS,
    as_json: Json = False,
) -> None:
    """Write the events of a snapshot as an event file, with the ids that the vault knows and the labels that came."""
    from training.snapshot.event_file import write_event_file  # noqa: PLC0415
    from training.snapshot.read import open_snapshot  # noqa: PLC0415

    os.umask(0o077)
    with progress(quiet=as_json) as tell:
        file = write_event_file(open_snapshot(folder, id_), out, tell)
    show({"path": str(file.path), "events": file.rows, "content_hash": file.content_hash}, as_json=as_json)


@snapshots.command(
    epilog="Example: python -m training snapshots restore latest --config fresh.toml, "
    "then python -m service rebuild --alone --config fresh.toml"
)
def restore(id_: Id, config: Config = None, folder: Snapshots = SNAPSHOTS, as_json: Json = False) -> None:
    """Put the events of a snapshot into the log of a fresh store that the settings name: for one that was lost."""
    from service.settings import load  # noqa: PLC0415
    from service.store.opening import open_store  # noqa: PLC0415
    from training.snapshot.read import open_snapshot  # noqa: PLC0415
    from training.snapshot.restore import restore as put_back  # noqa: PLC0415

    opened = open_snapshot(folder, id_)
    with closing(open_store(load(config))) as store, progress(quiet=as_json) as tell:
        events = put_back(opened, store, tell)
    show({"id": opened.manifest.id, "events": events}, as_json=as_json)
    if not as_json:
        OUT.print("next: make the profiles with `python -m service rebuild --alone`, with the same settings")


@app.command(epilog="Examples:\n\n  python -m training verify\n\n  python -m training verify s000003 --json")
def verify(
    id_: Annotated[str, typer.Argument(metavar="[ID]", help="Id of a snapshot, `latest` or `all`.")] = ALL,
    folder: Snapshots = SNAPSHOTS,
    as_json: Json = False,
) -> None:
    """Verify hashes, rows and positions of snapshots; exit code 1 names the file that is not as it was written."""
    from training.snapshot.folder import read_manifest  # noqa: PLC0415
    from training.snapshot.folder import snapshots as ids  # noqa: PLC0415
    from training.snapshot.verify import verify as verify_snapshots  # noqa: PLC0415

    wanted = ids(folder) if id_ == ALL else [id_]
    if id_ == "latest":
        wanted = [read_manifest(folder, id_).id]
    with progress(quiet=as_json) as tell:
        verified = verify_snapshots(folder, wanted, tell)
    findings = [finding._asdict() for finding in verified.findings]
    shown = {"snapshots": verified.snapshots, "partitions": verified.partitions, "bytes": verified.bytes}
    if as_json:
        typer.echo(json.dumps({**shown, "findings": findings}))
    else:
        show(shown, as_json=False)
        if findings:
            OUT.print(table(findings))
    if verified.findings:
        first = verified.findings[0]
        fail(f"{folder / first.path}: {first.problem}", ExitCode.FAILED)


def _listed(manifests: list[SnapshotManifest]) -> list[dict[str, Any]]:
    """Return a line for each snapshot; `bytes_new` are those that no older one that is there has."""
    known: set[str] = set()
    lines = []
    for manifest in manifests:
        own = [partition for partition in manifest.partitions if partition.path not in known]
        known |= {partition.path for partition in own}
        lines.append(
            {
                "id": manifest.id,
                "parent": manifest.parent or "",
                "created_at": manifest.created_at.isoformat(" ", "minutes"),
                "events": manifest.rows_events,
                "decisions": manifest.rows_decisions,
                "bytes_new": sum(partition.bytes for partition in own),
                "bytes_total": manifest.bytes(),
                "notes": manifest.notes,
            }
        )
    return lines
