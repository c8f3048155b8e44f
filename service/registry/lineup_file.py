"""The lineup on disk: what should be live, and who changed it when and why.

`lineup.json` is replaced whole, so a reader needs no lock; `history.jsonl` gets one line per change.
Every change takes the registry's lock, reads, changes and writes, so that no writer loses what another
one did. The history is written first: a line whose revision `lineup.json` never reached did not happen,
and the next change, which gets the same revision, replaces it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from service.errors import BadSetting
from service.registry.files import replace_file, sole_writer
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

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for versions in (self.answering, self.challengers):
            if len(set(versions)) != len(versions):
                raise ValueError("a version is listed twice")
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


class Change(Part):
    """One line of the history: who made the lineup what it is, when and why."""

    at_ms: int
    who: str
    why: str
    restores: int | None = None
    """The revision that a rollback went back to."""
    lineup: LineupSpec


def read_lineup(registry: Path) -> LineupSpec | None:
    """Read what should be live; None when nothing was ever promoted. Raises BadSetting when it is not readable."""
    path = registry / LINEUP_FILE
    try:
        return LineupSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadSetting(f"{path} is not a lineup: {where or 'the file'}: {first['msg']}") from error


def read_history(registry: Path) -> dict[int, Change]:
    """Return the changes by revision, in order; a line that a crash cut short is left out."""
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


def change_lineup(
    registry: Path,
    change: Callable[[LineupSpec | None, dict[int, Change]], Change],
    expected_revision: int | None = None,
) -> LineupSpec:
    """Set what should be live to what `change` makes of the present lineup and the history; returns it.

    Raises BadSetting when the registry cannot be written, when the present lineup is not readable, or
    when its revision is not `expected_revision` (None: whatever it is; 0: there is none yet).
    """
    with sole_writer(registry):
        present = read_lineup(registry)
        revision = 0 if present is None else present.revision
        if expected_revision not in {None, revision}:
            raise BadSetting(f"the lineup was changed meanwhile: it has revision {revision}, not {expected_revision}")
        history = read_history(registry)
        past = {number: made for number, made in history.items() if number <= revision}
        made = change(present, past)
        # After a lost lineup.json the history still knows which revisions were served.
        number = 1 + (revision if present is not None else max(history, default=0))
        spec = made.lineup.model_copy(update={"revision": number})
        _append(registry / HISTORY_FILE, made.model_copy(update={"lineup": spec}))
        replace_file(registry / LINEUP_FILE, spec.model_dump_json(indent=2).encode() + b"\n")
    return spec


def _append(path: Path, change: Change) -> None:
    """Add a line and wait until the disk has it; a line that a crash cut short is ended first."""
    with path.open("a+b") as file:
        torn = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(b"\n" * torn + change.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
