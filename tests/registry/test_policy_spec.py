"""The policy as it is written: what each field means for a row, and every mistake in one sentence."""

from __future__ import annotations

import pytest

from service.core.decision import Decision
from service.core.event import EntityKind
from service.core.features import BY_NAME
from service.core.policy import NO_RULES, Condition, ListRules
from service.core.scale import scale_of
from service.core.windows import DAY_MS
from service.errors import BadSetting
from service.registry.policy_spec import MAX_LIMITS, parsed_policy

LIMIT = '[[limits]]\ncode = "a"\ntext = "t"\ndecision = "REVIEW"\n'

WHOLE = """
about = "card testing"

[thresholds]
review = 0.3

[degraded]
rule = "decline"
by_kind = { item = "score" }

[lists]
block = "REVIEW"
allow_overrules = ["limits"]

[[limits]]
code = "busy-card"
feature = "purchases_1h_by_card"
more_than = 5
decision = "REVIEW"
text = "the card was used more than 5 times in an hour"

[[limits]]
code = "new-large"
all = [{ feature = "user_tenure", within = "1d" }, { feature = "user_met_card", is = false }]
amount_more_than_minor = 50_000
decision = "DECLINE"
text = "a new user spends more than 500.00 with a new card"
"""


def at(name: str, natural: float) -> float:
    """Return a feature's value at a count or a time ago."""
    scale = scale_of(BY_NAME[name])
    assert scale is not None
    return scale.at(natural)


def conditions(bounds: str) -> tuple[tuple[str, float | None, float | None], ...]:
    """Return what the conditions of one limit ask of features: name, above, below."""
    (limit,) = parsed_policy(LIMIT + bounds, "p.toml").rules().limits
    return tuple((one.feature.name, one.above, one.below) for one in limit.conditions)


def test_a_policy_says_what_it_says() -> None:
    """Every part of the file is in the rules, and what is left out is as by default."""
    policy = parsed_policy(WHOLE, "p.toml")
    rules = policy.rules(7)
    assert (rules.version, rules.review, rules.decline) == (7, 0.3, None)
    assert (rules.degraded, rules.degraded_by_kind) == ("decline", {EntityKind.ITEM: "score"})
    assert rules.lists == ListRules(block=Decision.REVIEW, allow_overrules=frozenset({"limits"}))
    busy, large = rules.limits
    assert (busy.code, busy.decision) == ("busy-card", Decision.REVIEW)
    assert busy.conditions == (Condition(BY_NAME["purchases_1h_by_card"], above=at("purchases_1h_by_card", 5)),)
    assert (large.decision, large.amount_above, large.amount_below) == (Decision.DECLINE, 50_000, None)
    assert [one.feature.name for one in large.conditions] == ["user_tenure", "user_met_card"]
    assert [limit.words() for limit in policy.limits] == [
        "purchases_1h_by_card more than 5",
        "user_tenure within 1d, and user_met_card is no, and amount more than 50,000 minor",
    ]


def test_a_limit_that_observes_asks_for_nothing() -> None:
    """It is the mildest decision there is."""
    toml = LIMIT.replace("REVIEW", "OBSERVE") + "amount_more_than_minor = 5"
    assert [limit.decision for limit in parsed_policy(toml, "p.toml").rules().limits] == [Decision.APPROVE]


def test_an_empty_policy_is_what_holds_without_one() -> None:
    """Nothing said is nothing changed."""
    assert parsed_policy("", "p.toml").rules() == NO_RULES


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ('feature = "frauds_7d_by_user"\nmore_than = 0', ("frauds_7d_by_user", 0.0, None)),
        ('feature = "purchases_1h_by_card"\nfewer_than = 1', ("purchases_1h_by_card", None, 0.25)),
        ('feature = "amount_level"\nabove = 0.5\nbelow = 0.75', ("amount_level", 0.5, 0.75)),
        ('feature = "user_met_card"\nis = true', ("user_met_card", 0.5, None)),
        ('feature = "user_met_card"\nis = false', ("user_met_card", None, 0.5)),
        ('feature = "user_tenure"\nwithin = "30d"', ("user_tenure", None, at("user_tenure", 30 * DAY_MS))),
        ('feature = "user_tenure"\nlonger_ago_than = "24h"', ("user_tenure", at("user_tenure", DAY_MS), None)),
        (
            'feature = "purchase_recency_by_user"\nwithin = "30s"',
            ("purchase_recency_by_user", at("purchase_recency_by_user", 30_000), None),
        ),
        (
            'feature = "fraud_recency_by_card"\nlonger_ago_than = "5m"',
            ("fraud_recency_by_card", None, at("fraud_recency_by_card", 300_000)),
        ),
    ],
)
def test_bounds_are_found_in_the_features_own_scale(bounds: str, expected: tuple[object, ...]) -> None:
    """A count, a time ago, yes or no become bounds of the feature, on the side on which it grows."""
    assert conditions(bounds) == (expected,)


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("a =", "not valid TOML: Invalid value (at end of document)"),
        ("limit = 3", "limit: is not known; did you mean 'limits'?"),
        ("limits = 3", "limits: is a list: each rule of it begins with [[limits]]"),
        ("[lists]\nblck = 1", "lists.blck: is not known; did you mean 'block'?"),
        ('[lists]\nallow_overrules = ["block"]', "lists.allow_overrules.1: input should be 'score', 'degraded',"),
        ("[thresholds]\nreview = 0.9\ndecline = 0.5", "thresholds: review lies above decline"),
        ('[degraded.by_kind]\ncards = "score"', "degraded.by_kind.cards: input should be 'user',"),
        ('[[limits]]\ndecision = "REVIEW"', "limit number 1: code: is missing"),
        ('[[limits]]\ncode = "a"\ndecision = "APPROVE"\ntext = "t"', "limit a: decision: is 'OBSERVE',"),
        ('[[limits]]\ncode = "A b"\ndecision = "REVIEW"\ntext = "t"', "limit A b: code: is made of small letters,"),
        (LIMIT, "limit a: has no condition: give a feature with a bound, or an amount"),
        (LIMIT + "more_than = 3", "limit a: more_than is given without a feature"),
        (LIMIT + 'feature = "user_tenur"', "limit a: feature: there is no feature 'user_tenur'; did you mean"),
        (LIMIT + 'feature = "x"', "limit a: feature: there is no feature 'x'; docs/features.md lists them"),
        (LIMIT + 'feature = "amount_level"', "limit a: amount_level has no bound: it takes above and below,"),
        (
            LIMIT + 'feature = "user_tenure"\nmore_than = 1',
            "limit a: more_than does not fit user_tenure: it takes",
        ),
        (LIMIT + 'feature = "card_known"\nabove = 0.5', "limit a: above does not fit card_known: it takes is,"),
        (
            LIMIT + 'feature = "user_tenure"\nwithin = "1 day"',
            "limit a: within: is a number with s, m, h or d, such",
        ),
        (LIMIT + 'feature = "user_tenure"\nwithin = "0d"', "limit a: within: is a number with s, m, h or d, such"),
        (
            LIMIT + 'feature = "card_report_rate"\nmore_than = 1.5',
            "limit a: more_than: input should be a valid",
        ),
        (LIMIT + 'feature = "card_report_rate"\nmore_than = nan', "limit a: more_than: "),
        (
            LIMIT + 'feature = "amount_level"\nabove = 1.0',
            "limit a: above: no feature lies above 1, amount_level",
        ),
        (LIMIT + 'feature = "amount_level"\nabove = 1.5', "limit a: above: input should be less than or equal to 1"),
        (LIMIT + 'feature = "users_of_card"\nmore_than = 16', "limit a: more_than: at most 16 users are told apart,"),
        (
            LIMIT + 'feature = "card_report_rate"\nmore_than = 999_999_999_999',
            "limit a: more_than: 999999999999 is too large to be told from 1000000000000",
        ),
        (
            LIMIT + 'feature = "card_report_rate"\nmore_than = 1\nabove = 0.5',
            "limit a: card_report_rate is bounded twice on the same side: more_than, above",
        ),
        (
            LIMIT + 'feature = "card_report_rate"\nmore_than = 5\nfewer_than = 5',
            "limit a: card_report_rate can never lie between its bounds: more_than, fewer_than",
        ),
        (
            LIMIT + "amount_more_than_minor = 5\namount_less_than_minor = 6",
            "limit a: amount_more_than_minor: no",
        ),
        (LIMIT + 'all = [{ feature = "user_tenure" }]', "limit a: user_tenure has no bound:"),
        (LIMIT + 'all = [{ feature = "user_tenure", withi = "1d" }]', "limit a: condition 1: withi: is not known; did"),
        (LIMIT + "all = [3]", "limit a: condition 1: is a table of fields,"),
        (2 * (LIMIT + "amount_more_than_minor = 5\n"), "limit a: code: 2 limits have this code"),
        ("about = 2026-11-21\nwhen = 1", "when: is not known; there are about, thresholds, degraded, lists, limits"),
    ],
)
def test_a_mistake_is_one_sentence(toml: str, sentence: str) -> None:
    """It names the file, the rule and the field, and what would be right."""
    with pytest.raises(BadSetting) as refused:
        parsed_policy(toml, "p.toml")
    said = str(refused.value)
    assert said.startswith(f"policy p.toml: {sentence}")
    assert "\n" not in said


def test_a_policy_has_a_bounded_number_of_limits() -> None:
    """One more than the bound is refused."""
    limits = [LIMIT.replace('"a"', f'"a-{n}"') + "amount_more_than_minor = 5\n" for n in range(MAX_LIMITS + 1)]
    assert len(parsed_policy("".join(limits[1:]), "p.toml").rules().limits) == MAX_LIMITS
    with pytest.raises(BadSetting, match=f"limits: .*{MAX_LIMITS}"):
        parsed_policy("".join(limits), "p.toml")
