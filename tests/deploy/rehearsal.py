"""Does in a clean directory what an engine would do with the Dockerfile: its steps, on this machine's own Python.

A path of the image, such as /opt/fraud, becomes one below the directory. Left out is what needs a root of its own:
Debian's packages and users; every step that is, is named by `skipped`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.deploy.dockerfile import Stage, Step, stages

_OF_THE_SYSTEM: Final = ("apt-get ", "groupadd ")

_PLACES: Final = re.compile(
    r"(?<![\w./$}])/(?=(?:opt|app|build|etc/fraud|var/lib/fraud|var/cache/pip|usr/local/bin)\b)"
)
"""Where a path of the image begins, as far as this project's are concerned."""

_LEFT_OUT: Final = shutil.ignore_patterns("__pycache__")
"""As .dockerignore has it."""


class Image:
    """A stage as it stands after its steps: a folder instead of a root, and what it runs with."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        """Begin with nothing but this machine's Python, as the base image begins with its own."""
        self.folder = folder
        self.stage = stage
        self.workdir = Path("/")
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        self.skipped: list[str] = []

    def path(self, path: str | Path) -> Path:
        """Return where a path of the image lies on this machine."""
        return self.folder / (self.workdir / path).relative_to("/")

    def here(self, text: str) -> str:
        """Return a command of the image as one of this machine."""
        return _PLACES.sub(f"{self.folder}/", text)

    def start(self, command: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command as a container would; its output goes to a file."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [shutil.which(command[0], path=self._environment()["PATH"]) or command[0], *command[1:]],
                cwd=self.path("."),
                env={**self._environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _environment(self) -> dict[str, str]:
        found = {name: self.here(value) for name, value in self.environment.items()}
        python = Path(sys.executable).resolve().parent  # which the base image has in /usr/local/bin
        return {**found, "PATH": found["PATH"].replace("/usr/bin", f"{python}:/usr/bin", 1)}

    def run(self, step: Step) -> None:
        """Do a RUN; fails with all that it said when it fails."""
        if step.text.startswith(_OF_THE_SYSTEM):
            self.skipped.append(step.text)
            return
        passed = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP"))}
        done = subprocess.run(
            ["/bin/sh", "-c", self.here(step.text)],
            cwd=self.path("."),
            env={**passed, **self._environment(), "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"RUN {step.text}\n{done.stdout}\n{done.stderr}"

    def copy(self, step: Step, source: Path) -> None:
        """Do a COPY out of a folder: the context, or what is below another stage's."""
        *names, into = step.words()
        for name in names:
            found, target = source / name.lstrip("/"), self.path(into)
            if into.endswith("/"):
                target /= Path(name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                shutil.copytree(found, target, symlinks=True, ignore=_LEFT_OUT, dirs_exist_ok=True)
            else:
                shutil.copy2(found, target)


class Builder:
    """Builds stages, each once, out of a context and below an empty folder."""

    def __init__(self, context: Path, folder: Path) -> None:
        """Read the Dockerfile; nothing is built yet."""
        self._context = context
        self._folder = folder
        self._stages = stages()
        self._built: dict[str, Image] = {}

    def build(self, name: str) -> Image:
        """Return a stage as it stands after its steps, and after those of the stages that it needs."""
        if name not in self._built:
            self._built[name] = image = self._begun(self._stages[name])
            for step in image.stage.steps:
                self._do(step, image)
        return self._built[name]

    def _begun(self, stage: Stage) -> Image:
        """Return a stage as its base left it."""
        image = Image(self._folder / stage.name, stage)
        if stage.base in self._stages:
            base = self.build(stage.base)
            shutil.copytree(base.folder, image.folder, symlinks=True)
            image.workdir, image.environment, image.skipped = base.workdir, dict(base.environment), [*base.skipped]
        return image

    def _do(self, step: Step, image: Image) -> None:
        match step.name:
            case "RUN":
                image.run(step)
            case "COPY":
                image.copy(step, self.build(step.flags["from"]).folder if "from" in step.flags else self._context)
            case "WORKDIR":
                image.workdir = Path(step.text)
                image.path(".").mkdir(parents=True, exist_ok=True)
            case "ENV":
                for named in step.words():
                    variable, _, value = named.partition("=")
                    before = image.environment.get(variable, "")
                    image.environment[variable] = value.replace(f"${{{variable}}}", before)
