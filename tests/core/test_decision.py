"""From a score to a decision."""

from __future__ import annotations

import pytest

from service.core.decision import Decision, DegradedRule, Thresholds, decide

APPROVE, REVIEW, DECLINE = Decision.APPROVE, Decision.REVIEW, Decision.DECLINE

THRESHOLDS = Thresholds(review=0.3, decline=0.7)


@pytest.mark.parametrize(
    ("score", "sound", "at_least_review", "as_scored", "declined"),
    [
        (0.0, APPROVE, REVIEW, APPROVE, DECLINE),
        (0.2999, APPROVE, REVIEW, APPROVE, DECLINE),
        (0.3, REVIEW, REVIEW, REVIEW, DECLINE),
        (0.6999, REVIEW, REVIEW, REVIEW, DECLINE),
        (0.7, DECLINE, DECLINE, DECLINE, DECLINE),
        (1.0, DECLINE, DECLINE, DECLINE, DECLINE),
    ],
)
def test_the_table_of_decisions(
    score: float, sound: Decision, at_least_review: Decision, as_scored: Decision, declined: Decision
) -> None:
    """A threshold belongs to the stricter side; a degraded answer follows its rule and is never more lenient."""
    degraded: list[tuple[DegradedRule, Decision]] = [
        ("at_least_review", at_least_review),
        ("score", as_scored),
        ("decline", declined),
    ]
    for rule, expected in degraded:
        assert decide(score, THRESHOLDS, degraded=False, rule=rule) is sound
        assert decide(score, THRESHOLDS, degraded=True, rule=rule) is expected


def test_equal_thresholds_leave_no_room_for_review() -> None:
    """Where both thresholds are the same, a sound score approves or declines."""
    both = Thresholds(review=0.5, decline=0.5)
    assert decide(0.4999, both, degraded=False, rule="score") is APPROVE
    assert decide(0.5, both, degraded=False, rule="score") is DECLINE
