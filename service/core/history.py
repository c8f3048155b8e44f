"""Histories: the profile of one entity, worked out of its updates in the order of their revisions.

A profile at revision r is a pure function of the entity's updates 1 to r. A log may tell updates a little
out of that order; one that comes too early waits for its turn.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from service.core.event import EntityKind
from service.core.profile import SCHEMAS, Image, ProfileState, Update

MAX_EARLY: Final = 4096
"""Updates of one entity that wait for an earlier one, at most; beyond that the earlier one is not believed to come."""

HELD_BYTES: Final = 700
"""Memory of a history besides its image: its key, its place in a dictionary, the object itself."""

EARLY_BYTES: Final = 600
"""Memory of an update that waits."""

_WORD_BYTES: Final = 8


class Change(NamedTuple):
    """One update with the revision that it got; None when the log no longer says what it was."""

    revision: int
    update: Update | None


class History:
    """The profile of one entity while its log is read; packed between two batches of changes.

    `lacks` when an update is not in it, since the log has not got it; `repeats` when a revision was given
    twice, so that the profile must have lost updates in between: all are in it, and revisions count them.
    """

    __slots__ = ("_early", "_expires", "_packed", "kind", "lacks", "repeats", "revision")

    def __init__(self, kind: EntityKind, *, expires: bool = False) -> None:
        """Begin with nothing known. A profile that `expires` begins a new life where revisions do."""
        self.kind = kind
        self.revision = 0
        self.lacks = False
        self.repeats = False
        self._expires = expires
        self._packed = array("q")
        self._early: dict[int, Update | None] = {}

    @property
    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return HELD_BYTES + _WORD_BYTES * len(self._packed) + EARLY_BYTES * len(self._early)

    @property
    def waiting(self) -> int:
        """Return how many updates wait for an earlier one."""
        return len(self._early)

    @property
    def image(self) -> Image:
        """Return the profile at `revision`, in the newest layout."""
        return tuple(self._packed) if self._packed else self._nothing().image()

    def add(self, changes: Sequence[Change]) -> None:
        """Take in what happened next. Cost: the image taken apart and put together once, for all of them."""
        state = self._unpacked()
        for revision, update in changes:
            turn = revision
            if turn <= state.revision:
                if self._expires:
                    state = self._begin_again()
                else:
                    self.repeats = True
                    turn = state.revision + 1
            self._early[turn] = update
            while state.revision + 1 in self._early:
                self._take(state, state.revision + 1)
        if len(self._early) > MAX_EARLY:
            self._skip_to_the_end(state)
        self._pack(state)

    def close(self) -> None:
        """Take in what waits although something before it is not there."""
        if self._early:
            state = self._unpacked()
            self._skip_to_the_end(state)
            self._pack(state)

    def _skip_to_the_end(self, state: ProfileState) -> None:
        self.lacks = True
        for revision in sorted(self._early):
            state.revision = revision - 1
            self._take(state, revision)

    def _take(self, state: ProfileState, revision: int) -> None:
        update = self._early.pop(revision)
        if update is None:
            self.lacks = True
            state.revision = revision
        else:
            state.apply(update)

    def _begin_again(self) -> ProfileState:
        self.lacks = False
        self._early.clear()
        return self._nothing()

    def _nothing(self) -> ProfileState:
        return ProfileState(SCHEMAS[self.kind])

    def _unpacked(self) -> ProfileState:
        return ProfileState.of(self.kind, tuple(self._packed)) if self._packed else self._nothing()

    def _pack(self, state: ProfileState) -> None:
        self.revision = state.revision
        self._packed = array("q", state.image()) if state.revision else array("q")
