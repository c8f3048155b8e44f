"""Files that are there whole or not at all: written beside their place, and moved there at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.errors import BadSetting


@contextmanager
def whole_file(path: Path, name: str) -> Iterator[Path]:
    """Give the place to write to; what was at `path` is replaced when the block ends well, and left alone otherwise.

    Raises BadSetting, which begins with `name`, when the disk refuses.
    """
    # Hidden and with another ending: who collects files by their names never takes a half-written one.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise BadSetting(f"{name}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
