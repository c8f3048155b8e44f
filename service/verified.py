"""Which snapshot of a folder is verified, and how far it holds the logs of its store.

`python -m training verify` leaves a mark beside the manifest of each snapshot in which it finds nothing wrong. It
counts while the manifest is the one that was verified and all files have their sizes. It also holds the last entries
of both logs, under pseudonyms, so that who has no Parquet can tell whose snapshot it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from service.errors import BadSetting

_ID: Final = re.compile(r"s[0-9]{6,9}")


class _Read(BaseModel):
    """What is read of a file that says more."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Held(_Read):
    """An entry of a log as a snapshot holds it: `service.tail` says which values and ids, in what order."""

    values: tuple[int | str | None, ...]
    pseudonyms: tuple[str | None, ...]
    """Of its ids; "" where it has none, None for an event id that follows from the rest."""


class ReadTo(_Read):
    """How far a log was read; see `training.snapshot.manifest.LogMark`.

    `tail_cursor` is where the last piece began that gave entries, `tail` what those are, oldest first.
    """

    cursor: str
    tail_cursor: str
    tail_rows: int
    tail: tuple[Held, ...] = ()


class _File(_Read):
    path: str
    bytes: int


class VerifiedSnapshot(_Read):
    """A snapshot that holds both logs up to its marks, and was found whole."""

    id: str
    content_sha256: str
    events: ReadTo
    decisions: ReadTo
    partitions: tuple[_File, ...]

    def is_whole(self, folder: Path) -> bool:
        """Tell whether all of its files are there, by their sizes."""
        return all(_size(folder / one.path) == one.bytes for one in self.partitions)


class _Mark(_Read):
    content_sha256: str
    verified_at: AwareDatetime
    events: tuple[Held, ...]
    decisions: tuple[Held, ...]


def mark_path(folder: Path, id_: str) -> Path:
    """Return where it stands that a snapshot was verified."""
    return folder / "manifests" / f"{id_}.verified"


def mark_of(content_sha256: str, now: datetime, events: Iterable[Held], decisions: Iterable[Held]) -> bytes:
    """Return the mark of a snapshot with this content, and these tails of its logs, that was found whole."""
    mark = _Mark(content_sha256=content_sha256, verified_at=now, events=tuple(events), decisions=tuple(decisions))
    return mark.model_dump_json().encode()


def newest_verified(folder: Path) -> VerifiedSnapshot:
    """Return the newest snapshot that is verified and whole. Raises BadSetting when there is none."""
    try:
        ids = [path.stem for path in (folder / "manifests").glob("*.json") if _ID.fullmatch(path.stem)]
    except OSError as error:
        raise BadSetting(f"snapshots {folder}: {error.strerror or error}") from error
    for id_ in sorted(ids, key=lambda one: int(one[1:]), reverse=True):
        snapshot = _verified(folder, id_)
        if snapshot is not None and snapshot.is_whole(folder):
            return snapshot
    raise BadSetting(
        f"snapshots {folder}: none of {len(ids)} is verified: run `python -m training verify latest` after each export"
    )


def _verified(folder: Path, id_: str) -> VerifiedSnapshot | None:
    try:
        mark = _Mark.model_validate_json(mark_path(folder, id_).read_bytes())
        snapshot = VerifiedSnapshot.model_validate_json((folder / "manifests" / f"{id_}.json").read_bytes())
    except (OSError, ValidationError):
        return None
    if (snapshot.id, snapshot.content_sha256) != (id_, mark.content_sha256):
        return None
    events = snapshot.events.model_copy(update={"tail": mark.events})
    decisions = snapshot.decisions.model_copy(update={"tail": mark.decisions})
    return snapshot.model_copy(update={"events": events, "decisions": decisions})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
