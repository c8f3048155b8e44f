"""A policy that really decided: the backtest of it finds every decision as it was served."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.core.decision import Decision
from service.core.windows import DAY_MS
from service.registry.policy_file import rules_of
from tests.training.judge.served import PURCHASES, serve_market
from training.judge.backtest import judged_decisions, score_decisions
from training.judge.outcomes import Maturity, Outcomes, load_outcomes
from training.judge.proposal import Proposal, Recorded, decide_anew, ruled_as_then
from training.snapshot.read import Snapshot, open_snapshot

POLICY = """
[thresholds]
review = 0.3

[[limits]]
code = "new-large"
all = [{ feature = "user_tenure", within = "10d" }]
amount_more_than_minor = 40_000
decision = "DECLINE"
text = "a new user spends much"

[[limits]]
code = "busy-seller"
feature = "purchases_1h_by_seller"
fewer_than = 3
decision = "REVIEW"
text = "nothing happens at the seller"

[[limits]]
code = "repeat"
feature = "frauds_30d_by_user"
more_than = 0
decision = "OBSERVE"
text = "a fraud of the user was confirmed"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Serve a market of which the first half is decided by the policy."""
    folder = tmp_path_factory.mktemp("ruled")
    serve_market(folder, POLICY)
    return folder


@pytest.fixture(scope="module")
def snapshot(folder: Path) -> Snapshot:
    """Give its snapshot."""
    return open_snapshot(folder / "snapshots", "latest")


@pytest.fixture(scope="module")
def outcomes(snapshot: Snapshot) -> Outcomes:
    """Give what became of its purchases."""
    return load_outcomes(snapshot, Maturity(snapshot.manifest.newest_ingest_ms + DAY_MS, DAY_MS // 2))


def test_rules_were_recorded_where_they_held(outcomes: Outcomes) -> None:
    """The first half has the policy's number and its rules, of each kind some; the second half has none."""
    ruled = outcomes.frame[: PURCHASES // 2]
    assert ruled["policy_version"].unique().to_list() == [1]
    assert set(ruled["rules"].explode().drop_nulls()) == {"limit:new-large", "limit:busy-seller", "limit:repeat"}
    rest = outcomes.frame[PURCHASES // 2 :]
    assert (rest["policy_version"].unique().to_list(), rest["rules"].list.len().sum()) == ([0], 0)


def test_the_same_policy_decides_the_same_again(folder: Path, snapshot: Snapshot, outcomes: Outcomes) -> None:
    """On the rows that were served every limit holds where it held, and every decision is the one that was answered."""
    recorded = Recorded(snapshot, snapshot.manifest.layouts, folder / "registry", "attempts")
    found = decide_anew(recorded, outcomes, Proposal(policy=rules_of(folder / "registry", 1)))
    ruled = outcomes.frame["policy_version"].to_numpy() == 1
    assert found.decisions[ruled].tolist() == judged_decisions(outcomes.frame)[ruled].tolist()
    for rule in found.rules:
        held = outcomes.frame["rules"].list.contains(rule.code).to_numpy()
        assert rule.holds[ruled].tolist() == held[ruled].tolist()
    assert {one.code: one.asks for one in found.effects}["limit:repeat"] == "observe"


def test_the_rules_of_then_make_the_decisions_of_then(folder: Path, outcomes: Outcomes) -> None:
    """What the score alone said, under the rules that held, is what was answered."""
    frame = outcomes.frame
    alone = score_decisions(frame)
    decisions, not_here = ruled_as_then(folder / "registry", frame, alone, "at_least_review")
    assert decisions.tolist() == judged_decisions(frame).tolist()
    assert (alone != decisions).any()
    assert not_here == {}
    assert set(alone.tolist()) <= {int(one) for one in Decision}
