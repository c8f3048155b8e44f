"""Exchanging two directories of embedded stores in one step of the file system."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from service.errors import BadSetting
from service.store.lmdb_environment import flush

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def exchange(first: Path, second: Path) -> None:
    """Let two directories of one file system change names, at once: at no time does either name lead nowhere.

    Raises BadSetting where that is not possible. Both must be closed, by every process.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise _refused(first, second, "this system cannot exchange names")
    if libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
        raise _refused(first, second, os.strerror(ctypes.get_errno()))
    for folder in {first.parent, second.parent}:
        flush(folder)


def _refused(first: Path, second: Path, reason: str) -> BadSetting:
    return BadSetting(f"{first} and {second} were not exchanged ({reason}): set store.lmdb.path to {second} instead")
