"""Notices: small files by which the workers of one machine tell each other what they have live.

A worker keeps its notice locked for as long as it lives, and the kernel lets go of the lock when it dies,
however it dies. So a notice that nobody holds is stale, whatever became of the number of its process.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".json"
_TRIES: Final = 20
"""A notice may be replaced while it is being read; a worker replaces its own seldom."""


class Notices:
    """The notices in a directory of one group of workers: those that share a port."""

    def __init__(self, directory: Path, group: str, process_id: int) -> None:
        """Take a place in a group; nothing is written yet."""
        self._directory = directory
        self._group = group
        self._path = directory / f"{group}-{process_id}{_SUFFIX}"
        self._held: int | None = None

    def post(self, content: bytes) -> None:
        """Give this worker's notice new content: a reader sees the old or the new, whole. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        unnamed = self._path.with_suffix(".new")
        descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # before it has its name, so that nobody takes it for stale
            os.write(descriptor, content)
            unnamed.replace(self._path)
        except OSError:
            os.close(descriptor)
            raise
        self._let_go()
        self._held = descriptor

    @property
    def stands(self) -> bool:
        """Return whether this worker's notice is where it was posted."""
        if self._held is None:
            return False
        try:
            return self._path.stat().st_ino == os.fstat(self._held).st_ino
        except OSError:
            return False

    def others(self) -> list[bytes]:
        """Return the notices of the other living workers of the group, and remove the stale ones."""
        found = (
            _read(path) for path in sorted(self._directory.glob(f"{self._group}-*{_SUFFIX}")) if path != self._path
        )
        return [content for content in found if content is not None]

    def withdraw(self) -> None:
        """Remove this worker's notice; harmless when there is none."""
        if self._held is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
        self._held = None


def _read(path: Path) -> bytes | None:
    """Return what a notice says; None when it is gone or stale, and then it is removed."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError, PermissionError), path.open("rb") as file:
            if _held(file.fileno()):
                return file.read()
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                path.unlink(missing_ok=True)
                return None
            continue  # it was replaced between opening and asking
        return None
    return None


def _held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
