"""Retirement: a version's files go, its number and its manifest stay, so that the history remains readable."""

from __future__ import annotations

import time
from pathlib import Path

from service.errors import BadArtifact, BadSetting
from service.registry.artifact import retired, sweep, versions
from service.registry.files import remote_of, sole_writer
from service.registry.lineup_file import Change, LineupSpec, change_lineup
from service.registry.promotion import before


def retire(
    registry: Path, version: int, who: str, why: str, *, at_ms: int | None = None, force: bool = False
) -> LineupSpec:
    """Remove a version that is not live, for good, and return the lineup.

    Raises BadSetting without a `why`, when the version is wanted by the lineup, or when it is what a rollback would
    go back to (`force` overrules that alone); BadArtifact when there is no such version. It has happened when the
    lineup says so; files that a crash left are removed by the next retirement or publication.
    """
    if not why.strip():
        raise BadSetting("a version is retired for a reason: say why")

    if remote_of(registry):
        from service.registry.remote import refresh  # noqa: PLC0415  most registries have no remote one

        refresh(registry)

    def change(present: LineupSpec | None, past: dict[int, Change]) -> Change:
        if version in retired(registry):
            raise BadArtifact(f"version {version} was retired before")
        if version not in versions(registry):
            raise BadArtifact(f"version {version} is not in the registry {registry}")
        if present is None:
            raise BadSetting("nothing was promoted yet, so there is no history to keep a retirement in")
        if version in present.wanted:
            raise BadSetting(f"version {version} is live ({present.role(version)}): only what is not live is retired")
        back = before(present, past)
        if back is not None and version in {back.lineup.champion, *back.lineup.answering} and not force:
            raise BadSetting(f"a rollback would go back to version {version}: force it if it must go")
        at = time.time_ns() // 1_000_000 if at_ms is None else at_ms
        return Change(at_ms=at, who=who, why=why, retires=version, lineup=present)

    lineup = change_lineup(registry, change)
    if remote_of(registry):
        from service.registry.remote import sweep_remote  # noqa: PLC0415  most registries have no remote one

        sweep_remote(registry)
    with sole_writer(registry):
        sweep(registry)
    return lineup
