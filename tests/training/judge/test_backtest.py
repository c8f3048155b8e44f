"""What would have been decided, counted exactly."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.decision import Decision, Thresholds, decide
from service.core.windows import DAY_MS
from tests.make import NOW_MS
from tests.training.judge.decided import MadeLog, confirmed, decision
from training.judge.backtest import (
    Limits,
    Tally,
    backtest,
    caught_by_pattern,
    decisions_of,
    judged_decisions,
    limits_as_before,
    write_changed,
)
from training.judge.outcomes import Maturity, Outcomes, load_outcomes

APPROVE, REVIEW, DECLINE = (int(one) for one in Decision)


def outcomes_of(decisions: Sequence[Mapping[str, Any]], frauds: Sequence[str] = ()) -> Outcomes:
    """Return the outcomes of decisions made by hand."""
    log = MadeLog(decisions, [confirmed(purchase_id) for purchase_id in frauds])
    return load_outcomes(log, Maturity(NOW_MS, 7 * DAY_MS))


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]), min_size=1),
    st.sampled_from([0.0, 0.1, 0.2]),
    st.sampled_from([0.2, 0.5, 1.0]),
)
def test_a_column_is_decided_as_the_service_decides(scores: list[float], review: float, decline: float) -> None:
    """Each element gets what `decide` gives, at the thresholds too."""
    expected = [decide(score, Thresholds(review, decline)) for score in scores]
    assert decisions_of(np.array(scores), Limits(review, decline)).tolist() == expected


@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=12),
    st.lists(st.sampled_from([APPROVE, REVIEW, DECLINE]), min_size=12, max_size=12),
)
def test_limits_as_before_stop_no_more_than_were_stopped(scores: list[float], decisions: list[int]) -> None:
    """As many are declined and stopped as were, or fewer where equal scores would take more, and never far fewer."""
    column, then = np.array(scores), np.array(decisions[: len(scores)], np.uint8)
    limits = limits_as_before(column, then)
    assert limits.review <= limits.decline
    for limit, count in ((limits.decline, (then == DECLINE).sum()), (limits.review, (then >= REVIEW).sum())):
        lower = column[column < limit]
        assert (column >= limit).sum() <= count
        assert not lower.size or (column >= lower.max()).sum() > count


def test_then_and_now_are_counted_by_what_the_purchases_were() -> None:
    """Frauds caught and missed, honest stopped, with their amounts; what is unknown stays unknown."""
    decisions = [
        decision("p-1", amount_minor=100, decision=APPROVE),
        decision("p-2", amount_minor=200, decision=REVIEW),
        decision("p-3", amount_minor=400, decision=APPROVE),
        decision("p-4", amount_minor=800, decision=DECLINE),
    ]
    frame = outcomes_of(decisions, ["p-1"]).frame
    now = np.array([REVIEW, APPROVE, DECLINE, DECLINE], np.uint8)
    found = backtest(frame, np.full(4, 0.5), now)
    assert found.then.decided == {"approve": 2, "review": 1, "decline": 1}
    assert found.now.decided == {"approve": 1, "review": 1, "decline": 2}
    assert (found.then.passed("fraud"), found.now.passed("fraud")) == (Tally(1, 100), Tally(0, 0))
    assert (found.then.stopped("fraud"), found.now.stopped("fraud")) == (Tally(0, 0), Tally(1, 100))
    assert (found.then.stopped("honest"), found.now.stopped("honest")) == (Tally(1, 200), Tally(1, 400))
    assert (found.then.stopped("unknown"), found.now.stopped("unknown")) == (Tally(1, 800), Tally(1, 800))
    changed = found.changed.select("purchase_id", "decision_then", "decision_now", "truth").rows()
    assert changed == [
        ("p-1", "approve", "review", "fraud"),
        ("p-2", "review", "approve", "honest"),
        ("p-3", "approve", "decline", "honest"),
    ]


def test_a_control_row_was_declined_by_the_score_and_counts_for_all() -> None:
    """Let through by chance, it stands on the side of the declined, as often as it stands for."""
    decisions = [
        decision("p-1", amount_minor=100, decision=APPROVE, control=True, control_share=0.25),
        decision("p-2", decision=DECLINE, control_share=0.25),
    ]
    frame = outcomes_of(decisions, ["p-1"]).frame
    assert judged_decisions(frame).tolist() == [DECLINE, DECLINE]
    then = backtest(frame, np.zeros(2), judged_decisions(frame)).then
    assert then.decided["decline"] == 2
    assert then.tallies["decline"]["fraud"] == Tally(4, 400)


def test_frauds_are_counted_by_pattern() -> None:
    """Each pattern has its frauds, and how many of them were and are stopped; others are not named."""
    decisions = [
        decision("p-1", decision=REVIEW),
        decision("p-2", decision=APPROVE),
        decision("p-3", decision=APPROVE),
        decision("p-4", decision=APPROVE),
    ]
    patterns = pl.DataFrame({"purchase_id": ["p-1", "p-2", "p-4"], "pattern": ["stolen", "stolen", "other"]})
    frame = outcomes_of(decisions, ["p-1", "p-2", "p-3"]).frame
    assert caught_by_pattern(frame, np.array([APPROVE, DECLINE, APPROVE, DECLINE], np.uint8), patterns) == [
        {"pattern": "not named", "frauds": 1.0, "caught_then": 0.0, "caught_now": 0.0},
        {"pattern": "stolen", "frauds": 2.0, "caught_then": 1.0, "caught_now": 1.0},
    ]


def test_what_is_written_is_for_the_owner_alone(tmp_path: Path) -> None:
    """The list of purchases names people's purchases: nobody else may read it, and it comes back as it was."""
    changed = pl.DataFrame({"purchase_id": ["p-1"]})
    path = tmp_path / "new" / "changed.parquet"
    write_changed(path, changed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pl.read_parquet(path).equals(changed)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("count", [0, 3])
def test_all_or_nobody_stopped(count: int) -> None:
    """When nobody was stopped nobody is, and when all were all are."""
    scores = np.array([0.2, 0.2, 0.3])
    then = np.array([DECLINE] * count + [APPROVE] * (3 - count), np.uint8)
    assert (scores >= limits_as_before(scores, then).review).sum() == count
