"""Verifying snapshots: every file is as it was written, and no position of the log is missing."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from service.errors import BadSetting
from service.verified import mark_of, mark_path
from training.data.events import Progress
from training.snapshot.folder import manifest_path, read_manifest, replace_private
from training.snapshot.manifest import KINDS, Kind, Partition, SnapshotManifest, content_hash
from training.snapshot.read import SCHEMAS, read_partition
from training.snapshot.schema import FIRST_DECISION_SCHEMA
from training.snapshot.tail import held_tail

_READ_BYTES: Final = 1 << 20


class Finding(NamedTuple):
    """What is wrong with a file, relative to the folder of snapshots."""

    path: str
    problem: str


class Verified(NamedTuple):
    """What was looked at, and what was found."""

    snapshots: int
    partitions: int
    bytes: int
    findings: tuple[Finding, ...]


def verify(folder: Path, ids: Sequence[str], progress: Progress) -> Verified:
    """Verify snapshots; a file that several share is read once. Cost: a second for some 500 MB.

    Hashes, sizes, columns, rows and rights of every file; that positions run on without gap or repeat in every
    snapshot; that the manifest says how much there is. A snapshot with nothing wrong is marked as verified, which
    `python -m service retention` goes by. Raises BadSetting when there is no such snapshot.
    """
    findings: list[Finding] = []
    manifests = []
    for id_ in ids:
        try:
            manifests.append(read_manifest(folder, id_))
        except BadSetting as error:
            if not manifest_path(folder, id_).exists():
                raise
            findings.append(Finding(_relative(folder, manifest_path(folder, id_)), str(error)))
    partitions = {partition.path: partition for manifest in manifests for partition in manifest.partitions}
    bad = set()
    for done, partition in enumerate(partitions.values()):
        progress("verifying", done, len(partitions))
        problem = _problem_of(folder, partition)
        if problem:
            bad.add(partition.path)
            findings.append(Finding(partition.path, problem))
    progress("verifying", len(partitions), len(partitions))
    spans = _Spans(folder)
    for manifest in manifests:
        path = _relative(folder, manifest_path(folder, manifest.id))
        found = [Finding(path, problem) for problem in _problems_of(manifest, bad, spans)]
        findings += found
        _mark(folder, manifest, whole=not found and bad.isdisjoint(one.path for one in manifest.partitions))
    size = sum(partition.bytes for partition in partitions.values())
    return Verified(len(manifests), len(partitions), size, tuple(findings))


def _mark(folder: Path, manifest: SnapshotManifest, *, whole: bool) -> None:
    """Note what was found, where the folder may be written."""
    with suppress(OSError):
        if whole:
            events, decisions = held_tail(folder, manifest, "events"), held_tail(folder, manifest, "decisions")
            mark = mark_of(manifest.content_sha256, datetime.now(UTC), events, decisions)
            replace_private(mark_path(folder, manifest.id), mark)
        else:
            mark_path(folder, manifest.id).unlink(missing_ok=True)


def _problem_of(folder: Path, partition: Partition) -> str:
    """Return what is wrong with a file, "" for nothing."""
    path = folder / partition.path
    try:
        status = path.stat()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if status.st_size != partition.bytes:
        return f"has {status.st_size} bytes, not {partition.bytes}"
    if stat.S_IMODE(status.st_mode) & 0o077:
        return "may be read by others than its owner: chmod 600"
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for piece in iter(lambda: file.read(_READ_BYTES), b""):
            digest.update(piece)
    if digest.hexdigest() != partition.sha256:
        return "is not what was written: its SHA-256 differs"
    try:
        frame = read_partition(folder, partition)
    except BadSetting as error:
        return str(error)
    if frame.schema not in (dict(SCHEMAS[partition.kind]), dict(FIRST_DECISION_SCHEMA)):
        return "does not have the columns of its kind"
    positions = frame.get_column("position")
    if not positions.is_sorted() or (positions[0], positions[-1]) != (
        partition.first_position,
        partition.last_position,
    ):
        return "does not hold the positions that the manifest names"
    return ""


class _Spans:
    """Which positions each chunk holds; looked up once, however many snapshots share it."""

    def __init__(self, folder: Path) -> None:
        """Know nothing yet."""
        self._folder = folder
        self._known: dict[tuple[str, ...], range | None] = {}

    def of(self, chunk: Sequence[Partition]) -> range | None:
        """Return the positions of a chunk, None when they do not run on."""
        paths = tuple(partition.path for partition in chunk)
        if paths not in self._known:
            files = [read_partition(self._folder, partition, ["position"]) for partition in chunk]
            positions = pl.concat(files).get_column("position").sort()
            span = range(positions[0], positions[0] + positions.len())
            runs_on = positions.equals(pl.int_range(span.start, span.stop, eager=True))
            self._known[paths] = span if runs_on else None
        return self._known[paths]


def _problems_of(manifest: SnapshotManifest, bad: set[str], spans: _Spans) -> Iterator[str]:
    """Yield what is wrong with a snapshot as a whole; files that are bad in themselves are not told again."""
    if content_hash(manifest.partitions) != manifest.content_sha256:
        yield "its partitions are not those that its content hash was made of"
    for kind in KINDS:
        chunks = manifest.chunks(kind)
        total = sum(partition.rows for chunk in chunks for partition in chunk)
        if total != manifest.rows(kind):
            yield f"names {manifest.rows(kind)} {kind}, its partitions hold {total}"
        if not any(partition.path in bad for chunk in chunks for partition in chunk):
            yield from _gaps(chunks, kind, spans)


def _gaps(chunks: Sequence[Sequence[Partition]], kind: Kind, spans: _Spans) -> Iterator[str]:
    """Yield where the positions of a kind do not run on."""
    expected = 0
    for chunk in chunks:
        span = spans.of(chunk)
        if span is None or span.start != expected:
            yield f"the positions of its {kind} have a gap or a repeat in chunk {chunk[0].chunk}, from {expected} on"
            return
        expected = span.stop


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
