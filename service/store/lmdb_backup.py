"""A copy of an embedded store, taken while it is served."""

from __future__ import annotations

import os
import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from service.errors import BadSetting
from service.settings import LmdbSettings
from service.store.lmdb_environment import LmdbEnvironment, flush

_PRIVATE_MODE: Final = 0o700
_DATA: Final = "data.mdb"


def back_up(settings: LmdbSettings, folder: Path) -> int:
    """Copy a store into a new directory, there whole or not at all, and return its bytes.

    The copy is a store itself: it is opened once before it gets its name. Raises BadSetting when there is no
    store or something is at `folder`, StoreUnavailable when the disk refuses.
    """
    if not (settings.path / _DATA).is_file():
        raise BadSetting(f"setting store.lmdb.path: {settings.path} holds no store")
    if folder.exists():
        raise BadSetting(f"{folder} is there already: name a directory that is not")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=_PRIVATE_MODE)
        with closing(LmdbEnvironment(settings)) as environment:
            environment.copy_to(partial)
        with closing(LmdbEnvironment(settings.model_copy(update={"path": partial}))):
            pass
        _make_durable(partial / _DATA)
        partial.rename(folder)
        flush(folder.parent)
    except OSError as error:
        raise BadSetting(f"{folder}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(partial)
    return (folder / _DATA).stat().st_size


def _make_durable(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    flush(file.parent)
