"""Policies over columns: the results of the service, on the rows that were served."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.core.decision import Decision, DegradedRule, MissingCause
from service.core.event import KINDS, EntityKind
from service.core.features import BY_NAME, Feature, layout_id
from service.core.listing import EFFECTS, Listing
from service.core.policy import Condition, Limit, ListRules, Policy, Rules, list_code
from service.core.windows import DAY_MS
from service.registry.policy_file import publish_policy
from service.registry.policy_spec import parsed_policy
from tests.make import NOW_MS, make_purchase
from tests.training.judge.decided import MadeLog, confirmed, decision
from training.judge.backtest import Tally, backtest
from training.judge.outcomes import Maturity, Outcomes, load_outcomes
from training.judge.proposal import Proposal, Proposed, Recorded, decide_anew
from training.snapshot.schema import MISSING_COLUMNS

APPROVE, REVIEW, DECLINE = Decision
BUSY, TENURE, SELLER = (BY_NAME[name] for name in ("purchases_1h_by_card", "user_tenure", "seller_known"))
FEATURES = (BUSY, TENURE)
LAYOUT = layout_id(FEATURES)
BUSY_CARD = Limit("busy-card", REVIEW, "the card is busy", (Condition(BUSY, above=0.5),))
NEW_LARGE = Limit("new-large", DECLINE, "new and large", (Condition(TENURE, below=0.5),), amount_above=500)
UNKNOWN_SELLER = Limit("new-seller", REVIEW, "new seller", (Condition(SELLER, below=0.5), Condition(BUSY, above=0.5)))


def row(*values: float) -> bytes:
    """Return a row as records keep it."""
    return np.array(values, "<f8").tobytes()


def judged(decisions: Sequence[Mapping[str, Any]], frauds: Sequence[str] = ()) -> tuple[MadeLog, Outcomes]:
    """Return a made log and what became of its purchases."""
    log = MadeLog(decisions, [confirmed(one) for one in frauds])
    return log, load_outcomes(log, Maturity(NOW_MS + DAY_MS, DAY_MS))


def proposed(
    decisions: Sequence[Mapping[str, Any]],
    frauds: Sequence[str] = (),
    registry: Path = Path("nowhere"),
    layouts: Mapping[str, Sequence[Feature]] = {LAYOUT: FEATURES},
    **proposal: Any,
) -> Proposed:
    """Decide anew about made decisions."""
    log, outcomes = judged(decisions, frauds)
    names = {layout: [one.name for one in features] for layout, features in layouts.items()}
    return decide_anew(Recorded(log, names, registry, "attempts"), outcomes, Proposal(**proposal))


@pytest.mark.parametrize("seed", range(4))
def test_columns_have_the_results_of_the_service(seed: int) -> None:
    """Whatever rows, lists, missing profiles and rules: column and single decision are the same."""
    chance = random.Random(seed)
    lists = ListRules(
        block=chance.choice([REVIEW, DECLINE]),
        review=chance.choice([REVIEW, DECLINE]),
        allow=chance.choice([APPROVE, REVIEW]),
        allow_overrules=frozenset(chance.sample(["score", "degraded", "limits", "review"], chance.randint(0, 4))),
    )
    by_kind: dict[EntityKind, DegradedRule] = {EntityKind.ITEM: "score", EntityKind.CARD: "decline"}
    rules = Rules(1, (BUSY_CARD, NEW_LARGE), lists, degraded_by_kind=by_kind, review=0.3)
    policy = Policy(rules, {BUSY: 0, TENURE: 1})
    decisions, expected = [], []
    for number in range(300):
        values = [chance.choice([0.0, 0.4, 0.5, 0.6, float("nan")]) for _ in FEATURES]
        causes = {kind: MissingCause.UNREADABLE for kind in KINDS if chance.random() < 0.1}
        listed = [(kind, chance.choice(EFFECTS)) for kind in KINDS if chance.random() < 0.15]
        score, amount_minor = chance.choice([0.1, 0.3, 0.95]), chance.choice([500, 501])
        decisions.append(
            decision(
                f"p-{number}",
                {7: score},
                row_layout=LAYOUT,
                row=row(*values),
                amount_minor=amount_minor,
                degraded=bool(causes),
                rules=[list_code(effect, kind) for kind, effect in listed],
                **{column: int(causes.get(kind, 0)) for kind, column in zip(KINDS, MISSING_COLUMNS, strict=True)},
            )
        )
        by_score = DECLINE if score >= 0.9 else REVIEW if score >= 0.3 else APPROVE
        listings = [Listing(kind, "x", effect, 0, "", "", 0) for kind, effect in listed]
        purchase = make_purchase(amount_minor=amount_minor)
        ruling = policy.rule(values, purchase, by_score, listings, causes or None, "at_least_review")
        expected.append(int(ruling.decision))
    assert proposed(decisions, policy=rules).decisions.tolist() == expected


def test_each_rule_is_told_by_what_it_changes() -> None:
    """Where it holds, what would be decided otherwise without it, and the frauds and honest that it stops."""
    served = [
        decision("p-1", row_layout=LAYOUT, row=row(0.9, 0.9), amount_minor=100),
        decision("p-2", row_layout=LAYOUT, row=row(0.9, 0.9), amount_minor=200),
        decision("p-3", {7: 0.6}, decision=int(REVIEW), row_layout=LAYOUT, row=row(0.9, 0.9), amount_minor=400),
        decision("p-4", row_layout=LAYOUT, row=row(0.9, 0.1), amount_minor=800),
        decision("p-5", row_layout=LAYOUT, row=row(0.1, 0.9), amount_minor=1600),
    ]
    found = proposed(served, ["p-1", "p-3"], policy=Rules(limits=(BUSY_CARD, NEW_LARGE)))
    busy, large = found.effects
    assert (busy.code, busy.asks, busy.holds, busy.changes, busy.not_judged) == ("limit:busy-card", "review", 4, 2, 0)
    assert (busy.frauds, busy.honest) == (Tally(1, 100), Tally(1, 200))
    assert (large.holds, large.changes, large.honest) == (1, 1, Tally(0, 0))
    assert found.decisions.tolist() == [REVIEW, REVIEW, REVIEW, DECLINE, APPROVE]


def test_an_allow_listing_is_told_by_what_it_lets_through() -> None:
    """What it lets through counts as stopped less often."""
    allowed = list_code("allow", EntityKind.USER)
    served = [decision("p-1", {7: 0.6}, rules=[allowed], row_layout=LAYOUT, row=row(0.9, 0.9), amount_minor=100)]
    found = proposed(served, ["p-1"], policy=Rules(limits=(BUSY_CARD,)))
    effects = {one.code: one for one in found.effects}
    assert found.decisions.tolist() == [APPROVE]
    assert (effects[allowed].changes, effects[allowed].frauds) == (1, Tally(-1, -100))
    assert effects["limit:busy-card"].changes == 0


def test_a_limit_on_what_was_not_served_is_named_and_left_out() -> None:
    """It holds nowhere; counted are the decisions on which it might have held."""
    served = [
        decision("p-1", row_layout=LAYOUT, row=row(0.9, 0.9)),
        decision("p-2", row_layout=LAYOUT, row=row(0.1, 0.9)),
    ]
    found = proposed(served, policy=Rules(limits=(UNKNOWN_SELLER, BUSY_CARD)))
    seller, busy = found.rules
    assert (seller.holds.tolist(), seller.lacking) == ([False, False], {"seller_known": 1})
    assert (busy.holds.tolist(), busy.lacking) == ([True, False], {})
    assert [one.not_judged for one in found.effects] == [1, 0]


def test_a_feature_of_another_definition_was_not_served() -> None:
    """A layout that is not made of this release's definitions says nothing of its features."""
    served = [decision("p-1", {}, score=0.1, row_layout="f" * 16, row=row(0.9, 0.9))]
    found = proposed(served, policy=Rules(limits=(BUSY_CARD,)), layouts={"f" * 16: FEATURES})
    assert [dict(one.lacking) for one in found.rules] == [{"purchases_1h_by_card": 1}]


def test_the_thresholds_of_a_policy_decide_unless_others_are_given() -> None:
    """What the policy leaves out is what was live, and an option wins over the policy."""
    served = [decision("p-1", {7: 0.2}), decision("p-2", {7: 0.95})]
    assert proposed(served, policy=Rules(review=0.1)).decisions.tolist() == [REVIEW, DECLINE]
    assert proposed(served, policy=Rules(review=0.1), review=0.3).decisions.tolist() == [APPROVE, DECLINE]
    assert proposed(served, policy=Rules(review=0.1, decline=0.15)).decisions.tolist() == [DECLINE, DECLINE]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return a registry with one policy."""
    toml = """[degraded]
by_kind = { item = "score" }
[[limits]]
code = "busy-card"
feature = "purchases_1h_by_card"
more_than = 3
decision = "DECLINE"
text = "the card is busy"
"""
    assert publish_policy(tmp_path, parsed_policy(toml, "p.toml"), toml, "ann", 1) == 1
    return tmp_path


def test_without_another_policy_the_rules_of_then_hold(published: Path) -> None:
    """Other thresholds change what the score decides; limits, lists and the rule for degraded answers stay."""
    active: dict[str, Any] = {"policy_version": 1, "score_decision": int(APPROVE)}
    blocked = [list_code("block", EntityKind.CARD)]
    served = [
        decision("p-1", **active),
        decision("p-2", **active, rules=["limit:busy-card"], decision=int(DECLINE)),
        decision("p-3", **active, rules=blocked, decision=int(DECLINE)),
        decision("p-4", **active, degraded=True, item_missing=int(MissingCause.UNREADABLE)),
        decision("p-5", degraded=True, item_missing=int(MissingCause.UNREADABLE), decision=int(REVIEW)),
    ]
    as_was = proposed(served, registry=published, review=0.5, decline=0.9)
    assert as_was.decisions.tolist() == [APPROVE, DECLINE, DECLINE, APPROVE, REVIEW]
    assert backtest(as_was.frame, as_was.scores, as_was.decisions).changed.is_empty()
    stricter = proposed(served, registry=published, review=0.05, decline=0.9)
    assert stricter.decisions.tolist() == [REVIEW, DECLINE, DECLINE, REVIEW, REVIEW]
    assert as_was.not_here == {}


def test_a_policy_that_is_not_here_is_counted(tmp_path: Path) -> None:
    """Its limits are left out, and it is said of how many decisions."""
    served = [decision("p-1", policy_version=4, rules=["limit:busy-card"], decision=int(DECLINE))]
    found = proposed(served, registry=tmp_path, review=0.5)
    assert (found.decisions.tolist(), dict(found.not_here)) == ([APPROVE], {4: 1})


def test_a_blend_stops_as_many_as_the_score_stopped() -> None:
    """Thresholds that stop as many are those of the score's own decisions, not of what rules made of them."""
    by_score = [APPROVE, APPROVE, REVIEW, DECLINE]
    served = [
        decision(f"p-{n}", {7: score, 8: score}, score_decision=int(then), decision=int(DECLINE), rules=["limit:x"])
        for n, (score, then) in enumerate(zip((0.1, 0.2, 0.3, 0.4), by_score, strict=True))
    ]
    found = proposed(served, versions=(7, 8))
    assert found.limits == "as many stopped as were: 0.3, 0.4"
    assert found.decisions.tolist() == by_score


def test_old_records_hold_no_rules() -> None:
    """Decisions of an earlier release are judged as they were: by their thresholds."""
    served = [decision("p-1"), decision("p-2", {7: 0.7}, decision=int(REVIEW))]
    found = proposed(served, review=0.5, decline=0.9)
    assert isinstance(found.frame, pl.DataFrame)
    assert found.decisions.tolist() == [APPROVE, REVIEW]
