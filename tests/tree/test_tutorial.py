"""The tutorial works: every block of it, run in order in a copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.tree.files import ROOT

TUTORIAL: Final = ROOT / "docs" / "tutorial.md"
BLOCK: Final = re.compile(r"^```(sh|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGE: Final = re.compile(r"^\+\+\+ b/(?P<path>.+)$", re.MULTILINE)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def hunks(diff: str) -> list[tuple[str, str]]:
    """Return what stands before and after, for each piece of a diff."""
    pieces = re.split(r"^@@.*\n", diff, flags=re.MULTILINE)[1:]
    found = []
    for piece in pieces:
        lines = piece.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if not line.startswith("+"))
        after = "".join(line[1:] for line in lines if not line.startswith("-"))
        found.append((before, after))
    return found


def apply(diff: str, tree: Path) -> None:
    """Make the change that a diff of the tutorial shows; what it changes must stand there exactly once."""
    shown = CHANGE.search(diff)
    assert shown is not None, diff
    path = tree / shown["path"]
    text = path.read_text("utf-8")
    for before, after in hunks(diff):
        assert text.count(before) == 1, f"{shown['path']} has {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    path.write_text(text, "utf-8")


def script() -> str:
    """Return the blocks of the tutorial as one script; a diff becomes a call of this module."""
    pieces = ["set -euo pipefail"]
    for number, (kind, content) in enumerate(BLOCK.findall(TUTORIAL.read_text("utf-8"))):
        pieces.append(f"echo '--- block {number}'")
        pieces.append(content if kind == "sh" else f'"$APPLY" {number}')
    return "\n".join(pieces)


@pytest.mark.timeout(600)
def test_every_block_of_the_tutorial_runs(tmp_path: Path) -> None:
    """The script of all blocks ends well, and what it promises came true."""
    tree = tmp_path / "tree"
    for part in ("service", "training"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    blocks = BLOCK.findall(TUTORIAL.read_text("utf-8"))
    apply_command = tmp_path / "apply"
    apply_command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\nfrom tests.tree.test_tutorial import BLOCK, TUTORIAL, apply\n"
        "apply(BLOCK.findall(TUTORIAL.read_text('utf-8'))[int(sys.argv[1])][1], Path.cwd())\n",
        "utf-8",
    )
    apply_command.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRAUD_")} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PORT": str(free_port()),
        "APPLY": str(apply_command),
        "NO_COLOR": "1",
    }
    log = tmp_path / "tutorial.log"
    with (
        log.open("w", encoding="utf-8") as said,
        subprocess.Popen(
            ["bash", "-c", script()],
            cwd=tree,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as shell,
    ):
        try:
            status = shell.wait(timeout=540)
        finally:
            # The service is a job of the shell: whatever happened, nothing of the session stays behind.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    text = log.read_text("utf-8")
    assert status == 0, text[-6000:]
    assert len(blocks) == text.count("--- block ")
    history = (tree / "var/tutorial/registry/history.jsonl").read_text("utf-8")
    assert len(history.splitlines()) == 4, "promoted, shadowed, promoted, rolled back"
    assert '"sellers_of_card"' in (tree / "var/tutorial/registry/versions/000002/manifest.json").read_text("utf-8")
