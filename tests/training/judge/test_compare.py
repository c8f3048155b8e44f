"""Live versions are compared on the purchases that both scored, with labels that have matured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from service.core.decision import Decision
from service.core.windows import DAY_MS
from service.errors import BadSetting
from tests.make import NOW_MS
from tests.training.judge.decided import MadeLog, confirmed, decision
from training.judge.compare import CALIBRATION, RANKING, champion_of, compare
from training.judge.outcomes import Maturity, Outcomes, groups, labels, load_outcomes, scores_of
from training.metrics import average_precision, difference, estimate, recall_at, roc_auc

MATURITY = Maturity(NOW_MS, 7 * DAY_MS)


def outcomes_of(decisions: Sequence[Mapping[str, Any]], frauds: Sequence[str]) -> Outcomes:
    """Return the outcomes of decisions made by hand."""
    return load_outcomes(MadeLog(decisions, [confirmed(purchase_id) for purchase_id in frauds]), MATURITY)


def random_outcomes(count: int = 400, *, good: float = 2.0, bad: float = 0.5) -> Outcomes:
    """Return purchases that version 7 ranks well and version 8 badly, two for each card."""
    random = np.random.default_rng(5)
    fraud = random.random(count) < 0.15
    scores = [random.normal(weight * fraud, 1.0).clip(-4, 4) / 10 + 0.5 for weight in (good, bad)]
    decisions = [
        decision(f"p-{n}", {7: float(scores[0][n]), 8: float(scores[1][n])}, card_hash=f"c-{n // 2}")
        for n in range(count)
    ]
    return outcomes_of(decisions, [f"p-{n}" for n in np.flatnonzero(fraud)])


def test_metrics_and_intervals_are_those_of_estimate_and_difference() -> None:
    """Measuring everything on the same draws gives the bits that measuring one by one gives."""
    outcomes = random_outcomes()
    champion, other = compare(outcomes, 7, 0.1, seed=3)
    frame = outcomes.frame
    truth, cards = labels(frame), groups(frame)
    mine, its = scores_of(frame, 8), scores_of(frame, 7)
    for name, metric in ((RANKING, average_precision), ("roc_auc", roc_auc), ("recall_at_0.1", recall_at(0.1))):
        assert champion.metrics[name] == estimate(metric, truth, its, 3, cards)
        assert other.metrics[name] == estimate(metric, truth, mine, 3, cards)
        assert other.champion[name] == champion.metrics[name]
        assert other.difference[name] == difference(metric, truth, mine, its, 3, cards)


def test_a_clear_difference_is_told() -> None:
    """The version that ranks worse is worse, and better when it is the one to compare with."""
    outcomes = random_outcomes()
    assert [one.verdict for one in compare(outcomes, 7, 0.1, seed=3)] == ["", "worse"]
    assert [one.verdict for one in compare(outcomes, 8, 0.1, seed=3)] == ["", "better"]


def test_equal_versions_are_not_told_apart() -> None:
    """Two versions that rank alike differ by chance alone."""
    outcomes = random_outcomes(good=1.0, bad=1.0)
    assert compare(outcomes, 7, 0.1, seed=3)[1].verdict == "not told apart"


def test_versions_are_compared_on_what_both_scored() -> None:
    """What one of the two did not score is in the count of neither, and a canary's answers are the other's shadows."""
    decisions = [
        decision("p-1", {7: 0.9, 8: 0.1}),
        decision("p-2", {8: 0.2, 7: 0.8}),
        decision("p-3", {7: 0.1}),
        decision("p-4", {8: 0.9}),
        decision("p-5", {7: 0.1, 8: 0.3}),
    ]
    champion, other = compare(outcomes_of(decisions, ["p-1", "p-3", "p-4"]), 7, 0.5, seed=1)
    assert (champion.answered, champion.shadowed, champion.purchases, champion.frauds) == (3, 1, 4, 2)
    assert (other.answered, other.shadowed, other.purchases, other.frauds) == (2, 2, 3, 1)
    assert other.champion[RANKING].value == 1.0
    assert other.metrics[RANKING].value == 1 / 3
    assert other.difference[RANKING].value == 1 / 3 - 1.0


def test_what_nobody_can_judge_is_counted_and_left_out() -> None:
    """A decline without a truth changes no metric."""
    decisions = [
        decision("p-1", {7: 0.9, 8: 0.2}, decision=int(Decision.DECLINE)),
        decision("p-2", {7: 0.5, 8: 0.6}),
        decision("p-3", {7: 0.4, 8: 0.7}),
    ]
    _, other = compare(outcomes_of(decisions, ["p-2"]), 7, 0.5, seed=1)
    assert (other.purchases, other.unknown) == (2, 1)
    assert (other.champion[RANKING].value, other.metrics[RANKING].value) == (1.0, 0.5)


def test_a_control_row_counts_for_all_that_it_stands_for() -> None:
    """A fraud that was let through with three in four declined beside it is four frauds among the riskiest."""
    decisions = [
        decision("p-1", {7: 0.9}, control=True, control_share=0.25),
        decision("p-2", {7: 0.8}),
        decision("p-3", {7: 0.2}),
    ]
    (only,) = compare(outcomes_of(decisions, ["p-1", "p-3"]), 7, 0.5, seed=1)
    assert only.metrics[RANKING].value == pytest.approx((4 * 1.0 + 1 * 5 / 6) / 5)
    assert only.fraud_share == 5 / 6
    assert only.mean_score == pytest.approx((4 * 0.9 + 0.8 + 0.2) / 6)
    assert only.metrics[CALIBRATION].value == pytest.approx((4 * 0.9 + 0.8 + 0.2) / 5)


def test_without_frauds_there_are_no_metrics() -> None:
    """Before the first fraud nothing is claimed."""
    champion, other = compare(outcomes_of([decision("p-1", {7: 0.9, 8: 0.2})], []), 7, 0.5, seed=1)
    assert champion.metrics == other.difference == {}
    assert other.verdict == "no fraud yet"


def test_versions_that_never_met_share_no_purchase() -> None:
    """A version that was retired before the champion came is listed with nothing to compare."""
    decisions = [decision("p-1", {7: 0.9}), decision("p-2", {8: 0.2})]
    _, other = compare(outcomes_of(decisions, ["p-1", "p-2"]), 7, 0.5, seed=1)
    assert (other.answered, other.purchases, other.metrics) == (1, 0, {})


def test_the_champion_is_who_answered_most_unless_named() -> None:
    """Nobody named: the version with the most answers; a version that never scored cannot be it."""
    outcomes = outcomes_of(
        [decision("p-1", {8: 0.9, 7: 0.1}), decision("p-2", {8: 0.2}), decision("p-3", {7: 0.2})], []
    )
    assert champion_of(outcomes, None) == 8
    assert champion_of(outcomes, 7) == 7
    with pytest.raises(BadSetting, match="version 9 scored none of these purchases; those that did: 7, 8"):
        champion_of(outcomes, 9)
