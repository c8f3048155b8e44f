"""A registry on an object store and its copies: whole, in step, and never losing what a writer did."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from service.core.features import FEATURES
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import read_artifact, retired, version_path, versions
from service.registry.lineup_file import Change, LineupSpec, change_lineup, read_history, read_lineup
from service.registry.promotion import promote, rollback, set_challengers
from service.registry.remote import attach, pull, refresh
from service.registry.retirement import retire
from service.registry.servable import Servable
from tests.registry.bucket import Remote
from tests.registry.build import build_artifact

FOUR = FEATURES[:4]
MOST_STEPS = 100


def _publish(registry: Path, versions: int = 3) -> Path:
    for seed in range(versions):
        build_artifact(registry, FOUR, seed=seed, trees=2)
    return registry


def _contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_what_one_copy_publishes_and_promotes_the_other_one_serves(remote: Remote) -> None:
    """A worker's copy gets the lineup, the versions that it wants, byte for byte, and the history."""
    mine, workers = _publish(remote.copy()), remote.copy()
    assert pull(workers) is False
    promote(mine, 2, "ann", "good", at_ms=7)
    assert pull(workers) is True
    assert read_lineup(workers) == read_lineup(mine) == LineupSpec(revision=1, champion=2)
    assert _contents(version_path(workers, 2)) == _contents(version_path(mine, 2))
    assert [(one.at_ms, one.who, one.why) for one in read_history(workers).values()] == [(7, "ann", "good")]
    assert Servable.load(version_path(workers, 2), "attempts").version == 2
    assert pull(workers) is False


def test_a_copy_knows_every_version_and_holds_the_files_of_those_that_were_wanted(remote: Remote) -> None:
    """A refresh brings manifests alone; who promotes or reads a version gets its files."""
    _publish(remote.copy())
    registry = remote.seen()
    assert versions(registry) == [1, 2, 3]
    assert not version_path(registry, 3).exists()
    promote(registry, 3, "ann", "")
    assert read_artifact(version_path(registry, 3)).manifest.version == 3
    assert not version_path(registry, 2).exists()
    assert read_artifact(version_path(registry, 2)).manifest.version == 2
    with pytest.raises(BadArtifact, match=r"manifest\.json cannot be read"):
        read_artifact(version_path(registry, 9))


def test_a_copy_that_lost_files_gets_them_again(remote: Remote) -> None:
    """What is wanted and not here is brought though the lineup did not change."""
    mine = _publish(remote.copy(), 1)
    promote(mine, 1, "ann", "")
    version_path(mine, 1).rename(mine / "away")
    assert pull(mine) is True
    assert _contents(version_path(mine, 1)) == _contents(mine / "away")
    (mine / "lineup.json").write_text("edited by hand")
    assert pull(mine) is True
    assert read_lineup(mine) == LineupSpec(revision=1, champion=1)


def test_a_version_that_is_broken_there_is_refused_here(remote: Remote) -> None:
    """Of a model that does not have its checksum the loader says so; the lineup is followed for all others."""
    mine = _publish(remote.copy(), 2)
    promote(mine, 1, "ann", "")
    set_challengers(mine, [2], "ann", "")
    model = remote.bucket.read("versions/000002/model.txt")
    assert model is not None
    assert remote.bucket.replace("versions/000002/model.txt", b"broken", model)
    workers = remote.copy()
    assert pull(workers) is True
    assert Servable.load(version_path(workers, 1), "attempts").version == 1
    with pytest.raises(BadArtifact, match=r"model.txt does not have the checksum"):
        read_artifact(version_path(workers, 2))


def _challenge(registry: Path, challenger: int) -> None:
    def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        before = () if present is None else present.challengers
        lineup = LineupSpec(champion=1, challengers=(*before, challenger))
        return Change(at_ms=1, who=str(challenger), why="", lineup=lineup)

    change_lineup(registry, change)


def _challenge_all(registry: Path, challengers: range) -> None:
    for challenger in challengers:
        _challenge(registry, challenger)


@pytest.mark.parametrize("kind", ["remote", "local"])
def test_no_writer_loses_what_another_one_did(remote: Remote, tmp_path: Path, kind: str) -> None:
    """Of writers in threads and processes, on one folder or on copies of a remote registry, no change is lost."""
    copies = [remote.copy() for _ in range(3)] if kind == "remote" else [tmp_path / "own"] * 3
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_challenge_all, args=(copies[0], range(100, 105))),
        context.Process(target=_challenge_all, args=(copies[1], range(200, 205))),
    ]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(_challenge, copies[2]), range(300, 305)))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    registry = remote.seen() if kind == "remote" else copies[0]
    lineup = read_lineup(registry)
    assert lineup is not None
    assert lineup.revision == 15
    assert sorted(lineup.challengers) == [*range(100, 105), *range(200, 205), *range(300, 305)]
    assert [int(one.who) for one in read_history(registry).values()] == list(lineup.challengers)


def test_racing_publishers_get_different_numbers(remote: Remote) -> None:
    """Every version gets a number of its own, and is whole."""
    copies = [remote.copy() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(partial(build_artifact, features=FOUR, trees=2), copies * 2))
    assert sorted(numbers) == versions(remote.seen()) == list(range(1, 9))


def test_a_number_of_a_publisher_that_died_is_used_by_nobody(remote: Remote) -> None:
    """A claimed number without a manifest is no version, and the next one goes past it."""
    mine = _publish(remote.copy(), 1)
    assert remote.bucket.create("numbers/000002", b"")
    assert remote.bucket.create("versions/000002/model.txt", b"half a mod")
    assert versions(remote.seen()) == [1]
    assert build_artifact(mine, FOUR, trees=2) == 3


def test_a_retired_version_is_gone_everywhere(remote: Remote) -> None:
    """Its files go, its manifest and its number stay, and no copy that still has it can promote it."""
    mine, other = _publish(remote.copy(), 2), remote.seen()
    promote(mine, 1, "ann", "")
    promote(other, 1, "bob", "")
    retire(mine, 2, "ann", "wrong labels")
    assert sorted(one.name for one in remote.bucket.listed("versions/000002")) == ["versions/000002/manifest.json"]
    with pytest.raises(BadArtifact, match="version 2 was retired"):
        promote(other, 2, "bob", "")
    refresh(other)
    assert (versions(other), retired(other)) == ([1], {2})
    assert not version_path(mine, 2).exists()
    assert build_artifact(other, FOUR, trees=2) == 3


def test_a_lineup_that_is_lost_or_damaged_there_is_restored_by_a_rollback(remote: Remote) -> None:
    """Copies keep serving what they have; a change is refused; a rollback restores the newest of the history."""
    mine = _publish(remote.copy(), 2)
    promote(mine, 1, "ann", "")
    promote(mine, 2, "ann", "")
    seen = remote.bucket.read("lineup.json")
    assert seen is not None
    assert remote.bucket.replace("lineup.json", b"damaged", seen)
    with pytest.raises(BadSetting, match=rf"{remote.url}/lineup.json is not a lineup"):
        pull(mine)
    with pytest.raises(BadSetting, match="`training rollback` restores"):
        promote(mine, 1, "ann", "")
    assert read_lineup(mine) == LineupSpec(revision=2, champion=2)
    assert rollback(remote.copy(), "bob", "repaired") == LineupSpec(revision=3, champion=2)
    remote.bucket.delete(["lineup.json"])
    with pytest.raises(BadSetting, match=r"lineup.json is gone; `training rollback` restores it"):
        pull(mine)
    assert rollback(mine, "bob", "repaired again") == LineupSpec(revision=4, champion=2)
    assert list(read_history(remote.seen())) == [1, 2, 3, 4]


def test_a_line_of_the_history_that_a_crash_prevented_is_written_by_the_next_change(remote: Remote) -> None:
    """The lineup tells who made it; who reads sees it at once, and who changes writes it down."""
    mine = _publish(remote.copy(), 2)
    promote(mine, 1, "ann", "first")
    remote.bucket.delete(["history/00000001.json"])
    other = remote.seen()
    assert [(one.who, one.why) for one in read_history(other).values()] == [("ann", "first")]
    promote(other, 2, "bob", "")
    assert [one.who for one in read_history(remote.seen()).values()] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://no-such-bucket/models", "cannot be"),
        ("file:///tmp/models", "only s3://, gs:// and az:// have the conditional writes"),
        ("memory:///", "only s3://, gs:// and az://"),
        ("nonsense", "cannot be opened"),
    ],
)
def test_a_remote_that_cannot_be_used_is_one_sentence_with_its_name(
    address: str, tmp_path: Path, url: str, sentence: str
) -> None:
    """Whoever runs it reads which registry and what about it; nothing of a stack."""
    del address

    def use() -> None:
        attach(tmp_path, url)
        build_artifact(tmp_path, FOUR, trees=2)

    with pytest.raises(BadSetting, match=f"registry {url.rstrip('/')}.*{sentence}") as told:
        use()
    assert "\n" not in str(told.value)


def test_a_remote_that_does_not_answer_is_told_in_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there: a sentence, and the copy stays as it is."""
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:1", "ALLOW_HTTP": "true", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    attach(tmp_path, "s3://nobody/models")
    with pytest.raises(BadSetting, match=r"registry s3://nobody/models: lineup.json cannot be read"):
        pull(tmp_path)


def test_a_folder_is_a_copy_of_one_registry(remote: Remote, tmp_path: Path) -> None:
    """A registry of its own and a copy of another one are not turned into a copy; attaching again does nothing."""
    mine = remote.copy()
    attach(mine, remote.url)
    with pytest.raises(BadSetting, match="is a copy of"):
        attach(mine, "s3://other/models")
    build_artifact(tmp_path / "own", FOUR, trees=2)
    with pytest.raises(BadSetting, match="is a registry of its own"):
        attach(tmp_path / "own", remote.url)
