"""The features: one declaration each, used to serve and to train.

To add a feature, add one `Feature` to `FEATURES` below. Its formula may read anything that
`service.core.profile` keeps; a test holds it to [0, 1], to NaN for what is unknown, and to the same bits
in a row and in a column. Change a formula, and its fingerprint changes: models that were trained with
the old one are refused at load until they are retrained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from service.core.aggregates import RECENT_CAP
from service.core.event import EntityKind
from service.core.fixed import LOG_SCALE
from service.core.formula import Formula, Reading, maximum, minimum, readings
from service.core.profile import DAY_PARTS
from service.core.terms import (
    AMOUNT,
    LOG_AMOUNT,
    LOG_QUANTITY,
    PRICE_PRIOR,
    QUANTITY_PRIOR,
    against,
    burst,
    clean_mean,
    matured_fraud_share,
    price_typicality,
    recency,
    sat,
    share,
    tenure,
    total,
    typical,
    window,
)
from service.core.windows import DAY_MS, HOUR_MS, SPANS

USER, SELLER, ITEM, CARD = EntityKind.USER, EntityKind.SELLER, EntityKind.ITEM, EntityKind.CARD


@dataclass(frozen=True)
class Feature:
    """One input of a model: a number in [0, 1], or NaN for unknown."""

    name: str
    formula: Formula
    question: str
    unit: str
    why: str
    high: str
    """The reason in words when a high value speaks for fraud."""
    low: str
    """The reason in words when a low value speaks for fraud."""
    version: int = 1
    monotone: int = 0
    """+1 when more of it can only speak for fraud, -1 for the opposite, 0 when the field does not agree."""

    @cached_property
    def fingerprint(self) -> str:
        """Name the definition: 16 hex digits of the SHA-256 of name, version, formula and what its words mean."""
        windows = sorted({one.window for one in readings([self.formula]) if one.window})
        spans = " ".join(f"{name}={SPANS[name]}" for name in windows)
        text = f"{self.name}\n{self.version}\n{self.formula}\n{spans}\n{LOG_SCALE} {DAY_PARTS} {RECENT_CAP}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_WHO: Final = {USER: "the user", SELLER: "the seller", ITEM: "the item", CARD: "the card"}


def _count(kind: EntityKind, name: str, k: float) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    return Feature(
        f"purchases_{name}_by_{noun}",
        sat(window(kind, "purchases", name), k),
        f"How many purchases did {who} see in the last {name}?",
        f"sat(count, {k:g})",
        "Stolen cards and taken-over accounts are used quickly, before they are blocked.",
        f"{who} saw many purchases in the last {name}",
        f"{who} saw few purchases in the last {name}",
    )


def _amount(kind: EntityKind, name: str, k_minor: float) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    return Feature(
        f"amount_{name}_by_{noun}",
        sat(window(kind, "amount", name), k_minor),
        f"How much was spent by or at {who} in the last {name}?",
        f"sat(minor units, {k_minor:g})",
        "Fraud empties an account or a card limit in a short time.",
        f"much money went through {who} in the last {name}",
        f"little money went through {who} in the last {name}",
    )


def _burst(kind: EntityKind, measure: str, short: str, days: float, slack: float) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    what = "purchases" if measure == "purchases" else "amounts"
    return Feature(
        f"{measure}_burst_{short}_by_{noun}",
        burst(kind, measure, short, days, slack),
        f"Are the {what} of {who} in the last {short} more than its last 30 days lead one to expect?",
        "recent / (recent + expected)",
        "A burst against the own habit is the mark of a stolen card, a taken-over account or a seller who cashes out.",
        f"{what} of {who} in the last {short} are far above its habit",
        f"{what} of {who} in the last {short} are below its habit",
    )


def _level(kind: EntityKind) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    return Feature(
        f"amount_against_{noun}",
        against(AMOUNT, clean_mean(kind)),
        f"How large is the amount against the mean of {who}, confirmed frauds left out?",
        "amount / (amount + mean)",
        "Fraud spends more than the owner would.",
        f"the amount is far above the mean of {who}",
        f"the amount is far below the mean of {who}",
    )


def _price(kind: EntityKind, name: str) -> Feature:
    who = _WHO[kind]
    return Feature(
        name,
        price_typicality(kind),
        f"How average is the price for {who}?",
        "1 / (1 + z²) of log2(amount)",
        "Fraud buys at prices that the owner does not.",
        f"the price is exactly what is usual for {who}",
        f"the price is unusual for {who}",
    )


def _frauds(kind: EntityKind, name: str, k: float) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    return Feature(
        f"frauds_{name}_by_{noun}",
        sat(maximum(window(kind, "frauds", name), 0.0), k),
        f"How many frauds of {who} were confirmed in the last {name}?",
        f"sat(count, {k:g})",
        "Fraud comes back to where it worked.",
        f"frauds of {who} were confirmed in the last {name}",
        f"no fraud of {who} was confirmed in the last {name}",
    )


def _fraud_share(kind: EntityKind, name: str, old: str) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    return Feature(
        f"fraud_share_{name}_by_{noun}",
        matured_fraud_share(kind, name, old, "7d"),
        f"Of the purchases of {who} that had a week to turn out as fraud, how many were confirmed in the last {name}?",
        f"frauds of {name} / (purchases of {old} less those of 7d)",
        "One fraud among ten purchases says more than one among ten thousand.",
        f"many of the purchases of {who} turned out to be fraud in the last {name}",
        f"few of the purchases of {who} turned out to be fraud in the last {name}",
    )


def _fraud_recency(kind: EntityKind, half_days: float) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    return Feature(
        f"fraud_recency_by_{noun}",
        minimum(maximum(total(kind, "frauds"), 0.0), 1.0) * recency(total(kind, "last_fraud_ms"), half_days * DAY_MS),
        f"How long ago was the last fraud of {who} confirmed?",
        f"1 at once, one half after {half_days:g} days, 0 for never or all taken back",
        "A compromised card, terminal or account stays so until somebody acts.",
        f"a fraud of {who} was confirmed recently",
        f"no fraud of {who} was confirmed lately",
    )


def _spend(kind: EntityKind, name: str) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    mean = clean_mean(kind)
    recent = (window(kind, "amount", name) + mean) / (window(kind, "purchases", name) + 1.0)
    return Feature(
        f"mean_amount_{name}_by_{noun}",
        against(recent, mean),
        f"Is the mean amount of {who} in the last {name} above its mean of all time?",
        "recent mean / (recent mean + mean)",
        "Somebody else spends with another hand, for days, until it is noticed.",
        f"the amounts of {who} in the last {name} are above its habit",
        f"the amounts of {who} in the last {name} are below its habit",
    )


def _since_purchase(kind: EntityKind, half_ms: float, half: str) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    return Feature(
        f"purchase_recency_by_{noun}",
        recency(total(kind, "last_purchase_ms"), half_ms),
        f"How long ago was the last purchase of {who}?",
        f"1 at once, one half after {half}, 0 for never",
        "Card testing and bots pay within seconds; a dormant account that wakes up may be taken over.",
        f"the last purchase of {who} was moments ago",
        f"{who} had not bought for long",
    )


def _known(kind: EntityKind) -> Feature:
    who, noun = _WHO[kind], kind.name.lower()
    return Feature(
        f"{noun}_known",
        Reading(kind, "exists"),
        f"Was anything ever recorded of {who}?",
        "0 or 1",
        "Fraud works with fresh accounts and cards; and a zero means something else when nothing is known.",
        f"{who} is known",
        f"{who} was never seen before",
    )


FEATURES: Final[tuple[Feature, ...]] = (
    # The seven of the talk.
    Feature(
        "user_tenure",
        tenure(total(USER, "first_ms"), 180.0),
        "How long has the user been registered?",
        "sat(days since registration or first sight, 180)",
        "Fraud is done with accounts made for it.",
        "the user has been registered for long",
        "the user registered only recently",
    ),
    Feature(
        "seller_tenure",
        tenure(total(SELLER, "first_ms"), 180.0),
        "How long has the seller been registered?",
        "sat(days since registration or first sight, 180)",
        "Fraudulent sellers open a shop, cash out and vanish.",
        "the seller has been registered for long",
        "the seller registered only recently",
    ),
    Feature(
        "user_fraud_rate",
        share(total(USER, "frauds"), total(USER, "purchases"), 0.01, 20.0),
        "How many of all the user's purchases were fraud?",
        "(frauds + 0.2) / (purchases + 20)",
        "Who defrauded before does so again, and so does who was defrauded before.",
        "many of the user's purchases were fraud",
        "few of the user's purchases were fraud",
    ),
    _price(USER, "user_price_typicality"),
    Feature(
        "card_report_rate",
        sat(total(CARD, "reports"), 1.0),
        "How often was the card reported?",
        "sat(reports, 1)",
        "A reported card is in the wrong hands.",
        "the card was reported",
        "the card was never reported",
        monotone=1,
    ),
    Feature(
        "card_purchase_frequency",
        sat(window(CARD, "purchases", "24h"), 5.0),
        "How often were recent purchases with the card?",
        "sat(purchases in 24 hours, 5)",
        "A stolen card is used up before it is blocked.",
        "the card was used unusually often in the last 24 hours",
        "the card was hardly used in the last 24 hours",
    ),
    Feature(
        "seller_quantity_typicality",
        typical(
            LOG_QUANTITY,
            total(SELLER, "completed"),
            total(SELLER, "log_quantity"),
            total(SELLER, "log_quantity_sq"),
            QUANTITY_PRIOR,
            2.0,
        ),
        "How standard is the number of items for the seller?",
        "1 / (1 + z²) of log2(quantity)",
        "Resellers of stolen goods buy in numbers that nobody else does.",
        "the number of items is exactly what is usual for the seller",
        "the number of items is unusual for the seller",
    ),
    # What the purchase says by itself.
    Feature(
        "amount_level",
        minimum(LOG_AMOUNT / (30.0 * LOG_SCALE), 1.0),
        "How large is the amount?",
        "log2(minor units + 1) / 30",
        "Fraud goes for what is worth it, or tests a card with next to nothing.",
        "the amount is large",
        "the amount is small",
    ),
    # Velocity.
    _count(USER, "1h", 3.0),
    _count(USER, "24h", 5.0),
    _count(CARD, "1h", 3.0),
    _count(SELLER, "1h", 20.0),
    _count(ITEM, "24h", 20.0),
    _amount(USER, "24h", 20_000.0),
    # Burst against habit.
    _burst(USER, "purchases", "24h", 1.0, 0.5),
    _burst(SELLER, "purchases", "24h", 1.0, 0.5),
    _spend(USER, "7d"),
    _spend(USER, "14d"),
    # The amount against everybody's own level.
    _level(USER),
    _level(CARD),
    _level(ITEM),
    _level(SELLER),
    _price(SELLER, "seller_price_typicality"),
    Feature(
        "item_listed_price_typicality",
        typical(
            LOG_AMOUNT - LOG_QUANTITY,
            total(ITEM, "listings"),
            total(ITEM, "listed_log"),
            total(ITEM, "listed_log") * total(ITEM, "listed_log") / maximum(total(ITEM, "listings"), 1.0),
            PRICE_PRIOR,
            0.5,
        ),
        "How near is the price of one to the price that the item was listed at?",
        "1 / (1 + z²) of log2(amount / quantity)",
        "Collusion moves money through prices that no listing asks.",
        "the price is the listed one",
        "the price is far from the listed one",
    ),
    # Confirmed fraud.
    _frauds(SELLER, "1d", 2.0),
    _frauds(SELLER, "7d", 2.0),
    _frauds(SELLER, "14d", 2.0),
    _frauds(SELLER, "30d", 2.0),
    _fraud_share(SELLER, "7d", "14d"),
    _fraud_share(SELLER, "21d", "28d"),
    _fraud_recency(SELLER, 7.0),
    Feature(
        "fraud_onset_30d_by_seller",
        minimum(Reading(SELLER, "onset", "frauds", "30d"), 1.0)
        * ((31.0 - Reading(SELLER, "onset", "frauds", "30d")) / 31.0),
        "Within the last 30d, how long ago was the first fraud of the seller confirmed?",
        "(31 - days ago) / 31, where today is 1; 0 for none",
        "A compromised terminal stays so for weeks: where fraud began lately, more is to come.",
        "fraud of the seller began only lately",
        "fraud of the seller began long ago, or never",
    ),
    Feature(
        "fraud_amount_30d_by_seller",
        against(
            maximum(window(SELLER, "fraud_amount", "30d"), 0.0),
            maximum(window(SELLER, "frauds", "30d"), 0.0) * clean_mean(SELLER) + 1.0,
        ),
        "How large were the seller's frauds of the last 30d against its usual amounts?",
        "mean fraud / (mean fraud + mean), 0 for none",
        "Frauds of ordinary size point at the shop, not at the buyer.",
        "the frauds of the seller in the last 30d were large",
        "the frauds of the seller in the last 30d were small, or none",
    ),
    _frauds(USER, "7d", 2.0),
    _frauds(USER, "30d", 2.0),
    _fraud_share(USER, "21d", "28d"),
    _fraud_recency(USER, 7.0),
    _fraud_recency(CARD, 7.0),
    _fraud_recency(ITEM, 7.0),
    Feature(
        "declines_24h_by_card",
        sat(window(CARD, "declines", "24h"), 2.0),
        "How many purchases with the card were declined in the last 24 hours?",
        "sat(count, 2)",
        "Testing stolen numbers makes declines.",
        "purchases with the card were declined in the last 24 hours",
        "no purchase with the card was declined lately",
        monotone=1,
    ),
    # Who meets whom.
    Feature(
        "user_met_card",
        Reading(USER, "met", "cards"),
        "Has the user paid with this card before?",
        "0 or 1, of the 16 cards used last",
        "An account that is taken over pays with a card it never had.",
        "the user has paid with this card before",
        "the user pays with this card for the first time",
    ),
    Feature(
        "user_met_seller",
        Reading(USER, "met", "sellers"),
        "Has the user bought from this seller before?",
        "0 or 1, of the 16 sellers met last",
        "People go back to shops they know; fraud goes where it was never seen.",
        "the user has bought from this seller before",
        "the user buys from this seller for the first time",
    ),
    Feature(
        "cards_of_user",
        sat(Reading(USER, "size", "cards"), 2.0),
        "How many cards has the user paid with?",
        "sat(cards, 2), at most 16 are told apart",
        "Testing stolen cards runs many of them through one account.",
        "the user has paid with many cards",
        "the user has paid with few cards",
    ),
    Feature(
        "users_of_card",
        sat(Reading(CARD, "size", "users"), 2.0),
        "How many users has the card paid for?",
        "sat(users, 2), at most 16 are told apart",
        "One card in many accounts is a stolen card, or a ring.",
        "the card was used by many users",
        "the card was used by few users",
    ),
    # Habit in time.
    Feature(
        "user_day_part_share",
        (Reading(USER, "day_part") + 0.5) / (total(USER, "purchases") + 4.0),
        "How usual is this time of the day for the user?",
        "(purchases in this eighth of the day + 0.5) / (purchases + 4)",
        "Whoever takes over an account lives by another clock.",
        "the user often buys at this time of the day",
        "the user hardly ever buys at this time of the day",
    ),
    _since_purchase(USER, float(HOUR_MS), "an hour"),
    _known(USER),
    _known(SELLER),
    _known(ITEM),
    _known(CARD),
)

BY_NAME: Final = {feature.name: feature for feature in FEATURES}


def layout_id(features: Iterable[Feature]) -> str:
    """Name a row: 16 hex digits of the SHA-256 of the fingerprints in their order."""
    text = "\n".join(feature.fingerprint for feature in features)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
