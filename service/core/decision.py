"""Decisions: from a score to what the checkout does, and the record of what was served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from service.core.event import EntityKey, EntityKind, Event


class Decision(IntEnum):
    """What to do with a purchase, from lenient to strict; the numbers are those of the proto."""

    APPROVE = 1
    REVIEW = 2
    DECLINE = 3


class MissingCause(IntEnum):
    """Why a profile did not inform a score; the numbers are those of the proto."""

    UNKNOWN = 1
    UNREADABLE = 2
    ABSENT = 3
    HOLDS_PURCHASE = 4


class Thresholds(NamedTuple):
    """Scores from which a purchase is reviewed and declined; 0 <= review <= decline <= 1."""

    review: float
    decline: float


DegradedRule = Literal["at_least_review", "score", "decline"]
"""What a degraded answer decides: the score but never better than REVIEW, the score alone, or DECLINE."""

DEGRADED_LEAST: Final[Mapping[DegradedRule, Decision]] = {
    "score": Decision.APPROVE,
    "at_least_review": Decision.REVIEW,
    "decline": Decision.DECLINE,
}
"""The mildest decision that each rule lets a degraded answer have."""


def decide(score: float, thresholds: Thresholds, *, degraded: bool = False, rule: DegradedRule = "score") -> Decision:
    """Return the decision for a calibrated score, by the thresholds alone unless it is degraded."""
    if score >= thresholds.decline:
        decision = Decision.DECLINE
    elif score >= thresholds.review:
        decision = Decision.REVIEW
    else:
        decision = Decision.APPROVE
    return max(decision, DEGRADED_LEAST[rule]) if degraded else decision


class VersionScore(NamedTuple):
    """The score that one live version gave; a shadow score is recorded and never answered."""

    version: int
    raw_score: float
    score: float
    shadow: bool


class ReasonShown(NamedTuple):
    """A reason as it was shown: the feature or rule, in words, and its log-odds."""

    code: str
    text: str
    contribution: float


@dataclass(slots=True)
class DecisionRecord:
    """What was served for one purchase: enough to explain it, replay it and judge it later.

    `row` is little-endian float64 in the order that `row_layout` names. `revisions` are those of the
    profiles that were read, 0 for one that was unknown; what is not listed was absent or unreadable.
    `profile_age_ms` is the time from the newest purchase in any profile to this one, -1 for none.
    `control` tells that it would have been declined and was let through by chance, as `control_share` of
    those are: its label stands for all that were declined. `rules` are the codes of the policy's rules that
    held; `score_decision` is what the thresholds alone said, None in records that were made without a policy.
    """

    purchase: Event
    decided_at_ms: int
    score: float
    decision: Decision
    thresholds: Thresholds
    scores: tuple[VersionScore, ...]
    model_versions: tuple[int, ...]
    lineup_revision: int
    row_layout: str
    row: bytes
    revisions: tuple[tuple[EntityKey, int], ...]
    missing: Mapping[EntityKind, MissingCause]
    degraded: bool
    profile_age_ms: int = -1
    recorded: bool = False
    reasons: tuple[ReasonShown, ...] = ()
    given_up: tuple[str, ...] = field(default=())
    control: bool = False
    control_share: float = 0.0
    policy_version: int = 0
    rules: tuple[str, ...] = ()
    score_decision: Decision | None = None
