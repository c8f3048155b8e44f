"""Files that survive a crash: written whole or not at all, by one writer at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.errors import BadSetting

REMOTE_FILE: Final = "remote"
"""Names the remote registry, in the folder of its copy."""

LOCK_TIMEOUT_S: Final = 10.0
"""How long a writer waits for another one; both write a few megabytes at most."""

_LOCK_POLL_S: Final = 0.01


def remote_of(registry: Path) -> str:
    """Return the URL of the registry that this folder is a copy of; "" for a registry of its own."""
    try:
        return (registry / REMOTE_FILE).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the disk has the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Give a file new content: a reader sees the old or the new, whole. The caller holds the lock."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    write_synced(temporary, content)
    temporary.replace(path)
    sync_directory(path.parent)


@contextmanager
def sole_writer(registry: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the registry's lock; readers need none. The kernel lets go of it when the holder dies.

    Makes the registry's directory when it is not there. Raises BadSetting when another writer keeps the
    lock for longer than `timeout_s`.
    """
    try:
        registry.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(registry / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BadSetting(f"registry {registry}: cannot be written: {error.strerror}") from error
    try:
        give_up = time.monotonic() + timeout_s
        while not _locked(descriptor):
            if time.monotonic() >= give_up:
                raise BadSetting(f"registry {registry}: another process has been writing for {timeout_s:g} s")
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
