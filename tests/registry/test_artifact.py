"""Artifacts: whole or not there, numbered once, never changed."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from service.core.features import FEATURES
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import publish, read_artifact, read_manifest, version_path, versions
from service.registry.booster import Booster
from service.registry.files import replace_file, sole_writer
from service.registry.golden import make_golden
from tests.registry.build import KNOTS, Calibrated, build_artifact, make_manifest, moments, train_model

SEVEN = FEATURES[:7]


def _contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    """A version holds the four files, its number and the checksums of what it holds."""
    version = build_artifact(tmp_path, SEVEN, seed=3)
    path = version_path(tmp_path, version)
    assert path == tmp_path / "versions" / "000001"
    assert set(_contents(path)) == {"model.txt", "manifest.json", "golden.json", "report.html"}
    artifact = read_artifact(path)
    assert artifact.manifest.version == 1
    assert set(artifact.manifest.checksums) == {"model.txt", "golden.json", "report.html"}
    assert artifact.model_text == train_model(SEVEN, seed=3).encode()
    assert len(artifact.golden.cases) == len(moments())


def test_a_version_is_never_changed(tmp_path: Path) -> None:
    """Publishing again takes the next number and leaves the bytes of earlier versions alone."""
    first = version_path(tmp_path, build_artifact(tmp_path, SEVEN))
    before = _contents(first)
    build_artifact(tmp_path, SEVEN, seed=1)
    assert versions(tmp_path) == [1, 2]
    assert _contents(first) == before


def _publish_five(registry: Path, name: str) -> list[int]:
    seen = read_artifact(version_path(registry, 1))
    return [publish(registry, seen.model_text.decode(), seen.manifest, seen.golden, name) for _ in range(5)]


def test_racing_publishers_get_different_numbers(tmp_path: Path) -> None:
    """Processes that publish at once get numbers of their own, and every version is whole."""
    build_artifact(tmp_path, SEVEN)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        numbers = dict(zip("abc", pool.starmap(_publish_five, [(tmp_path, name) for name in "abc"]), strict=True))
    assert versions(tmp_path) == list(range(1, 17))
    assert sorted([*numbers["a"], *numbers["b"], *numbers["c"]]) == list(range(2, 17))
    for name, mine in numbers.items():
        for version in mine:
            path = version_path(tmp_path, version)
            assert read_artifact(path).manifest.version == version
            assert (path / "report.html").read_text() == name


def test_a_half_written_version_is_not_listed_and_is_swept(tmp_path: Path) -> None:
    """What a publisher left behind when it died is no version, and the next publisher removes it."""
    left_behind = tmp_path / "versions" / ".unfinished-000001"
    left_behind.mkdir(parents=True)
    (left_behind / "model.txt").write_text("half of a tr")
    assert versions(tmp_path) == []
    assert build_artifact(tmp_path, SEVEN) == 1
    assert [entry.name for entry in (tmp_path / "versions").iterdir()] == ["000001"]


def test_there_may_be_no_registry_yet(tmp_path: Path) -> None:
    """A registry that does not exist has no versions, and publishing makes it."""
    registry = tmp_path / "deep" / "registry"
    assert versions(registry) == []
    assert build_artifact(registry, SEVEN) == 1


def test_a_registry_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """A file where the registry should be is one clear sentence."""
    (tmp_path / "registry").write_text("")
    text = train_model(SEVEN)
    golden = make_golden(SEVEN, Calibrated(Booster(text.encode()), KNOTS), moments())
    with pytest.raises(BadSetting, match=r"registry .* cannot be written"):
        publish(tmp_path / "registry", text, make_manifest(SEVEN), golden, "")


def test_a_writer_waits_for_a_bounded_time(tmp_path: Path) -> None:
    """Who cannot get the lock is told so and has changed nothing."""
    with (
        sole_writer(tmp_path),
        pytest.raises(BadSetting, match="another process has been writing"),
        sole_writer(tmp_path, timeout_s=0.05),
    ):
        pytest.fail("two writers at once")


def test_a_replaced_file_is_never_half_there(tmp_path: Path) -> None:
    """A writer that died before the rename leaves the old file whole, and the next one is not in its way."""
    path = tmp_path / "file"
    replace_file(path, b"old")
    (tmp_path / ".file.new").write_bytes(b"ne")
    assert path.read_bytes() == b"old"
    replace_file(path, b"new")
    assert _contents(tmp_path) == {"file": b"new"}


def test_a_version_under_another_number_is_refused(tmp_path: Path) -> None:
    """A folder that was copied or renamed by hand does not pass for another version."""
    path = version_path(tmp_path, build_artifact(tmp_path, SEVEN))
    path.rename(path.with_name("000009"))
    with pytest.raises(BadArtifact, match="is of version 1, but lies in 000009"):
        read_manifest(path.with_name("000009"))
