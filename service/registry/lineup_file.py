"""The lineup on disk: what should be live, and who changed it when and why.

`lineup.json` is replaced whole, so a reader needs no lock; `history.jsonl` gets one line per change.
Every change takes the registry's lock, reads, changes and writes, so that no writer loses what another
one did. The change has happened when `lineup.json` is replaced. It says itself who made it and why, so a
crash before the line of the history loses nothing: readers add that line, and the next change writes it.

In a copy of a remote registry a change happens there first: see `service.registry.remote`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from service.errors import BadArtifact, BadSetting
from service.registry.files import remote_of, replace_file, sole_writer
from service.registry.manifest import Part, Share, ThresholdChoice

LINEUP_FILE: Final = "lineup.json"
HISTORY_FILE: Final = "history.jsonl"

Version = Annotated[int, Field(ge=1)]


class ChampionAnswer(Part):
    """The champion answers, by the thresholds of its manifest."""

    kind: Literal["champion"] = "champion"


class BlendAnswer(Part):
    """The mean of the scores of several versions answers, by thresholds of its own."""

    kind: Literal["blend"] = "blend"
    versions: Annotated[tuple[Version, ...], Field(min_length=2)]
    thresholds: ThresholdChoice


class CanaryAnswer(Part):
    """One version answers for a share of the users, by hash, and the champion for the others."""

    kind: Literal["canary"] = "canary"
    version: Version
    share: Share


class LineupSpec(Part):
    """What should be live, as `lineup.json` says it; `change_lineup` counts the revision."""

    format: Literal[1] = 1
    revision: Annotated[int, Field(ge=0)] = 0
    champion: Version
    answer: Annotated[ChampionAnswer | BlendAnswer | CanaryAnswer, Field(discriminator="kind")] = ChampionAnswer()
    challengers: tuple[Version, ...] = ()
    retired: tuple[Version, ...] = ()
    """Versions that are gone for good; `change_lineup` carries them on."""
    policy: Annotated[int, Field(ge=0, exclude_if=lambda policy: policy == 0)] = 0
    """The published policy that decides; 0 = none, which earlier releases read as well."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for versions in (self.answering, self.challengers, self.retired):
            if len(set(versions)) != len(versions):
                raise ValueError("a version is listed twice")
        if gone := set(self.retired).intersection(self.wanted):
            raise ValueError(f"version {min(gone)} is retired and wanted")
        return self

    @property
    def answering(self) -> tuple[int, ...]:
        """Return the versions that answer."""
        match self.answer:
            case BlendAnswer(versions=versions):
                return versions
            case CanaryAnswer(version=version):
                return (self.champion, version)
        return (self.champion,)

    @property
    def shadowing(self) -> tuple[int, ...]:
        """Return the versions that score unseen: the challengers, and the champion when it does not answer."""
        return tuple(dict.fromkeys(v for v in (self.champion, *self.challengers) if v not in self.answering))

    @property
    def wanted(self) -> tuple[int, ...]:
        """Return all versions that are needed, those that answer first."""
        return self.answering + self.shadowing

    def role(self, version: int) -> str:
        """Return what a version is here, in words: `champion`, `blend`, `canary 5 %`, `shadow`, `retired` or ""."""
        share = self.answer.share if isinstance(self.answer, CanaryAnswer) else 0.0
        roles = {
            "champion": version == self.champion,
            "blend": isinstance(self.answer, BlendAnswer) and version in self.answer.versions,
            f"canary {share * 100:g} %": isinstance(self.answer, CanaryAnswer) and version == self.answer.version,
            "shadow": version in self.shadowing,
            "retired": version in self.retired,
        }
        return " + ".join(role for role, holds in roles.items() if holds)


class Made(Part):
    """How a lineup came to be: who made it what it is, when and why."""

    at_ms: int
    who: str
    why: str
    restores: int | None = None
    """The revision that a rollback went back to."""
    retires: int | None = None
    """The version that it took out for good."""
    forced: str = ""
    """The check that failed and was overruled."""
    token: str = ""
    """Tells a writer that got no answer from a remote registry whether this change is its own."""


class Change(Made):
    """One line of the history."""

    lineup: LineupSpec


class LineupFile(LineupSpec):
    """What `lineup.json` holds: the lineup, and how it came to be."""

    made: Made | None = None

    def spec(self) -> LineupSpec:
        """Return the lineup alone."""
        return LineupSpec(**{name: getattr(self, name) for name in LineupSpec.model_fields})

    def change(self) -> Change | None:
        """Return its line of the history; None when an earlier release wrote it."""
        return None if self.made is None else Change(**dict(self.made), lineup=self.spec())


Changing = Callable[[LineupSpec | None, dict[int, Change]], Change]
"""Makes the next change out of the present lineup (None: there is none) and the history up to it."""


def read_lineup(registry: Path) -> LineupSpec | None:
    """Read what should be live; None when nothing was ever promoted. Raises BadSetting when it is not readable."""
    file = read_lineup_file(registry)
    return None if file is None else file.spec()


def read_lineup_file(registry: Path) -> LineupFile | None:
    """Read the lineup and how it came to be, as `read_lineup` does."""
    path = registry / LINEUP_FILE
    try:
        return parsed_lineup(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error


def parsed_lineup(content: bytes, where: str) -> LineupFile:
    """Return the content of a `lineup.json`. Raises BadSetting that names `where` it lies."""
    try:
        return LineupFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadSetting(f"{where} is not a lineup: {field or 'the file'}: {first['msg']}") from error


def content_of(change: Change) -> bytes:
    """Return what `lineup.json` holds after a change."""
    made = Made(**{name: getattr(change, name) for name in Made.model_fields})
    return LineupFile(**dict(change.lineup), made=made).model_dump_json(indent=2).encode() + b"\n"


def read_history(registry: Path) -> dict[int, Change]:
    """Return the changes by revision, in order; the line that a crash prevented is taken from `lineup.json`."""
    lines = history_lines(registry)
    try:
        return completed(lines, read_lineup_file(registry))
    except BadSetting:
        return lines


def completed(lines: dict[int, Change], file: LineupFile | None) -> dict[int, Change]:
    """Return the history up to a lineup, whose own line wins over another one of the same revision."""
    if file is None:
        return lines
    change = file.change()
    past = {number: line for number, line in lines.items() if number <= file.revision}
    return past if change is None else {**past, file.revision: change}


def change_lineup(
    registry: Path, change: Changing, expected_revision: int | None = None, *, repair: bool = False
) -> LineupSpec:
    """Set what should be live to what `change` makes of the present lineup and the history; returns it.

    Versions that were retired stay so. Raises BadSetting when the registry cannot be written, when the present
    lineup is not readable (with `repair` it passes for one that is not there), or when its revision is not
    `expected_revision` (None: whatever it is; 0: there is none yet); BadArtifact when a retired version is wanted.
    """
    if remote_of(registry):
        from service.registry.remote import change_remote  # noqa: PLC0415  most registries have no remote one

        return change_remote(registry, change, expected_revision, repair=repair)
    with sole_writer(registry):
        file = readable(lambda: read_lineup_file(registry), repair=repair)
        lines = history_lines(registry)
        history = completed(lines, file)
        made = next_change(file, history, change, expected_revision)
        replace_file(registry / LINEUP_FILE, content_of(made))
        missing = (line for number, line in history.items() if lines.get(number) != line)
        append_history(registry, (*missing, made))
    return made.lineup


def readable(read: Callable[[], LineupFile | None], *, repair: bool) -> LineupFile | None:
    """Return a lineup; one that is not readable is None for a repair, else BadSetting that says what to do."""
    try:
        return read()
    except BadSetting as error:
        if repair:
            return None
        raise BadSetting(f"{error}; `training rollback` restores the newest one of the history") from error


def next_change(
    file: LineupFile | None, history: dict[int, Change], change: Changing, expected_revision: int | None
) -> Change:
    """Return the change that comes next, with its revision; see `change_lineup`."""
    revision = 0 if file is None else file.revision
    if expected_revision not in {None, revision}:
        raise BadSetting(f"the lineup was changed meanwhile: it has revision {revision}, not {expected_revision}")
    made = change(None if file is None else file.spec(), history)
    # After a lost lineup.json the history still knows which revisions were served and what was retired.
    newest = max(history, default=0)
    before = file if file is not None else history[newest].lineup if history else None
    retired = {*(() if before is None else before.retired), *(() if made.retires is None else (made.retires,))}
    if gone := retired.intersection(made.lineup.wanted):
        raise BadArtifact(f"version {min(gone)} was retired: `training show {min(gone)}` tells by whom and why")
    number = 1 + (newest if file is None else revision)
    lineup = made.lineup.model_copy(update={"revision": number, "retired": tuple(sorted(retired))})
    return made.model_copy(update={"lineup": lineup})


def history_lines(registry: Path) -> dict[int, Change]:
    """Return the changes that `history.jsonl` holds, by revision; a line that a crash cut short is left out."""
    try:
        lines = (registry / HISTORY_FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    changes = {}
    for line in lines:
        try:
            change = Change.model_validate_json(line)
        except ValidationError:
            continue
        changes[change.lineup.revision] = change
    return dict(sorted(changes.items()))


def append_history(registry: Path, changes: Iterable[Change]) -> None:
    """Add lines and wait until the disk has them; a line that a crash cut short is ended first. Needs the lock."""
    with (registry / HISTORY_FILE).open("a+b") as file:
        torn = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        lines = b"".join(change.model_dump_json().encode() + b"\n" for change in changes)
        file.write(b"\n" * torn + lines)
        file.flush()
        os.fsync(file.fileno())
