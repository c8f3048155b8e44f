"""Deleting a snapshot: its own partitions go, those that others use stay."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from service.errors import BadSetting
from training.snapshot.folder import (
    bury,
    drop_checkpoint,
    read_checkpoint,
    remove_unlisted,
    snapshots,
    sole_export,
)


class Deleted(NamedTuple):
    """What went."""

    files: int
    bytes: int


def delete_snapshot(folder: Path, id_: str) -> Deleted:
    """Delete a snapshot; others, its children too, stay whole. Its number is not used again.

    What only it held is in no snapshot any more; the next one exports it again as far as the store still has
    it. A crash leaves files that the next export or deletion removes. Raises BadSetting when there is no
    such snapshot or when another process is taking one.
    """
    if not folder.is_dir():
        raise BadSetting(f"snapshots {folder}: there is no such folder")
    with sole_export(folder):
        if id_ not in snapshots(folder):
            raise BadSetting(f"snapshots {folder}: there is no snapshot {id_}")
        checkpoint = read_checkpoint(folder)
        if checkpoint is not None and checkpoint.parent == id_:
            drop_checkpoint(folder)
        bury(folder, id_)
        return Deleted(*remove_unlisted(folder))
