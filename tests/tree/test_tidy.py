"""The tree is tidy: short files, nothing left behind, no link that leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.tree.files import ROOT, files, name

MAX_LINES: Final = 400

LONG: Final = {
    "service/core/features.py": "one declaration after the other; the list is read as a whole",
    "service/core/profile.py": "what a profile holds, what an event does to it, and its image belong together",
    "tests/store/test_contract.py": "the one suite that every store passes, read as a whole",
    "tests/training/data/test_import.py": "one table of ways to be wrong for each column",
}
"""Files that may be longer, each with its reason."""

CODE: Final = [path for path in files(".py", ".sh") if path.parent != ROOT / "service/pb"]

TEXT: Final = [
    path
    for path in files("", ".html", ".j2", ".json", ".md", ".proto", ".py", ".pyi", ".sh", ".toml", ".yaml", ".yml")
    if path != Path(__file__).resolve()  # which spells out what it looks for
]

DOCUMENTS: Final = files(".md")


def test_files_are_short() -> None:
    """A file of code has at most 400 lines, unless a reason is given."""
    long = {name(path) for path in CODE if len(path.read_text("utf-8").splitlines()) > MAX_LINES}
    assert long - LONG.keys() == set()
    assert LONG.keys() - {name(path) for path in CODE} == set(), "a reason for a file that is not there"


def test_nothing_is_left_to_do() -> None:
    """No leftover marker stands in the tree."""
    marker = re.compile(r"\b(TODO|FIXME|HACK)\b")
    assert [name(path) for path in TEXT if marker.search(path.read_text("utf-8"))] == []


def test_the_project_stands_alone() -> None:
    """No file points outside of the tree or at the machine that it was written on, but for the build's own script."""
    outside = re.compile(r"/work/|\.\./shared|/root/|/home/|/opt/pypi")
    found = {name(path) for path in TEXT if outside.search(path.read_text("utf-8"))}
    assert found - {".ci/run"} == set()


def anchors(document: Path) -> set[str]:
    """Return what a link into a document may name: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every link of a document to a file or a heading of this tree finds it."""
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_shell_scripts_stop_at_the_first_failure() -> None:
    """Every script can be run and sets -eu."""
    for path in [*files(".sh"), ROOT / ".ci/run"]:
        assert path.stat().st_mode & 0o111, name(path)
        assert re.search(r"^set -eu", path.read_text("utf-8"), re.MULTILINE), name(path)
