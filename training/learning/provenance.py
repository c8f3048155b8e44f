"""Where a model comes from: the code and the libraries that made it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

LIBRARIES: Final = ("lightgbm", "numba", "numpy", "polars", "scikit-learn")
"""Those whose version may change what is trained."""


def libraries() -> dict[str, str]:
    """Return the version of each library by its name."""
    return {name: version(name) for name in LIBRARIES}


def code_revision(start: Path = Path(__file__)) -> str:
    """Return the commit that is checked out, "" where there is no git: a wheel, an image."""
    for folder in start.resolve().parents:
        git = folder / ".git"
        try:
            head = (git / "HEAD").read_text(encoding="utf-8").strip()
        except OSError:
            continue
        reference = git / head.removeprefix("ref: ")
        if not head.startswith("ref: "):
            return head
        return reference.read_text(encoding="utf-8").strip() if reference.is_file() else ""
    return ""
