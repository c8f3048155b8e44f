"""Reads the Dockerfile: stages, and their instructions in order, as far as this project uses the language."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.tree.files import ROOT

DOCKERFILE = ROOT / "Dockerfile"


class Step(NamedTuple):
    """One instruction, such as `RUN`, and all that follows it, on one line and without its flags."""

    name: str
    text: str
    flags: Mapping[str, str] = {}

    def words(self) -> list[str]:
        """Return what follows, split as a shell would."""
        return shlex.split(self.text)

    def exec_form(self) -> list[str]:
        """Return the command of `CMD ["…"]` and its like; fails when a shell would stand in between."""
        command = json.loads(self.text.removeprefix("CMD ") if self.name == "HEALTHCHECK" else self.text)
        assert isinstance(command, list), f"{self.name} {self.text}: a shell would get the signals"
        return command


class Stage(NamedTuple):
    """What one `FROM` begins."""

    name: str
    base: str
    steps: tuple[Step, ...]

    def last(self, name: str) -> Step | None:
        """Return the last instruction of a name, the one that counts."""
        return next((step for step in reversed(self.steps) if step.name == name), None)


def stages(path: Path = DOCKERFILE) -> dict[str, Stage]:
    """Return the stages by name, in order."""
    arguments: dict[str, str] = {}
    found: dict[str, Stage] = {}
    for step in _steps(path.read_text(encoding="utf-8")):
        if step.name == "ARG" and not found:
            name, _, value = step.text.partition("=")
            arguments[name] = value
        elif step.name == "FROM":
            base, _, name = step.text.partition(" AS ")
            for argument, value in arguments.items():
                base = base.replace(f"${{{argument}}}", value)
            found[name] = Stage(name, base, ())
        else:
            last = found[next(reversed(found))]
            found[last.name] = last._replace(steps=(*last.steps, step))
    return found


def _steps(text: str) -> Iterator[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for whole in re.split(r"(?<!\\)\n", "\n".join(lines)):
        name, _, rest = re.sub(r"\\\n\s*", "", whole).partition(" ")
        flags = {}
        while match := re.match(r"--([a-z-]+)=(\S+) +", rest):
            flags[match[1]] = match[2]
            rest = rest[match.end() :]
        yield Step(name, rest.strip(), flags)
