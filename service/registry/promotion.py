"""Promotion: making versions live, and undoing it. Publishing alone makes nothing live."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from service.core.profile import Habits
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import read_manifest, version_path
from service.registry.lineup_file import Change, LineupSpec, change_lineup
from service.registry.servable import Servable


def promote(
    registry: Path, version: int, who: str, why: str, *, habits: Habits | None = None, at_ms: int | None = None
) -> LineupSpec:
    """Make a version the champion that answers, and return the lineup.

    The version is loaded first with every check that a worker makes; `habits` are those of the
    deployment (None: those that the version learned from). Raises BadArtifact and changes nothing when
    it does not pass, BadSetting when the registry cannot be written. Running services follow by themselves.
    """
    _check(registry, version, habits)

    def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        challengers = () if present is None else tuple(one for one in present.challengers if one != version)
        return Change(
            at_ms=_now_ms(at_ms), who=who, why=why, lineup=LineupSpec(champion=version, challengers=challengers)
        )

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
    """Let these versions, and no others, score in shadow beside the one that answers; returns the lineup.

    Checked and raised as by `promote`; BadSetting when nothing was promoted yet.
    """
    for version in versions:
        _check(registry, version, habits)

    def change(present: LineupSpec | None, _past: dict[int, Change]) -> Change:
        if present is None:
            raise BadSetting("a challenger needs a champion: promote a version first")
        changed = {**dict(present), "challengers": tuple(versions)}
        return Change(at_ms=_now_ms(at_ms), who=who, why=why, lineup=LineupSpec(**changed))

    return change_lineup(registry, change)


def rollback(
    registry: Path, who: str, why: str, *, habits: Habits | None = None, at_ms: int | None = None
) -> LineupSpec:
    """Go back to the answer before the present one, and return the lineup; challengers stay.

    Like "undo": a second rollback goes one answer further back. What it goes back to is checked as by
    `promote`. Raises BadSetting when the history knows no earlier answer.
    """

    def change(present: LineupSpec | None, past: dict[int, Change]) -> Change:
        earlier = None if present is None else _before(present, past)
        if present is None or earlier is None:
            raise BadSetting("there is nothing to roll back to: the history knows no earlier answer")
        answering = earlier.lineup.answering
        for version in answering:
            _check(registry, version, habits)
        changed = {
            **dict(present),
            "champion": earlier.lineup.champion,
            "answer": earlier.lineup.answer,
            "challengers": tuple(one for one in present.challengers if one not in answering),
        }
        restores = earlier.restores or earlier.lineup.revision
        return Change(at_ms=_now_ms(at_ms), who=who, why=why, restores=restores, lineup=LineupSpec(**changed))

    return change_lineup(registry, change)


def _before(present: LineupSpec, past: dict[int, Change]) -> Change | None:
    """Return the newest change with another answer, before the one that the present answer comes from."""
    now = past.get(present.revision)
    origin = present.revision if now is None or now.restores is None else now.restores
    for revision in sorted(past, reverse=True):
        lineup = past[revision].lineup
        if revision < origin and (lineup.champion, lineup.answer) != (present.champion, present.answer):
            return past[revision]
    return None


def _check(registry: Path, version: int, habits: Habits | None) -> None:
    path = version_path(registry, version)
    if not path.is_dir():
        raise BadArtifact(f"version {version} is not in the registry {registry}")
    try:
        Servable.load(path, habits or read_manifest(path).habits)
    except BadArtifact as error:
        raise BadArtifact(f"version {version} cannot go live: {error}") from error


def _now_ms(at_ms: int | None) -> int:
    return time.time_ns() // 1_000_000 if at_ms is None else at_ms
