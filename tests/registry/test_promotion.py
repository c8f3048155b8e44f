"""Promotions with their checks, blends, canaries, retirements: each is a change with who, when and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.core.features import FEATURES
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import publish, read_artifact, read_manifest, retired, version_path, versions
from service.registry.lineup_file import (
    BlendAnswer,
    CanaryAnswer,
    Change,
    LineupSpec,
    change_lineup,
    read_history,
    read_lineup,
)
from service.registry.manifest import Comparison, Interval, ThresholdChoice
from service.registry.promotion import promote, rollback, set_blend, set_canary, set_challengers
from service.registry.retirement import retire
from tests.registry.build import build_artifact

FOUR = FEATURES[:4]


def compared(champion: int, difference: float) -> Comparison:
    """Return a comparison with a champion."""
    return Comparison(
        champion=champion,
        metric="average_precision",
        candidate_value=0.7 + difference,
        champion_value=0.7,
        difference=Interval(value=difference, low=difference - 0.01, high=difference + 0.01),
        rows=1000,
        frauds=10,
        overlap=False,
    )


def again(registry: Path, **fields: Any) -> int:
    """Publish the first version once more with other fields of the manifest, which is faster than to train one."""
    one = read_artifact(version_path(registry, 1))
    manifest = one.manifest.model_copy(update=fields)
    return publish(registry, one.model_text.decode(), manifest, one.golden, "")


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return a registry with three versions, the first one champion."""
    build_artifact(tmp_path, FOUR, trees=2)
    for number in (2, 3):
        review, decline = 0.1 * number, 0.2 * number
        again(tmp_path, thresholds=ThresholdChoice(review=review, decline=decline, why="a test"))
    promote(tmp_path, 1, "ann", "first")
    return tmp_path


def test_a_version_that_is_better_by_the_margin_is_promoted(registry: Path) -> None:
    """The difference to the present champion must reach the margin."""
    version = again(registry, comparison=compared(1, 0.02))
    with pytest.raises(BadArtifact, match=r"is not better than the champion, version 1, by 0.03: average precision"):
        promote(registry, version, "ann", "", margin=0.03)
    assert promote(registry, version, "ann", "", margin=0.02).champion == version
    assert read_history(registry)[2].forced == ""


@pytest.mark.parametrize(
    ("comparison", "sentence"),
    [
        (None, "version 4 was never compared with the champion, version 1"),
        (compared(3, 0.1), "version 4 was compared with version 3, and version 1 is champion now"),
        (compared(1, -0.1), "version 4 is not better than the champion, version 1, by 0"),
    ],
)
def test_a_version_that_is_not_better_needs_force_and_a_reason(
    registry: Path, comparison: Comparison | None, sentence: str
) -> None:
    """Refused with what is known; forced, the history keeps who overruled what, and why."""
    again(registry, comparison=comparison)
    with pytest.raises(BadArtifact, match=sentence):
        promote(registry, 4, "ann", "", margin=0.0)
    with pytest.raises(BadSetting, match="say why"):
        promote(registry, 4, "ann", " ", margin=0.0, force=True)
    assert read_lineup(registry) == LineupSpec(revision=1, champion=1)
    promote(registry, 4, "ann", "we must", margin=0.0, force=True)
    change = read_history(registry)[2]
    assert (change.who, change.why) == ("ann", "we must")
    assert change.forced.startswith(sentence)


def test_force_does_not_overrule_a_version_that_does_not_load(registry: Path) -> None:
    """Golden cases, features and checksums are no matter of opinion."""
    (version_path(registry, 2) / "golden.json").unlink()
    with pytest.raises(BadArtifact, match="version 2 cannot go live"):
        promote(registry, 2, "ann", "we must", margin=0.0, force=True)


def test_the_first_champion_and_the_present_one_need_no_comparison(registry: Path, tmp_path: Path) -> None:
    """There is nobody to compare the first one with; the champion ends a blend or a canary by its promotion."""
    set_canary(registry, 2, 0.1, "ann", "")
    assert promote(registry, 1, "ann", "", margin=0.0) == LineupSpec(revision=3, champion=1)
    build_artifact(tmp_path / "new", FOUR, trees=2)
    assert promote(tmp_path / "new", 1, "ann", "", margin=0.0).champion == 1


def test_a_blend_has_thresholds_of_its_own(registry: Path) -> None:
    """Those given, else the mean of its versions' own; the reason says which; the champion stays."""
    set_challengers(registry, [2, 3], "ann", "")
    lineup = set_blend(registry, [2, 3], "ann", "")
    assert isinstance(lineup.answer, BlendAnswer)
    assert (lineup.champion, lineup.answering, lineup.shadowing) == (1, (2, 3), (1,))
    assert (lineup.answer.thresholds.review, lineup.answer.thresholds.decline) == (0.25, 0.5)
    assert lineup.answer.thresholds.why == "the mean of the versions' own; set it by a backtest"
    given = set_blend(registry, [1, 3], "ann", "", review=0.01).answer
    assert isinstance(given, BlendAnswer)
    assert given.thresholds.review == 0.01
    assert given.thresholds.why == "review: given; decline: the mean of the versions' own; set it by a backtest"
    assert rollback(registry, "ann", "").answering == (2, 3)


@pytest.mark.parametrize(
    ("versions", "review", "sentence"),
    [((2,), None, "two versions"), ((2, 2), None, "two versions"), ((2, 3), 0.9, "0 ≤ review ≤ decline ≤ 1")],
)
def test_a_blend_that_makes_no_sense_is_refused(
    registry: Path, versions: tuple[int, ...], review: float | None, sentence: str
) -> None:
    """One version, the same one twice, and thresholds in the wrong order."""
    with pytest.raises(BadSetting, match=sentence):
        set_blend(registry, versions, "ann", "", review=review)


def test_a_canary_answers_for_a_share(registry: Path) -> None:
    """The champion stays, the canary challenges no more; a rollback ends it."""
    set_challengers(registry, [2, 3], "ann", "")
    lineup = set_canary(registry, 2, 0.05, "ann", "")
    assert lineup == LineupSpec(revision=3, champion=1, answer=CanaryAnswer(version=2, share=0.05), challengers=(3,))
    assert [lineup.role(version) for version in (1, 2, 3, 4)] == ["champion", "canary 5 %", "shadow", ""]
    assert rollback(registry, "ann", "") == LineupSpec(revision=4, champion=1, challengers=(3,))
    for version, share, sentence in ((2, 0.0, "canary share of 0"), (2, 1.0, "canary share of 1"), (1, 0.5, "another")):
        with pytest.raises(BadSetting, match=sentence):
            set_canary(registry, version, share, "ann", "")


def test_only_what_is_not_live_is_retired(registry: Path) -> None:
    """Not the champion, not a challenger, not without a reason, not twice, not what never was."""
    set_challengers(registry, [2], "ann", "")
    for version, why, sentence in (
        (1, "old", "version 1 is live .champion."),
        (2, "old", "version 2 is live .shadow."),
        (3, "", "say why"),
        (9, "old", "version 9 is not in the registry"),
    ):
        with pytest.raises((BadSetting, BadArtifact), match=sentence):
            retire(registry, version, "ann", why)
    retire(registry, 3, "ann", "old")
    with pytest.raises(BadArtifact, match="was retired before"):
        retire(registry, 3, "ann", "old")


def test_a_retired_version_leaves_its_number_its_manifest_and_a_line_of_history(registry: Path) -> None:
    """Its files go; nobody can promote it; the number is never given again, also after later changes."""
    manifest = read_manifest(version_path(registry, 3))
    retire(registry, 3, "ann", "wrong labels", at_ms=9)
    change = read_history(registry)[2]
    assert (change.at_ms, change.who, change.why, change.retires) == (9, "ann", "wrong labels", 3)
    assert (versions(registry), retired(registry)) == ([1, 2], {3})
    assert not version_path(registry, 3).exists()
    assert read_manifest(version_path(registry, 3)) == manifest
    assert promote(registry, 2, "ann", "").retired == (3,)
    with pytest.raises(BadArtifact, match="version 3 was retired"):
        promote(registry, 3, "ann", "")
    assert again(registry) == 4


def test_a_version_that_is_retired_while_it_is_checked_does_not_go_live(registry: Path) -> None:
    """The change itself looks once more, whatever was checked before it."""
    retire(registry, 3, "ann", "old")

    def challenge(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        assert present is not None
        return Change(at_ms=1, who="bob", why="", lineup=LineupSpec(champion=1, challengers=(3,)))

    with pytest.raises(BadArtifact, match="version 3 was retired"):
        change_lineup(registry, challenge)
    assert set_challengers(registry, [2], "bob", "") == LineupSpec(
        revision=3, champion=1, challengers=(2,), retired=(3,)
    )


def test_what_a_rollback_goes_back_to_is_retired_by_force_alone(registry: Path) -> None:
    """And then a rollback passes over it."""
    for version in (2, 3):
        promote(registry, version, "ann", "")
    with pytest.raises(BadSetting, match="a rollback would go back to version 2"):
        retire(registry, 2, "ann", "wrong labels")
    retire(registry, 2, "ann", "wrong labels", force=True)
    assert rollback(registry, "ann", "").champion == 1


@pytest.mark.parametrize("damage", ["", "{", None])
def test_a_rollback_restores_a_lineup_that_is_lost_or_not_readable(registry: Path, damage: str | None) -> None:
    """The newest lineup of the history comes back whole, as a change of its own; the next rollback is an undo again."""
    promote(registry, 2, "ann", "")
    set_challengers(registry, [1], "ann", "")
    retire(registry, 3, "ann", "old")
    if damage is None:
        (registry / "lineup.json").unlink()
    else:
        (registry / "lineup.json").write_text(damage)
    assert rollback(registry, "bob", "damaged") == LineupSpec(revision=5, champion=2, challengers=(1,), retired=(3,))
    assert read_history(registry)[5].restores == 4
    assert rollback(registry, "bob", "undo") == LineupSpec(revision=6, champion=1, retired=(3,))


def test_the_lineup_tells_who_made_it(registry: Path) -> None:
    """A history that lost its last line, or was lost, is completed from it, and the next change writes the line."""
    promote(registry, 2, "ann", "better")
    (registry / "history.jsonl").unlink()
    assert [(number, one.why) for number, one in read_history(registry).items()] == [(2, "better")]
    promote(registry, 1, "ann", "worse")
    (registry / "lineup.json").unlink()
    assert [(number, one.why) for number, one in read_history(registry).items()] == [(2, "better"), (3, "worse")]
