"""Findings: how a stored profile compares with what the log makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from service.core.history import History
from service.core.profile import LAYOUT, Image, narrowed


class Finding(StrEnum):
    """What became of a profile, or how it compares with what the log makes of it."""

    SAME = "same"
    OLDER = "older"
    REBUILT = "rebuilt"
    DIFFERENT = "different"
    REPAIRED = "repaired"
    RESTORED = "restored"
    PATCHED = "patched"
    MISSING = "missing"
    BEHIND = "behind"
    AHEAD = "ahead"
    INCOMPLETE = "incomplete"
    UNREADABLE = "unreadable"


MEANINGS: Final[Mapping[Finding, str]] = {
    Finding.SAME: "as the log says, in the newest layout",
    Finding.OLDER: "as the log says, in an older layout",
    Finding.REBUILT: "were of an older layout and have their whole history now",
    Finding.DIFFERENT: "not as the log says",
    Finding.REPAIRED: "were not as the log says, and are now",
    Finding.RESTORED: "made out of the log",
    Finding.PATCHED: "made of what the log has, which has lost an update of theirs or numbers some twice",
    Finding.MISSING: "in the log and nowhere else: expired, or lost: rebuild into a fresh place",
    Finding.BEHIND: "without updates that the log has: rebuild into a fresh place",
    Finding.AHEAD: "went on faster than could be followed: run it again",
    Finding.INCOMPLETE: "left as they are: the log has lost an update of theirs",
    Finding.UNREADABLE: "not readable: rebuild into a fresh place",
}

WRONG: Final = frozenset({Finding.DIFFERENT, Finding.MISSING, Finding.BEHIND, Finding.UNREADABLE})
"""Findings that say that a store lost or damaged something."""

UNDONE: Final = WRONG | {Finding.AHEAD, Finding.INCOMPLETE}
"""Findings that leave a rebuild with something to do."""


def compare(history: History, stored: Image | None) -> Finding:
    """Return how a stored profile compares with its history, while events may be on their way."""
    if stored is None:
        return Finding.UNREADABLE
    layout, revision = stored[:2]
    if history.repeats:
        return Finding.BEHIND
    if history.lacks or (history.waiting and revision <= history.revision):
        return Finding.INCOMPLETE
    if not revision:
        return Finding.MISSING
    if revision != history.revision:
        return Finding.AHEAD if revision > history.revision else Finding.BEHIND
    if layout == LAYOUT:
        return Finding.SAME if stored == history.image else Finding.DIFFERENT
    return Finding.OLDER if stored == narrowed(history.kind, history.image, layout) else Finding.DIFFERENT


def restored(history: History, stored: Image | None) -> Finding:
    """Return how a profile is to be made out of its history, where the log is all that there is."""
    history.close()
    if stored is None:
        return Finding.UNREADABLE
    if stored == history.image:
        return Finding.SAME
    return Finding.PATCHED if history.lacks or history.repeats else Finding.RESTORED
