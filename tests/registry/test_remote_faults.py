"""Deaths, lost answers and careless object stores: nothing half-done is listed or live, and no change is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.core.features import FEATURES
from service.errors import BadSetting
from service.registry.artifact import publish, read_artifact, retired, version_path, versions
from service.registry.lineup_file import read_history, read_lineup
from service.registry.promotion import promote
from service.registry.remote import attach, fetch, pull
from tests.registry.bucket import Remote
from tests.registry.build import build_artifact
from tests.registry.nursery import Nursery
from tests.registry.test_crashes import whole

FOUR = FEATURES[:4]
MOST_STEPS = 100


@pytest.fixture(scope="module")
def nursery(address: str) -> Iterator[Nursery]:
    """Return what runs children that die, and that reach the object store."""
    del address
    with Nursery() as started:
        yield started


def _publish(registry: Path, versions: int) -> Path:
    for seed in range(versions):
        build_artifact(registry, FOUR, seed=seed, trees=2)
    return registry


def _whole(remote: Remote) -> Path:
    """Check that everything that is listed is whole, and return a copy with all of it."""
    registry = remote.seen()
    for version in versions(registry):
        fetch(registry, version)
    whole(registry)
    return registry


@pytest.mark.parametrize("act", ["publish", "promote", "retire"])
def test_a_death_at_any_request_leaves_everything_whole(nursery: Nursery, remote: Remote, plan: Path, act: str) -> None:
    """Killed when a request was done, before its answer: all that is listed is whole, and the next writer goes on."""
    mine = _publish(remote.copy(), 2)
    promote(mine, 2, "ann", "")
    for step in range(1, MOST_STEPS):
        promote(mine, 1, "ann", "")
        version = _again(mine) if act == "retire" else 2
        ended = nursery.run(mine, act, version, plan=f"{plan} {step} after")
        plan.unlink()
        _whole(remote)
        if ended:
            break
    assert 1 < step < MOST_STEPS - 1
    last = _again(mine)
    left = {one.name.split("/")[1] for one in remote.bucket.listed("versions") if one.name.endswith("model.txt")}
    assert left >= {f"{one:06d}" for one in versions(mine)}
    assert not left.intersection(f"{one:06d}" for one in retired(mine))
    assert last in versions(remote.seen())


def _again(registry: Path) -> int:
    """Publish the first version once more, which is faster than to train one."""
    one = read_artifact(version_path(registry, 1))
    return publish(registry, one.model_text.decode(), one.manifest, one.golden, "")


def test_a_change_whose_answer_was_lost_is_made_once(remote: Remote, plan: Path) -> None:
    """Whichever answer does not arrive, the change is made and told, and not made again."""
    mine = _publish(remote.copy(), 2)
    for step in range(1, 12):
        plan.write_text(f"0 {step} lost")
        lineup = promote(mine, 1 + step % 2, "ann", str(step))
        plan.unlink()
        assert lineup.revision == step
    assert [one.why for one in read_history(_whole(remote)).values()] == [str(step) for step in range(1, 12)]


def test_a_publication_whose_answer_was_lost_is_made_once(remote: Remote, plan: Path) -> None:
    """Whichever answer does not arrive, one more version is listed; a number may stay unused."""
    mine = _publish(remote.copy(), 1)
    for step in range(1, 12):
        plan.write_text(f"0 {step} lost")
        version = _again(mine)
        plan.unlink()
        assert versions(remote.seen())[-1] == version
    assert len(versions(remote.seen())) == 12


def test_an_object_store_that_does_not_keep_conditions_is_refused(remote: Remote, plan: Path) -> None:
    """Two writers there could lose one another's change, so nothing is ever written but the probe."""
    mine = remote.copy()
    plan.write_text("0 0 careless")
    try:
        with pytest.raises(BadSetting, match="does not keep conditions of writes"):
            build_artifact(mine, FOUR, trees=2)
    finally:
        plan.unlink()
    assert remote.bucket.listed("numbers") == remote.bucket.listed("probe") == []
    assert build_artifact(mine, FOUR, trees=2) == 1


def test_a_death_at_any_step_of_a_pull_leaves_the_copy_as_it_was_or_up_to_date(
    nursery: Nursery, remote: Remote, tmp_path: Path
) -> None:
    """What is wanted comes before the lineup, so a copy never asks for what it does not have."""
    mine = _publish(remote.copy(), 1)
    promote(mine, 1, "ann", "")
    for step in range(1, MOST_STEPS):
        registry = tmp_path / f"dying-{step}"
        attach(registry, remote.url)
        ended = nursery.run(registry, "pull", die_at=step)
        lineup = read_lineup(registry)
        for version in () if lineup is None else lineup.wanted:
            read_artifact(version_path(registry, version))
        for version in versions(registry):
            read_artifact(version_path(registry, version))
        pull(registry)
        whole(registry)
        if ended:
            break
    assert 1 < step < MOST_STEPS - 1
