"""Looking after snapshots: deleting keeps what others use, verifying names the file that is not as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from service.errors import BadSetting
from service.store.protocol import Store
from tests.training.snapshot.scenes import holds_the_logs, purchases, record, rows, take
from training.data.events import silent
from training.snapshot.delete import delete_snapshot
from training.snapshot.folder import manifest_path, read_manifest, snapshots, write_manifest
from training.snapshot.manifest import content_hash
from training.snapshot.read import open_snapshot
from training.snapshot.schema import ADDED
from training.snapshot.verify import verify


@pytest.fixture
def three(embedded: Store, folder: Path) -> list[str]:
    """Take three snapshots, each with something new."""
    for name in ("a", "b", "c"):
        record(embedded, purchases(30, name, days=2))
        take(embedded, folder)
    return snapshots(folder)


def test_deleting_keeps_what_others_use(three: list[str], embedded: Store, folder: Path) -> None:
    """Deleting one in the middle removes no partition, since its child lists them all; the others stay whole."""
    deleted = delete_snapshot(folder, three[1])
    assert deleted.files == 0
    assert snapshots(folder) == [three[0], three[2]]
    assert verify(folder, snapshots(folder), silent).findings == ()
    holds_the_logs(embedded, folder)


def test_deleting_removes_what_nobody_uses(three: list[str], embedded: Store, folder: Path) -> None:
    """Deleting the newest removes its own partitions; the next one exports their events again under a new number."""
    own = {one.path for one in read_manifest(folder, three[2]).partitions}
    own -= {one.path for one in read_manifest(folder, three[1]).partitions}
    assert delete_snapshot(folder, three[2]).files == len(own) > 0
    assert not any((folder / path).exists() for path in own)
    manifest = take(embedded, folder).manifest
    assert (manifest.id, manifest.parent) == ("s000004", three[1])
    holds_the_logs(embedded, folder)


def test_deleting_all_leaves_no_partition(three: list[str], folder: Path) -> None:
    """When the last snapshot goes, its parents' partitions that it had kept go with it."""
    for id_ in three:
        delete_snapshot(folder, id_)
    assert list(folder.glob("partitions/*/*")) == []


def test_deleting_what_is_not_there_is_refused(three: list[str], folder: Path) -> None:
    """A snapshot that does not exist is named; nothing is deleted."""
    with pytest.raises(BadSetting, match="there is no snapshot s000009"):
        delete_snapshot(folder, "s000009")
    assert snapshots(folder) == three


def test_a_parent_that_is_gone_is_not_missed(three: list[str], embedded: Store, folder: Path) -> None:
    """A snapshot is read and gone on from without the ones that it was made from."""
    delete_snapshot(folder, three[0])
    delete_snapshot(folder, three[1])
    record(embedded, purchases(5, "d"))
    take(embedded, folder)
    holds_the_logs(embedded, folder)


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    """Cut a file's last byte off."""
    path.write_bytes(path.read_bytes()[:-1])


def show_to_others(path: Path) -> None:
    """Let others read a file."""
    path.chmod(0o644)


@pytest.mark.parametrize("damage", [flip, shorten, show_to_others, Path.unlink])
def test_verifying_names_the_file(three: list[str], folder: Path, damage: Callable[[Path], None]) -> None:
    """A flipped bit, a lost byte, a right too many, a lost file: each is found and the file named."""
    manifest = read_manifest(folder, three[0])
    damage(folder / manifest.partitions[0].path)
    for ids in ([three[0]], three):
        findings = verify(folder, ids, silent).findings
        assert [finding.path for finding in findings] == [manifest.partitions[0].path]


def test_verifying_finds_a_gap(three: list[str], folder: Path) -> None:
    """A manifest that leaves out a partition is found by its hash, its rows and the gap."""
    path = manifest_path(folder, three[2])
    content = json.loads(path.read_text())
    del content["partitions"][0]
    path.write_text(json.dumps(content))
    problems = " ".join(finding.problem for finding in verify(folder, [three[2]], silent).findings)
    assert "content hash" in problems
    assert "its partitions hold" in problems
    assert "have a gap" in problems


def test_verifying_names_a_manifest_that_is_none(three: list[str], folder: Path) -> None:
    """A manifest that cannot be read is a finding, and the other snapshots are verified all the same."""
    manifest_path(folder, three[1]).write_text("{}")
    findings = verify(folder, three, silent).findings
    assert [finding.path for finding in findings] == [f"manifests/{three[1]}.json"]


def test_a_file_that_is_not_what_it_was_is_not_read(three: list[str], folder: Path) -> None:
    """Reading names the file that is missing, in one sentence."""
    manifest = read_manifest(folder, three[0])
    (folder / manifest.partitions[0].path).unlink()
    with pytest.raises(BadSetting, match=r"snapshot partition .*s000001-000001\.parquet: is not there"):
        rows(open_snapshot(folder, three[0]), manifest.partitions[0].kind)


def test_columns_are_read_as_asked(three: list[str], folder: Path) -> None:
    """Any columns in any order; one that there is not is named."""
    snapshot = open_snapshot(folder, three[0])
    [*pieces] = snapshot.events(["event_id", "kind"])
    assert {tuple(piece.columns) for piece in pieces} == {("event_id", "kind")}
    with pytest.raises(BadSetting, match="its decisions have no column label"):
        list(snapshot.decisions(["label"]))


def as_earlier_releases_wrote(folder: Path) -> None:
    """Write the decisions of the newest snapshot again without the columns that are new, as if they had never been."""
    manifest = read_manifest(folder, "latest")
    partitions = []
    for partition in manifest.partitions:
        path = folder / partition.path
        if partition.kind == "decisions":
            pl.read_parquet(path).drop(ADDED.keys()).write_parquet(path)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        partitions.append(partition.model_copy(update={"bytes": len(content), "sha256": digest}))
    values = {"partitions": tuple(partitions), "content_sha256": content_hash(partitions)}
    write_manifest(folder, manifest.model_copy(update=values))


def test_partitions_of_earlier_releases_stay_readable(embedded: Store, folder: Path) -> None:
    """They verify, say that there was no policy, and a snapshot that adds to them is whole."""
    record(embedded, purchases(30, "a", amount_minor=101))
    take(embedded, folder)
    as_earlier_releases_wrote(folder)
    assert verify(folder, snapshots(folder), silent).findings == ()
    asked = ("rules", "purchase_id", "policy_version", "score_decision")
    piece = pl.concat(open_snapshot(folder, "latest").decisions(asked))
    assert piece.columns == list(asked)
    assert piece.select("policy_version", "rules", "score_decision").unique().rows() == [(0, [], 0)]
    record(embedded, purchases(30, "b", amount_minor=103))
    take(embedded, folder)
    assert verify(folder, snapshots(folder), silent).findings == ()
    decisions = rows(open_snapshot(folder, "latest"), "decisions")
    assert [one["policy_version"] for one in decisions] == [0] * 30 + [3] * 30
    assert decisions[-1]["rules"] == ["limit:a", "degraded"]


def test_a_snapshot_that_is_not_there_is_named(folder: Path) -> None:
    """Opening one of an empty folder says how to take one."""
    with pytest.raises(BadSetting, match="there is no snapshot latest; take one with"):
        open_snapshot(folder, "latest")
