"""A burst on C's heap: what takes memory by the hundred megabytes for a while, in a process of its own."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

_LIBC: Final = ctypes.CDLL(None)
_LIBC.malloc.restype = ctypes.c_void_p


def take() -> list[int]:
    """Take a hundred megabytes in small pieces."""
    return [_LIBC.malloc(5000) for _ in range(20_000)]


def free(pieces: Sequence[int]) -> None:
    """Free them, but for the last one, which keeps the end of the heap where it is."""
    for piece in pieces[:-1]:
        _LIBC.free(ctypes.c_void_p(piece))
