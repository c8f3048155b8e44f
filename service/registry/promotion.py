"""Promotion: making versions and policies live, and undoing it. Publishing alone makes nothing live.

Every function takes the registry's folder, or that of a copy of a remote one, and returns the lineup that it
made; running services follow by themselves. What goes live is checked first (`habits` are those of the
deployment, None: those that a version learned from): BadArtifact says why not, and nothing is changed.
BadSetting: the registry cannot be written, or what is asked for does not fit what is there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

from service.core.profile import Habits
from service.errors import BadArtifact, BadSetting
from service.registry.checks import check_loads, check_policy, not_better
from service.registry.lineup_file import BlendAnswer, CanaryAnswer, Change, LineupSpec, Version, change_lineup
from service.registry.manifest import ThresholdChoice

_MEAN: Final = "the mean of the versions' own; set it by a backtest"


def promote(  # noqa: PLR0913  what a promotion may be asked, all by name
    registry: Path,
    version: int,
    who: str,
    why: str,
    *,
    habits: Habits | None = None,
    at_ms: int | None = None,
    margin: float | None = None,
    force: bool = False,
) -> LineupSpec:
    """Make a version the champion that answers; a blend or a canary ends with it.

    With a `margin`, its manifest must say that it is better than the present champion by as much on the same test
    rows, or BadArtifact; `force` overrules that alone, wants a `why`, and the history keeps what was overruled.
    """
    if force and not why.strip():
        raise BadSetting("a promotion is forced for a reason: say why")
    manifest = check_loads(registry, version, habits)

    def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        challengers = () if present is None else tuple(one for one in present.challengers if one != version)
        refused = ""
        if margin is not None and present is not None and present.champion != version:
            refused = not_better(manifest, present.champion, margin)
        if refused and not force:
            raise BadArtifact(f"{refused}; train it again beside this champion, or force it and say why")
        policy = 0 if present is None else present.policy
        lineup = LineupSpec(champion=version, challengers=challengers, policy=policy)
        return Change(at_ms=_now_ms(at_ms), who=who, why=why, forced=refused, lineup=lineup)

    return change_lineup(registry, change)


def set_challengers(
    registry: Path,
    versions: Sequence[int],
    who: str,
    why: str,
    *,
    habits: Habits | None = None,
    at_ms: int | None = None,
) -> LineupSpec:
    """Let these versions, and no others, score in shadow beside what answers. BadSetting without a champion."""
    for version in versions:
        check_loads(registry, version, habits)

    def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        lineup = _changed(present, challengers=tuple(dict.fromkeys(versions)))
        return Change(at_ms=_now_ms(at_ms), who=who, why=why, lineup=lineup)

    return change_lineup(registry, change)


def set_blend(  # noqa: PLR0913  as promote
    registry: Path,
    versions: Sequence[int],
    who: str,
    why: str,
    *,
    review: float | None = None,
    decline: float | None = None,
    habits: Habits | None = None,
    at_ms: int | None = None,
) -> LineupSpec:
    """Let the mean score of these versions answer; the champion stays champion, in shadow if it is none of them.

    Thresholds that are not given are the mean of the versions' own: a start, to be set by a backtest.
    """
    chosen = [check_loads(registry, version, habits).thresholds for version in versions]
    if len(set(versions)) < max(2, len(versions)):
        raise BadSetting("a blend needs two versions or more, each once")
    answer = BlendAnswer(versions=tuple(versions), thresholds=_blended(chosen, review, decline))

    def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        lineup = _changed(present, answer=answer, challengers=_without(present, versions))
        return Change(at_ms=_now_ms(at_ms), who=who, why=why, lineup=lineup)

    return change_lineup(registry, change)


def set_canary(
    registry: Path,
    version: int,
    share: float,
    who: str,
    why: str,
    *,
    habits: Habits | None = None,
    at_ms: int | None = None,
) -> LineupSpec:
    """Let a version answer for a share of the users (0 < share < 1) and the champion for the others.

    It ends with the promotion of either, or with a rollback.
    """
    if not 0.0 < share < 1.0:
        raise BadSetting(
            f"a canary share of {share:g}: it lies between 0 and 1; a promotion or a rollback ends a canary"
        )
    check_loads(registry, version, habits)

    def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        if present is not None and present.champion == version:
            raise BadSetting(f"version {version} is the champion: a canary is another version")
        answer = CanaryAnswer(version=version, share=share)
        lineup = _changed(present, answer=answer, challengers=_without(present, (version,)))
        return Change(at_ms=_now_ms(at_ms), who=who, why=why, lineup=lineup)

    return change_lineup(registry, change)


def activate_policy(registry: Path, policy: int, who: str, why: str, *, at_ms: int | None = None) -> LineupSpec:
    """Let a published policy decide with whatever answers; 0 = none, so that thresholds and lists decide alone.

    Raises BadSetting without a `why`, without a champion, or when that policy is the one that decides.
    """
    if not why.strip():
        raise BadSetting("what decides is changed for a reason: say why")

    def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        lineup = _changed(present, policy=policy)
        if present is not None and present.policy == policy:
            raise BadSetting(f"policy {policy} is the one that decides" if policy else "no policy is active")
        check_policy(registry, policy, lineup)
        return Change(at_ms=_now_ms(at_ms), who=who, why=why, lineup=lineup)

    return change_lineup(registry, change)


def rollback(
    registry: Path, who: str, why: str, *, habits: Habits | None = None, at_ms: int | None = None
) -> LineupSpec:
    """Go back to the answer before the present one, and to the policy that decided then; challengers stay.

    Like "undo": a second rollback goes one answer or policy further back. It passes over answers of retired versions.
    When `lineup.json` is lost or not readable, the newest lineup of the history is restored instead. What it goes back
    to is checked as by `promote`. Raises BadSetting when the history knows nothing to go back to.
    """

    def change(present: LineupSpec | None, past: dict[int, Change]) -> Change:
        target = past[max(past)] if present is None and past else before(present, past)
        if target is None:
            raise BadSetting("there is nothing to roll back to: the history knows no earlier answer")
        for version in target.lineup.answering:
            check_loads(registry, version, habits)
        lineup = target.lineup
        if present is None or lineup.policy != present.policy:
            check_policy(registry, lineup.policy, lineup)
        if present is not None:
            answer, challengers = lineup.answer, _without(present, lineup.answering)
            fields = {"champion": lineup.champion, "answer": answer, "policy": lineup.policy}
            lineup = _changed(present, **fields, challengers=challengers)
        restores = target.restores or target.lineup.revision
        return Change(at_ms=_now_ms(at_ms), who=who, why=why, restores=restores, lineup=lineup)

    return change_lineup(registry, change, repair=True)


def before(present: LineupSpec | None, past: dict[int, Change]) -> Change | None:
    """Return what a rollback goes back to: the newest other answer or policy before that whence the present comes."""
    if present is None:
        return None
    now = past.get(present.revision)
    origin = present.revision if now is None or now.restores is None else now.restores
    for revision in sorted(past, reverse=True):
        lineup = past[revision].lineup
        is_other = _deciding(lineup) != _deciding(present)
        if revision < origin and is_other and not {lineup.champion, *lineup.answering}.intersection(present.retired):
            return past[revision]
    return None


def _deciding(lineup: LineupSpec) -> tuple[object, ...]:
    """Return what makes two lineups decide alike."""
    return lineup.champion, lineup.answer, lineup.policy


def _blended(own: Sequence[ThresholdChoice], review: float | None, decline: float | None) -> ThresholdChoice:
    """Return the thresholds of a blend: those given, else the mean of its versions' own; and why these."""
    said = {name: _MEAN if given is None else "given" for name, given in (("review", review), ("decline", decline))}
    review = fmean(one.review for one in own) if review is None else review
    decline = fmean(one.decline for one in own) if decline is None else decline
    if not 0.0 <= review <= decline <= 1.0:
        raise BadSetting(f"thresholds of {review:g} and {decline:g}: 0 ≤ review ≤ decline ≤ 1 must hold")
    alike = len(set(said.values())) == 1
    why = said["review"] if alike else "; ".join(f"{name}: {reason}" for name, reason in said.items())
    return ThresholdChoice(review=review, decline=decline, why=why)


def _changed(present: LineupSpec | None, **fields: object) -> LineupSpec:
    """Return a lineup with other fields; `change_lineup` refuses those that want a retired version."""
    if present is None:
        raise BadSetting("there is no champion yet: promote a version first")
    return LineupSpec.model_validate({**dict(present), "retired": (), **fields})


def _without(present: LineupSpec | None, versions: Sequence[Version]) -> tuple[Version, ...]:
    """Return the challengers but for these versions."""
    return () if present is None else tuple(one for one in present.challengers if one not in versions)


def _now_ms(at_ms: int | None) -> int:
    return time.time_ns() // 1_000_000 if at_ms is None else at_ms
