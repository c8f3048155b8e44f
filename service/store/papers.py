"""Papers: small documents that a store keeps by folder and name: receipts, and what a long job has to remember."""

from __future__ import annotations

from typing import Final, Protocol

MAX_PAPER_BYTES: Final = 1 << 18
"""Largest paper, in bytes."""


class Papers(Protocol):
    """Keeps papers. Thread-safe. Every method raises StoreUnavailable; repeating any of them is harmless."""

    def put(self, folder: str, name: str, content: bytes) -> None:
        """Keep a paper in the place of one with that name, if there is one; durable when it returns."""

    def add(self, folder: str, name: str, content: bytes) -> bytes:
        """Keep a paper unless there is one with that name; return the one that stands there now."""

    def get(self, folder: str, name: str) -> bytes | None:
        """Return a paper, None when there is none."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the papers of a folder, in order."""

    def drop(self, folder: str, name: str) -> None:
        """Let go of a paper, if there is one."""
