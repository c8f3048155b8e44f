"""The bound on a worker's memory: a worker beyond it drains and is replaced, before its machine runs out.

What takes memory by our leave has bounds of its own: messages, queues, calls in hand, parked events. gRPC's core keeps
calls that nobody has asked for yet, and bounds them by time alone; when they come faster than they can be asked for or
cancelled, as calls that are begun and taken back at once do, they come to 380 MB a second. See docs/decisions/0021.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from service.heap import give_back

_LOG = structlog.get_logger(__name__)

LOOK_S: Final = 0.25
"""Seconds between two looks. One takes 0.05 ms."""

_STATUS: Final = Path("/proc/self/status")
_OWN: Final = "RssAnon:"


class MemoryBound:
    """Looks how much memory this process has for itself: pages of files, as the embedded store's, do not count."""

    def __init__(self, max_mb: int, exceed: Callable[[], None], *, look_s: float = LOOK_S) -> None:
        """`exceed` is called once, in a thread of the bound's own, when memory stays beyond `max_mb` megabytes."""
        self._max_mb = max_mb
        self._exceed = exceed
        self._look_s = look_s
        self.exceeded = False
        """Whether it was; it stays so."""

    def start(self) -> None:
        """Look again and again, while the process lives. Does nothing where the kernel does not tell."""
        if own_mb() is not None:
            threading.Thread(target=self._watch, name="memory-bound", daemon=True).start()

    def _watch(self) -> None:
        while self._within():
            time.sleep(self._look_s)
        self.exceeded = True
        _LOG.error("memory beyond server.max_memory_mb: this worker ends", mb=own_mb(), max_mb=self._max_mb)
        self._exceed()

    def _within(self) -> bool:
        """Tell whether memory is within its bound, at the latest after what is free went back."""
        if (own_mb() or 0) <= self._max_mb:
            return True
        give_back()
        return (own_mb() or 0) <= self._max_mb


def own_mb() -> int | None:
    """Return the megabytes that this process has for itself, None where the kernel does not tell."""
    try:
        lines = _STATUS.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith(_OWN)), None)
