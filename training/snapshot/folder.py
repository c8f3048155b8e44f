"""The folder of snapshots: names, manifests, the lock, and files that only their owner may read.

What stands in it:

    partitions/events/2026-07-14/s000003-000012.parquet      written by s000003, part of every later one
    partitions/decisions/2026-07-14/s000003-000004.parquet
    manifests/s000003.json     a snapshot, from the moment at which this file has its name
    manifests/s000003.verified when it was found whole, for `service retention`
    manifests/s000002.deleted  its number is not used again
    vault.sqlite               ids and their pseudonyms
    checkpoint.json            what an export under way, or interrupted, has written
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from service.errors import BadSetting
from service.registry.files import sync_directory
from service.registry.manifest import Part
from service.vault import sole
from service.verified import mark_path
from training.snapshot.manifest import ID_PATTERN, KINDS, Draft, SnapshotManifest

LATEST: Final = "latest"

_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
_MANIFEST: Final = re.compile(rf"({ID_PATTERN})\.(json|deleted)")
_PARTITION: Final = re.compile(rf"{ID_PATTERN}-[0-9]{{6,}}\.parquet")

Read = TypeVar("Read", bound=Part)


def manifest_path(folder: Path, id_: str) -> Path:
    """Return where the manifest of a snapshot is."""
    return folder / "manifests" / f"{id_}.json"


def snapshots(folder: Path) -> list[str]:
    """Return the ids of all snapshots, oldest first; none where there is no folder."""
    return [id_ for id_, kind in _numbered(folder) if kind == "json"]


def next_id(folder: Path) -> str:
    """Return the id of the next snapshot; that of one that was deleted is not given again."""
    taken = [int(id_[1:]) for id_, _ in _numbered(folder)]
    return f"s{max(taken, default=0) + 1:06d}"


def read_manifest(folder: Path, id_: str) -> SnapshotManifest:
    """Return the manifest of a snapshot, also of "latest". Raises BadSetting when it is not there or not one."""
    known = snapshots(folder)
    wanted = known[-1] if id_ == LATEST and known else id_
    if wanted not in known:
        there = f"there are {', '.join(known[-5:])}" if known else "take one with `python -m training snapshot`"
        raise BadSetting(f"snapshots {folder}: there is no snapshot {id_}; {there}")
    path = manifest_path(folder, wanted)
    manifest = _read(path, SnapshotManifest)
    if manifest.id != wanted:
        raise BadSetting(f"snapshot manifest {path}: it is that of {manifest.id}")
    return manifest


def write_manifest(folder: Path, manifest: SnapshotManifest) -> None:
    """Make a snapshot exist, durably: the last step of an export. The caller holds the lock."""
    replace_private(manifest_path(folder, manifest.id), manifest.model_dump_json(indent=1).encode())


def bury(folder: Path, id_: str) -> None:
    """Make a snapshot exist no more, and keep its number from being used again. The caller holds the lock."""
    path = manifest_path(folder, id_)
    replace_private(path.with_suffix(".deleted"), b"")
    mark_path(folder, id_).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def read_checkpoint(folder: Path) -> Draft | None:
    """Return what an interrupted export has written, None for none or for one that cannot be read."""
    try:
        return _read(folder / "checkpoint.json", Draft)
    except BadSetting:
        return None


def write_checkpoint(folder: Path, draft: Draft) -> None:
    """Note what an export has written; that is durable when this returns."""
    replace_private(folder / "checkpoint.json", draft.model_dump_json().encode())


def drop_checkpoint(folder: Path) -> None:
    """Forget what an export has written."""
    (folder / "checkpoint.json").unlink(missing_ok=True)


def remove_unlisted(folder: Path) -> tuple[int, int]:
    """Remove the files that neither a snapshot nor the checkpoint lists; returns how many, and their bytes.

    They are those of a snapshot that was deleted, or what a crash left before it was noted. Manifests are read
    only when there is a file whose own snapshot does not exist. The caller holds the lock.
    """
    checkpoint = read_checkpoint(folder)
    kept = {partition.path for partition in checkpoint.partitions} if checkpoint else set()
    own = set(snapshots(folder))
    loose = [path for path in _written(folder) if path.name.partition("-")[0] not in own]
    if any(path.relative_to(folder).as_posix() not in kept for path in loose):
        for id_ in own:
            kept |= {partition.path for partition in read_manifest(folder, id_).partitions}
    removed = [path for path in loose if path.relative_to(folder).as_posix() not in kept]
    size = sum(path.stat().st_size for path in removed)
    for path in removed:
        path.unlink()
        with suppress(OSError):  # a day that has other files
            path.parent.rmdir()
    return len(removed), size


def _written(folder: Path) -> Iterator[Path]:
    for kind in KINDS:
        for path in (folder / "partitions" / kind).glob("*/*"):
            if _PARTITION.fullmatch(path.name):
                yield path


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, and those above it as far as they are missing."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read, and wait until the disk has its content (not yet its name)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_private(path: Path, content: bytes) -> None:
    """Give a file, readable by its owner alone, new content: durably, and the old or the new, whole."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    write_private(temporary, content)
    temporary.replace(path)
    sync_directory(path.parent)


@contextmanager
def sole_export(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of snapshots, making the folder; readers need none.

    The kernel lets go of it when the holder dies. Raises BadSetting when another process holds it or the
    folder cannot be written.
    """
    try:
        for path in (folder, folder / "manifests", folder / "partitions"):
            private_folder(path)
        for kind in KINDS:
            private_folder(folder / "partitions" / kind)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with sole([folder]):
        try:
            yield
        except OSError as error:
            raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> BadSetting:
    return BadSetting(f"snapshots {folder}: cannot be written: {error.strerror or error}")


def _numbered(folder: Path) -> list[tuple[str, str]]:
    """Return id and suffix of each manifest and of each that was deleted, by number."""
    try:
        names = [path.name for path in (folder / "manifests").iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadSetting(f"snapshots {folder}: {error.strerror or error}") from error
    found = [(match[1], match[2]) for name in names if (match := _MANIFEST.fullmatch(name))]
    return sorted(found, key=lambda one: int(one[0][1:]))


def _read(path: Path, part: type[Read]) -> Read:
    try:
        return part.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadSetting(f"snapshot manifest {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise BadSetting(f"snapshot manifest {path}: {where}: {first['msg']}") from error
