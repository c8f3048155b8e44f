"""The lineup on disk and the promotions: atomic, remembered, undone; no writer loses another's change."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.core.features import FEATURES
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import version_path
from service.registry.lineup_file import (
    BlendAnswer,
    CanaryAnswer,
    Change,
    LineupSpec,
    change_lineup,
    read_history,
    read_lineup,
)
from service.registry.manifest import ThresholdChoice
from service.registry.promotion import promote, rollback, set_challengers
from tests.registry.build import build_artifact

FOUR = FEATURES[:4]
BLEND = BlendAnswer(versions=(1, 2), thresholds=ThresholdChoice(review=0.4, decline=0.8, why="a test"))


def _set(lineup: LineupSpec, who: str = "ann") -> Callable[..., Change]:
    return lambda _present, _past: Change(at_ms=1, who=who, why="a test", lineup=lineup)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return a registry with three versions and no lineup."""
    for seed in range(3):
        build_artifact(tmp_path, FOUR, seed=seed, trees=2)
    return tmp_path


def test_nothing_is_live_before_a_promotion(registry: Path) -> None:
    """Publishing makes no lineup and no history."""
    assert read_lineup(registry) is None
    assert read_history(registry) == {}


def test_promote_makes_a_champion_that_answers(registry: Path) -> None:
    """A promotion is a new revision, remembered with who, when and why."""
    promote(registry, 1, "ann", "first", at_ms=1000)
    spec = promote(registry, 2, "bob", "better", at_ms=2000)
    assert spec == read_lineup(registry) == LineupSpec(revision=2, champion=2)
    assert [(one.who, one.why, one.at_ms, one.lineup.champion) for one in read_history(registry).values()] == [
        ("ann", "first", 1000, 1),
        ("bob", "better", 2000, 2),
    ]


def test_a_challenger_that_is_promoted_challenges_no_more(registry: Path) -> None:
    """A promotion keeps the other challengers."""
    promote(registry, 1, "ann", "")
    set_challengers(registry, (2, 3), "ann", "")
    assert promote(registry, 2, "ann", "") == LineupSpec(revision=3, champion=2, challengers=(3,))


def test_a_challenger_needs_a_champion(registry: Path) -> None:
    """Without a champion there is nothing to challenge."""
    with pytest.raises(BadSetting, match="promote a version first"):
        set_challengers(registry, (2,), "ann", "")


@pytest.mark.parametrize("act", [promote, lambda registry, version, *said: set_challengers(registry, [version], *said)])
def test_a_version_that_does_not_load_is_not_promoted(registry: Path, act: Callable[..., LineupSpec]) -> None:
    """A broken version, or one that is not there, changes nothing and is refused with its reason."""
    promote(registry, 1, "ann", "")
    (version_path(registry, 2) / "model.txt").write_text("")
    with pytest.raises(BadArtifact, match=r"version 2 cannot go live: model.txt does not have the checksum"):
        act(registry, 2, "ann", "")
    with pytest.raises(BadArtifact, match="version 9 is not in the registry"):
        act(registry, 9, "ann", "")
    assert read_lineup(registry) == LineupSpec(revision=1, champion=1)


def test_the_deployments_habits_decide(registry: Path) -> None:
    """A version that learned from other habits than the deployment's is not promoted."""
    with pytest.raises(BadArtifact, match="habits of attempts"):
        promote(registry, 1, "ann", "", habits="settlements")


def test_rollback_is_undo(registry: Path) -> None:
    """Each rollback goes one answer further back; a promotion after it begins anew."""
    for version in (1, 2, 3):
        promote(registry, version, "ann", "")
    assert rollback(registry, "ann", "worse") == LineupSpec(revision=4, champion=2)
    assert rollback(registry, "ann", "worse") == LineupSpec(revision=5, champion=1)
    with pytest.raises(BadSetting, match="nothing to roll back to"):
        rollback(registry, "ann", "worse")
    promote(registry, 3, "ann", "")
    assert rollback(registry, "ann", "worse") == LineupSpec(revision=7, champion=1)


def test_rollback_passes_over_changes_of_challengers(registry: Path) -> None:
    """It is the answer that goes back; challengers stay, but none that answers."""
    promote(registry, 1, "ann", "")
    promote(registry, 2, "ann", "")
    set_challengers(registry, (1, 3), "ann", "")
    assert rollback(registry, "ann", "") == LineupSpec(revision=4, champion=1, challengers=(3,))


def test_rollback_restores_a_blend(registry: Path) -> None:
    """What answered is restored whole: versions and thresholds."""
    change_lineup(registry, _set(LineupSpec(champion=1, answer=BLEND)))
    promote(registry, 3, "ann", "")
    assert rollback(registry, "ann", "") == LineupSpec(revision=3, champion=1, answer=BLEND)


def test_rollback_does_not_go_back_to_what_no_longer_loads(registry: Path) -> None:
    """What a rollback would make live is checked as for a promotion."""
    promote(registry, 1, "ann", "")
    promote(registry, 2, "ann", "")
    (version_path(registry, 1) / "golden.json").unlink()
    with pytest.raises(BadArtifact, match="version 1 cannot go live"):
        rollback(registry, "ann", "")


def test_rollback_needs_a_lineup(registry: Path) -> None:
    """Before the first promotion there is nothing to undo."""
    with pytest.raises(BadSetting, match="nothing to roll back to"):
        rollback(registry, "ann", "")


def test_no_writer_loses_what_another_one_did(tmp_path: Path) -> None:
    """Of many writers at once each change is made on top of the one before, and all are in the history."""

    def add(challenger: int) -> None:
        def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
            before = () if present is None else present.challengers
            return Change(
                at_ms=1, who=str(challenger), why="", lineup=LineupSpec(champion=1, challengers=(*before, challenger))
            )

        change_lineup(tmp_path, change)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(2, 34)))
    spec = read_lineup(tmp_path)
    assert spec is not None
    assert spec.revision == 32
    assert sorted(spec.challengers) == list(range(2, 34))
    assert list(read_history(tmp_path)) == list(range(1, 33))


def test_who_changes_what_they_saw_is_told_when_it_changed(tmp_path: Path) -> None:
    """With an expected revision, the second of two writers is refused and changes nothing."""
    change_lineup(tmp_path, _set(LineupSpec(champion=1)), expected_revision=0)
    change_lineup(tmp_path, _set(LineupSpec(champion=2)), expected_revision=1)
    with pytest.raises(BadSetting, match="it has revision 2, not 1"):
        change_lineup(tmp_path, _set(LineupSpec(champion=3)), expected_revision=1)
    assert read_lineup(tmp_path) == LineupSpec(revision=2, champion=2)


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Lineup and history are as before, and the lock is free."""
    change_lineup(tmp_path, _set(LineupSpec(champion=1)))

    def fail(_present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        raise BadSetting("no")

    with pytest.raises(BadSetting, match="no"):
        change_lineup(tmp_path, fail)
    assert change_lineup(tmp_path, _set(LineupSpec(champion=2))).revision == 2


def test_a_crash_between_history_and_lineup_did_not_happen(tmp_path: Path) -> None:
    """A line of the history that the lineup never reached is replaced by the next change."""
    change_lineup(tmp_path, _set(LineupSpec(champion=1)))
    before = (tmp_path / "lineup.json").read_bytes()
    change_lineup(tmp_path, _set(LineupSpec(champion=2), who="crashed"))
    (tmp_path / "lineup.json").write_bytes(before)
    change_lineup(tmp_path, _set(LineupSpec(champion=3), who="next"))
    assert [(revision, one.who) for revision, one in read_history(tmp_path).items()] == [(1, "ann"), (2, "next")]


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    """Half a line of history hides neither the lines before it nor those after."""
    change_lineup(tmp_path, _set(LineupSpec(champion=1)))
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"at_ms": 17, "wh')
    change_lineup(tmp_path, _set(LineupSpec(champion=2)))
    assert list(read_history(tmp_path)) == [1, 2]


def test_revisions_go_on_when_the_lineup_was_lost(tmp_path: Path) -> None:
    """A revision that was served is never given to another lineup."""
    change_lineup(tmp_path, _set(LineupSpec(champion=1)))
    change_lineup(tmp_path, _set(LineupSpec(champion=2)))
    (tmp_path / "lineup.json").unlink()
    assert change_lineup(tmp_path, _set(LineupSpec(champion=3))).revision == 3


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"champion": 0}', '{"champion": 1, "colour": 2}', '{"champion": 1, "format": 2}']
)
def test_an_unreadable_lineup_is_reported_and_not_overwritten(registry: Path, text: str) -> None:
    """A lineup that is not one is a sentence with its path, for readers and for who would change it."""
    (registry / "lineup.json").write_text(text)
    with pytest.raises(BadSetting, match=r"lineup.json is not a lineup"):
        read_lineup(registry)
    with pytest.raises(BadSetting, match=r"lineup.json is not a lineup"):
        promote(registry, 1, "ann", "")
    assert (registry / "lineup.json").read_text() == text


@pytest.mark.parametrize(
    ("spec", "answering", "shadowing"),
    [
        (LineupSpec(champion=1), (1,), ()),
        (LineupSpec(champion=1, challengers=(2, 3)), (1,), (2, 3)),
        (LineupSpec(champion=1, answer=BLEND, challengers=(3,)), (1, 2), (3,)),
        (LineupSpec(champion=3, answer=BLEND, challengers=(2, 4)), (1, 2), (3, 4)),
        (LineupSpec(champion=1, answer=CanaryAnswer(version=2, share=0.1), challengers=(2, 3)), (1, 2), (3,)),
    ],
)
def test_who_answers_and_who_shadows(spec: LineupSpec, answering: tuple[int, ...], shadowing: tuple[int, ...]) -> None:
    """A version either answers or shadows; a champion that does not answer is compared in shadow."""
    assert (spec.answering, spec.shadowing, spec.wanted) == (answering, shadowing, answering + shadowing)


@pytest.mark.parametrize(
    "fields",
    [
        {"challengers": [2, 2]},
        {"answer": {"kind": "blend", "versions": [1], "thresholds": {"review": 0, "decline": 1, "why": ""}}},
        {"answer": {"kind": "blend", "versions": [1, 1], "thresholds": {"review": 0, "decline": 1, "why": ""}}},
        {"answer": {"kind": "blend", "versions": [1, 2]}},
        {"answer": {"kind": "canary", "version": 2, "share": 1.5}},
        {"answer": {"kind": "canary", "version": 1, "share": 0.5}},
        {"answer": {"kind": "oracle"}},
    ],
)
def test_a_lineup_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    """Repeated versions, a blend of one, a share above one and unknown answers are refused."""
    with pytest.raises(ValidationError):
        LineupSpec.model_validate_json(json.dumps({"champion": 1, **fields}))
