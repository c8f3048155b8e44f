"""The policy: the strictest rule wins, only an allow listing makes anything milder, and it never overrules a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.decision import DEGRADED_LEAST, Decision, DegradedRule, MissingCause, Thresholds
from service.core.event import KINDS, EntityKind
from service.core.features import BY_NAME
from service.core.listing import EFFECTS, Effect, Listing
from service.core.policy import (
    OVERRULED,
    Asked,
    Condition,
    Limit,
    ListRules,
    Overruled,
    Policy,
    Rules,
    Ruling,
    strictest,
)
from tests.make import make_purchase

APPROVE, REVIEW, DECLINE = Decision
USER, SELLER, ITEM, CARD = KINDS
BUSY, TENURE = BY_NAME["purchases_1h_by_card"], BY_NAME["user_tenure"]
PLACE = {BUSY: 0, TENURE: 1}
BUSY_CARD = Limit("busy-card", REVIEW, "the card is busy", (Condition(BUSY, above=0.625),))
NEW_LARGE = Limit("new-large", DECLINE, "new and large", (Condition(TENURE, below=0.1),), amount_above=50_000)


def listed(kind: EntityKind, effect: Effect) -> Listing:
    """Return a listing of somebody of a kind."""
    return Listing(kind, "x", effect, 0, "a test", "ann", 1)


def rule(
    rules: Rules,
    row: Sequence[float] = (0.0, 0.5),
    decision: Decision = APPROVE,
    listings: Sequence[Listing] = (),
    missing: Mapping[EntityKind, MissingCause] | None = None,
    default: DegradedRule = "at_least_review",
    **purchase: Any,
) -> Ruling:
    """Rule about one purchase."""
    return Policy(rules, PLACE).rule(row, make_purchase(**purchase), decision, listings, missing, default)


@pytest.mark.parametrize("decision", Decision)
def test_where_no_rule_holds_the_score_decides(decision: Decision) -> None:
    """Nothing is said and nothing is told."""
    assert rule(Rules(limits=(BUSY_CARD,)), decision=decision) == Ruling(decision, (), ())


def test_a_limit_holds_beyond_its_bound() -> None:
    """At the bound it does not hold; beyond it asks for its decision and says why in its own words."""
    rules = Rules(limits=(BUSY_CARD,))
    assert rule(rules, (0.625, 0.5)).rules == ()
    held = rule(rules, (0.6250000001, 0.5))
    assert (held.decision, held.rules) == (REVIEW, ("limit:busy-card",))
    assert held.reasons == (("limit:busy-card", "the card is busy", 0.0),)


def test_a_limit_never_makes_a_decision_milder() -> None:
    """What the score declines stays declined, and that the limit held is told all the same."""
    held = rule(Rules(limits=(BUSY_CARD,)), (0.9, 0.5), DECLINE)
    assert (held.decision, held.rules) == (DECLINE, ("limit:busy-card",))


@pytest.mark.parametrize(
    ("tenure", "amount_minor", "expected"),
    [(0.05, 50_001, ("limit:new-large",)), (0.05, 50_000, ()), (0.1, 50_001, ()), (nan, 50_001, ())],
)
def test_all_conditions_of_a_limit_hold_together(tenure: float, amount_minor: int, expected: tuple[str, ...]) -> None:
    """One that does not hold, or looks at what is unknown, is enough for the limit not to hold."""
    held = rule(Rules(limits=(NEW_LARGE,)), (0.0, tenure), amount_minor=amount_minor)
    assert held.rules == expected


@pytest.mark.parametrize(
    "condition", [Condition(BUSY, above=0.0), Condition(BUSY, below=1.0), Condition(BUSY, above=0.0, below=1.0)]
)
def test_what_is_unknown_satisfies_no_limit(condition: Condition) -> None:
    """NaN lies above nothing and below nothing."""
    assert rule(Rules(limits=(Limit("any", DECLINE, "any", (condition,)),)), (nan, nan)).rules == ()


def test_limits_hold_in_the_order_of_the_policy() -> None:
    """Each limit that holds is told, and the strictest one decides."""
    held = rule(Rules(limits=(BUSY_CARD, NEW_LARGE)), (0.9, 0.01), amount_minor=60_000)
    assert (held.decision, held.rules) == (DECLINE, ("limit:busy-card", "limit:new-large"))


def test_a_limit_that_observes_is_recorded_and_not_told() -> None:
    """It changes no decision, callers do not hear of it, and it counts as nothing asked for."""
    observing = Rules(limits=(Limit("watch", APPROVE, "watched", (Condition(BUSY, above=0.5),)),))
    for decision in Decision:
        held = rule(observing, (0.9, 0.5), decision)
        assert held == Ruling(decision, ("limit:watch",), (), APPROVE)


def test_what_rules_ask_for_is_told_apart_from_what_the_score_says() -> None:
    """The strictest of them counts, also where an allow listing overrules it."""
    assert rule(Rules(limits=(BUSY_CARD,)), (0.9, 0.5), DECLINE).asked is REVIEW
    assert rule(Rules(limits=(BUSY_CARD,)), (0.9, 0.5), APPROVE, [listed(USER, "allow")]).asked is REVIEW
    assert rule(Rules(limits=(BUSY_CARD,)), (0.1, 0.5), DECLINE).asked is APPROVE
    assert rule(Rules(), missing={CARD: MissingCause.UNREADABLE}, default="decline").asked is DECLINE


def test_lists_decide_without_a_policy() -> None:
    """A block declines, a review reviews, and an allow listing approves what the score declines."""
    none = Rules()
    blocked = rule(none, listings=[listed(CARD, "block")])
    assert (blocked.decision, blocked.rules) == (DECLINE, ("list:block:card",))
    assert blocked.reasons[0].text == "the card is on the block list"
    assert rule(none, listings=[listed(USER, "review")]).decision is REVIEW
    allowed = rule(none, decision=DECLINE, listings=[listed(USER, "allow")])
    assert (allowed.decision, allowed.rules) == (APPROVE, ("list:allow:user",))


def test_a_block_wins_over_all_that_is_allowed() -> None:
    """Whatever an allow listing overrules, a block of another entity of the purchase stands; it is told first."""
    both = [listed(USER, "allow"), listed(CARD, "block")]
    for overruled in (frozenset[Overruled](), frozenset(OVERRULED)):
        held = rule(Rules(lists=ListRules(allow_overrules=overruled)), listings=both)
        assert (held.decision, held.rules) == (DECLINE, ("list:block:card", "list:allow:user"))


def test_an_allow_listing_wins_over_limits_and_not_over_a_review() -> None:
    """By default it overrules the score, a degraded answer and the limits."""
    limits = Rules(limits=(BUSY_CARD,))
    allow = listed(USER, "allow")
    assert rule(limits, (0.9, 0.5), DECLINE, [allow]).decision is APPROVE
    unreadable = {CARD: MissingCause.UNREADABLE}
    assert rule(limits, (nan, 0.5), listings=[allow], missing=unreadable).decision is APPROVE
    assert rule(limits, listings=[allow, listed(SELLER, "review")]).decision is REVIEW


def test_what_is_not_overruled_stands() -> None:
    """An allow listing that overrules limits alone leaves the score its say."""
    rules = Rules(limits=(BUSY_CARD,), lists=ListRules(allow_overrules=frozenset({"limits"})))
    assert rule(rules, (0.9, 0.5), APPROVE, [listed(USER, "allow")]).decision is APPROVE
    assert rule(rules, (0.9, 0.5), DECLINE, [listed(USER, "allow")]).decision is DECLINE


def test_a_degraded_answer_follows_the_setting_where_the_policy_is_silent() -> None:
    """The three rules ask for what they say; only one that asks for something is told."""
    unreadable = {CARD: MissingCause.UNREADABLE}
    for default, least in DEGRADED_LEAST.items():
        held = rule(Rules(), missing=unreadable, default=default)
        assert held.decision is least
        assert held.rules == (() if default == "score" else ("degraded",))


def test_a_degraded_answer_depends_on_what_is_missing() -> None:
    """Of several profiles that could not be read the strictest rule holds; absent and unknown ones degrade nothing."""
    rules = Rules(degraded="at_least_review", degraded_by_kind={ITEM: "score", CARD: "decline"})
    lost = MissingCause.UNREADABLE
    assert rule(rules, missing={ITEM: lost, USER: MissingCause.UNKNOWN}).decision is APPROVE
    assert rule(rules, missing={ITEM: lost, SELLER: MissingCause.ABSENT}, default="decline").decision is APPROVE
    assert rule(rules, missing={ITEM: lost, USER: lost}).decision is REVIEW
    held = rule(rules, missing={ITEM: lost, CARD: lost})
    assert (held.decision, held.rules) == (DECLINE, ("degraded",))
    assert held.reasons[0].text == "the history of the item and the card could not be read"


def test_a_purchase_that_was_recorded_before_says_so() -> None:
    """Profiles that hold the purchase itself are told apart from those that could not be read."""
    held = rule(Rules(), missing=dict.fromkeys(KINDS, MissingCause.HOLDS_PURCHASE))
    assert held.reasons[0].text == "the purchase had been recorded before it was scored"


_decisions = st.sampled_from(list(Decision))


@given(st.tuples(*[_decisions] * 5), st.sets(st.sampled_from(OVERRULED)), st.sampled_from([APPROVE, REVIEW]))
def test_the_strictest_wins(asked: tuple[Decision, ...], overruled: set[Overruled], allow: Decision) -> None:
    """Nothing is milder than what is asked for, but for what an allow listing overrules; that is never above it."""
    each = Asked(*asked)
    lists = ListRules(allow=allow, allow_overrules=frozenset(overruled))
    assert strictest(each, lists, allowed=False) is max(each)
    allowed = strictest(each, lists, allowed=True)
    standing = [one for name, one in each._asdict().items() if name not in overruled]
    assert allowed >= max(standing)
    assert allowed <= max(*standing, allow)
    assert allowed <= max(each)


@given(
    st.floats(0, 1) | st.just(nan), st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(EFFECTS)), max_size=4)
)
def test_codes_and_reasons_go_together(busy: float, listings: list[tuple[EntityKind, Effect]]) -> None:
    """Each rule that held is told once in code and once in words, lists before limits."""
    held = rule(Rules(limits=(BUSY_CARD,)), (busy, 0.5), listings=[listed(*one) for one in listings])
    assert held.rules == tuple(reason.code for reason in held.reasons)
    assert [one.startswith("list:") for one in held.rules] == sorted(
        (one.startswith("list:") for one in held.rules), reverse=True
    )


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(), (0.3, 0.8)),
        (Rules(review=0.1), (0.1, 0.8)),
        (Rules(review=0.2, decline=0.4), (0.2, 0.4)),
        (Rules(review=0.9), (0.8, 0.8)),
        (Rules(decline=0.1), (0.1, 0.1)),
    ],
)
def test_thresholds_of_a_policy_replace_those_of_a_model(rules: Rules, expected: tuple[float, float]) -> None:
    """One that is not given is the model's own, and review never lies above decline."""
    assert rules.thresholds(Thresholds(0.3, 0.8)) == expected
