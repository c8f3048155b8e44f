"""Hashes by which ids are told apart: two among ten million collide with a chance of 3 in a million."""

from __future__ import annotations

from contextlib import ExitStack
from tempfile import TemporaryFile
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

Hashes = npt.NDArray[np.uint64]


def hashes(ids: pl.Series) -> Hashes:
    """Return the 64-bit hashes of ids; the same in every process that has the same release of polars."""
    return ids.hash(seed=1).to_numpy()


_BITS: Final = 5
"""Hashes are divided by their highest bits into as many files as that makes, and sorted file by file."""


class HashPile:
    """Takes hashes and keeps them in temporary files, 8 bytes each; a context manager.

    Memory: one 32nd of the hashes at a time, when they are asked for.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._stack = ExitStack()
        self._files = [self._stack.enter_context(TemporaryFile()) for _ in range(1 << _BITS)]  # noqa: SIM115

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the files."""
        self._stack.close()

    def add(self, hashes: Hashes) -> None:
        """Take more hashes."""
        ordered = np.sort(hashes)
        ends = np.searchsorted(ordered >> np.uint64(64 - _BITS), np.arange(len(self._files) + 1, dtype=np.uint64))
        for file, begin, end in zip(self._files, ends[:-1], ends[1:], strict=True):
            file.write(ordered[begin:end].tobytes())

    def repeated(self) -> Hashes:
        """Return the hashes that came more than once, in order."""
        found = []
        for file in self._files:
            file.seek(0)
            some = np.frombuffer(file.read(), np.uint64)
            some = np.sort(some)
            found.append(np.unique(some[1:][some[1:] == some[:-1]]))
        return np.concatenate(found)
