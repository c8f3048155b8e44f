"""Kill -9 at every step of what changes a registry: nothing half-done is listed or live, and the next run repairs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from service.core.features import FEATURES
from service.registry.artifact import read_artifact, retired, version_path, versions
from service.registry.lineup_file import read_history, read_lineup
from service.registry.policy_file import policies, read_policy
from service.registry.promotion import promote, set_challengers
from service.registry.retirement import retire
from tests.registry.build import build_artifact
from tests.registry.nursery import Nursery

MOST_STEPS = 100


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Return what runs children that die."""
    with Nursery() as started:
        yield started


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a registry with four versions, the second one champion, the third one in shadow."""
    registry = tmp_path_factory.mktemp("template") / "registry"
    for seed in range(4):
        build_artifact(registry, FEATURES[:4], seed=seed, trees=2)
    promote(registry, 1, "ann", "")
    promote(registry, 2, "ann", "")
    set_challengers(registry, [3], "ann", "")
    return registry


def whole(registry: Path) -> None:
    """Check that everything listed is whole, and that the history leads to the lineup without a gap."""
    for version in versions(registry):
        read_artifact(version_path(registry, version))
    for policy in policies(registry):
        read_policy(registry, policy)
    lineup = read_lineup(registry)
    assert lineup is not None
    history = read_history(registry)
    assert list(history) == list(range(1, lineup.revision + 1))
    assert history[lineup.revision].lineup == lineup
    assert set(lineup.wanted) <= set(versions(registry))
    assert lineup.policy in {0, *policies(registry)}


def deaths(nursery: Nursery, template: Path, folder: Path, act: str, version: int) -> Iterator[Path]:
    """Yield the registry after a death at each step, until there is no such step any more."""
    for step in count(1):
        registry = folder / str(step)
        shutil.copytree(template, registry)
        if nursery.run(registry, act, version, die_at=step):
            assert 1 < step < MOST_STEPS
            return
        yield registry


@pytest.mark.parametrize(("act", "version"), [("promote", 4), ("shadow", 0), ("rollback", 0)])
def test_a_change_happens_whole_or_not_at_all(
    nursery: Nursery, template: Path, tmp_path: Path, act: str, version: int
) -> None:
    """After each death the lineup is the old or the new one, with its history, and another change goes through."""
    shutil.copytree(template, tmp_path / "done")
    assert nursery.run(tmp_path / "done", act, version)
    before, after = read_lineup(template), read_lineup(tmp_path / "done")
    seen = []
    for registry in deaths(nursery, template, tmp_path, act, version):
        whole(registry)
        seen.append(read_lineup(registry))
        promote(registry, 4, "next", "")
        whole(registry)
    assert set(map(repr, seen)) == {repr(before), repr(after)}


def test_a_version_is_published_whole_or_not_at_all(nursery: Nursery, template: Path, tmp_path: Path) -> None:
    """After each death the version is there, or its number is free; the next publisher leaves no rest of it."""
    for registry in deaths(nursery, template, tmp_path, "publish", 0):
        whole(registry)
        there = versions(registry)
        assert there in ([1, 2, 3, 4], [1, 2, 3, 4, 5])
        assert nursery.run(registry, "publish")
        assert versions(registry) == [*there, len(there) + 1]
        whole(registry)
        names = {entry.name for entry in (registry / "versions").iterdir()}
        assert names == {f"{version:06d}" for version in versions(registry)}


def test_a_policy_is_published_and_active_or_not(nursery: Nursery, template: Path, tmp_path: Path) -> None:
    """After each death it decides or nothing does; the next run finishes it, under the one number that it has."""
    seen = set()
    for registry in deaths(nursery, template, tmp_path, "policy", 0):
        whole(registry)
        lineup = read_lineup(registry)
        assert lineup is not None
        seen.add((tuple(policies(registry)), lineup.policy))
        if not lineup.policy:
            assert nursery.run(registry, "policy")
            whole(registry)
        assert [path.name for path in (registry / "policies").iterdir()] == ["000001.json"]
    assert seen == {((), 0), ((1,), 0), ((1,), 1)}


def test_a_version_is_retired_or_not(nursery: Nursery, template: Path, tmp_path: Path) -> None:
    """After each death it is retired or as before; the next run removes its files and never reuses its number."""
    seen = set()
    for registry in deaths(nursery, template, tmp_path, "retire", 4):
        whole(registry)
        is_retired = 4 in retired(registry)
        seen.add(is_retired)
        assert (4 in versions(registry)) is not is_retired
        if not is_retired:
            retire(registry, 4, "next", "again")
        assert nursery.run(registry, "publish")
        assert versions(registry) == [1, 2, 3, 5]
        assert not version_path(registry, 4).exists()
        whole(registry)
    assert seen == {True, False}
