"""The files of the tree: everything that git would keep."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

_IGNORED: Final = (".git", *(line.rstrip("/") for line in (ROOT / ".gitignore").read_text("utf-8").split()))


def files(*suffixes: str) -> list[Path]:
    """Return the files with one of these suffixes (all files for none), in order."""
    return sorted(path for path in _below(ROOT) if not suffixes or path.suffix in suffixes)


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if any(fnmatch(path.name, pattern) for pattern in _IGNORED):
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path


def name(path: Path) -> str:
    """Return the path as people write it, from the root of the tree."""
    return path.relative_to(ROOT).as_posix()
