"""The fraud patterns, by name, each with its ground truth.

Every pattern leaves gaps on purpose: some thieves buy modestly, some use the victim's own card, some
fraudulent sellers deliver first. What makes a pattern visible is said in its docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from service.core.windows import DAY_MS, HOUR_MS, MINUTE_MS
from training.simulate.honest import own_card
from training.simulate.purchases import Bursts, Purchases, burst_times, bursts, grouped, joined
from training.simulate.world import NEVER_MS, Flags, Integers, World, chance, logistic


class Scheme(NamedTuple):
    """What fraudsters did: purchases (also honest ones that disguise them) and reports by owners of cards."""

    purchases: Purchases
    reported_card: Integers
    reported_ms: Integers


class Pattern(NamedTuple):
    """A fraud pattern: its share of all fraud, how long it goes on, and how it is played for a number of purchases."""

    name: str
    share: float
    days: float
    play: Callable[[World, np.random.Generator, int, int], Scheme]


def stolen_card(world: World, rng: np.random.Generator, count: int, code: int) -> Scheme:
    """Let another account, often a new one, buy dear things with a stolen card in a burst; the owner reports it."""
    burst = bursts(rng, count, 3.0, 12)
    begin = _begins(world, rng, burst.groups, days=1.0)
    victim = world.pick_users(rng, begin)
    local = chance(rng, burst.groups, 0.6)
    card = np.where(local, world.wallets.first[victim], world.add_cards(burst.groups))
    thief = world.pick_users(rng, begin)
    fresh = chance(rng, burst.groups, 0.5)
    thief[fresh] = world.users.add(begin[fresh] - _spread(rng, int(fresh.sum()), 0.7 * DAY_MS, 1.5))
    time = burst_times(burst, begin, np.exp(rng.normal(np.log(30.0 * MINUTE_MS), 1.3, count)))
    reported = begin + _spread(rng, burst.groups, 12.0 * HOUR_MS, 1.0)
    reported = np.where(local & chance(rng, burst.groups, 0.75), reported, NEVER_MS)
    _replace_cards(world, victim, reported)
    modest = chance(rng, burst.groups, 0.35)[burst.group]
    bought = _shopping(world, rng, time, dear=~modest)
    late = time > reported[burst.group]
    purchases = bought._replace(
        user=thief[burst.group],
        card=card[burst.group],
        declined=late | chance(rng, count, 0.1),
        pattern=np.full(count, code),
    )
    known = reported < world.settings.end_ms
    return Scheme(purchases, card[known], reported[known])


def account_takeover(world: World, rng: np.random.Generator, count: int, code: int) -> Scheme:
    """Let a known user pay with a card never seen there, at an unusual hour, at new sellers, for more than usual."""
    burst = bursts(rng, count, 2.5, 8)
    begin = _begins(world, rng, burst.groups, days=1.0)
    user = world.pick_users(rng, begin)
    stored = chance(rng, burst.groups, 0.3)
    other = chance(rng, burst.groups, 0.4)
    stolen = np.where(other, world.wallets.first[world.pick_users(rng, begin)], world.add_cards(burst.groups))
    card = np.where(stored, own_card(world, rng, user, begin), stolen)
    time = burst_times(burst, begin, np.exp(rng.normal(np.log(50.0 * MINUTE_MS), 1.2, count)))
    bought = _shopping(world, rng, time, dear=chance(rng, count, 0.75))
    purchases = bought._replace(
        user=user[burst.group],
        card=card[burst.group],
        declined=chance(rng, count, 0.08),
        pattern=np.full(count, code),
    )
    return _unreported(purchases)


def card_testing(world: World, rng: np.random.Generator, count: int, code: int) -> Scheme:
    """Let a bot try many cards for next to nothing at one seller, from accounts made for it; half are declined."""
    burst = grouped(rng.integers(3, 14, count), count)
    begin = _begins(world, rng, burst.groups, days=1.0)
    seller = world.pick_sellers(rng, begin)[burst.group]
    accounts = world.users.add(np.repeat(begin, 3) - _spread(rng, 3 * burst.groups, 5.0 * HOUR_MS, 1.5))
    user = accounts[burst.group * 3 + rng.integers(0, 3, count)]
    known = world.wallets.first[rng.integers(0, len(world.wallets.first), count)]
    card = np.where(chance(rng, count, 0.3), known, world.add_cards(count))
    time = burst_times(burst, begin, np.exp(rng.normal(np.log(3.0 * MINUTE_MS), 1.2, count)))
    item = world.pick_items(seller, np.zeros(count))
    purchases = Purchases(
        time_ms=time,
        user=user,
        seller=seller,
        item=np.where(chance(rng, count, 0.5), item, -1),
        card=card,
        amount_minor=rng.integers(50, 1_500, count),
        quantity=np.ones(count, np.int64),
        declined=chance(rng, count, 0.5),
        pattern=np.full(count, code),
    )
    return _unreported(purchases)


def fraudulent_seller(world: World, rng: np.random.Generator, count: int, code: int) -> Scheme:
    """Let a young seller deliver a little, then take the money of many honest people and vanish."""
    burst = grouped(rng.integers(8, 40, count), count)
    days = rng.uniform(3.0, 14.0, burst.groups)
    begin = _begins(world, rng, burst.groups, days=14.0)
    opened = begin - _spread(rng, burst.groups, 8.0 * DAY_MS, 0.7)
    seller = world.sellers.add(opened)
    goods = world.items.add(
        np.repeat(opened, 4) + _spread(rng, 4 * burst.groups, HOUR_MS, 1.0),
        np.repeat(seller, 4),
        rng.integers(300, 4_500, 4 * burst.groups) * 10 - 1,
    )
    time = begin[burst.group] + (rng.random(count) * days[burst.group] * DAY_MS).astype(np.int64)
    victims = _customers(world, rng, burst, seller, goods, time)
    disguised = chance(rng, burst.groups, 0.7)
    decoys = np.flatnonzero(disguised[burst.group] & chance(rng, count, 0.4))
    before = opened[burst.group] + (rng.random(count) * (begin - opened)[burst.group]).astype(np.int64)
    delivered = _customers(world, rng, burst, seller, goods, before).take(decoys)
    return _unreported(joined([victims._replace(pattern=np.full(count, code)), delivered]))


def collusion(world: World, rng: np.random.Generator, count: int, code: int) -> Scheme:
    """Let a ring of users move money through one seller: odd prices and quantities, again and again, for weeks."""
    burst = grouped(rng.integers(8, 30, count), count)
    begin = _begins(world, rng, burst.groups, days=20.0)
    seller = rng.integers(0, world.settings.seller_count, burst.groups)
    old = world.sellers.times_ms[seller] < begin
    seller = np.where(old, seller, world.pick_sellers(rng, begin))[burst.group]
    ring = world.pick_users(rng, np.repeat(begin, 6))
    user = ring[burst.group * 6 + rng.integers(0, 6, count)]
    time = begin[burst.group] + (rng.random(count) * 20.0 * DAY_MS).astype(np.int64)
    item = world.pick_items(seller, rng.random(count))
    strange = chance(rng, count, 0.6)
    round_sum = np.maximum(np.exp(rng.normal(np.log(8_000.0), 0.7, count)) // 500, 1).astype(np.int64) * 500
    quantity = np.where(strange, rng.integers(1, 25, count), 1)
    purchases = Purchases(
        time_ms=time,
        user=user,
        seller=seller,
        item=item,
        card=own_card(world, rng, user, time),
        amount_minor=np.where(strange, round_sum, world.items.price_minor[item] * quantity),
        quantity=quantity,
        declined=np.zeros(count, np.bool_),
        pattern=np.full(count, code),
    )
    return _unreported(purchases)


_MANY_GROUPS: Final = 3

PATTERNS: Final = (
    Pattern("stolen_card", 0.35, 1.0, stolen_card),
    Pattern("account_takeover", 0.22, 1.0, account_takeover),
    Pattern("card_testing", 0.15, 1.0, card_testing),
    Pattern("fraudulent_seller", 0.18, 14.0, fraudulent_seller),
    Pattern("collusion", 0.10, 20.0, collusion),
)
"""Every pattern; its number in `Purchases.pattern` is its place, from 1 on. 0 is honest."""


def play(world: World, rngs: list[np.random.Generator]) -> Scheme:
    """Play every pattern with its own random numbers; what lies before the first day or after the last is left out."""
    settings = world.settings
    schemes = []
    for code, (pattern, rng) in enumerate(zip(PATTERNS, rngs, strict=True), start=1):
        # Begins are spread over the days before the first one too, so that a share of the purchases falls away.
        count = settings.fraud_count * pattern.share * (settings.days + pattern.days) / settings.days
        schemes.append(pattern.play(world, rng, round(count), code))
    purchases = joined([scheme.purchases for scheme in schemes])
    inside = (purchases.time_ms >= settings.start_ms) & (purchases.time_ms < settings.end_ms)
    return Scheme(
        purchases.take(inside),
        np.concatenate([scheme.reported_card for scheme in schemes]),
        np.concatenate([scheme.reported_ms for scheme in schemes]),
    )


def _begins(world: World, rng: np.random.Generator, groups: int, days: float) -> Integers:
    """Return when groups that last up to `days` begin: at any hour, evenly over the whole time.

    Of many, one is at work on the last day, so that a market has something of every pattern to show there.
    """
    span_ms = (world.settings.days + days) * DAY_MS
    before_end_ms = rng.permutation((np.arange(groups) + rng.random(groups)) / max(groups, 1)) * span_ms
    if groups >= _MANY_GROUPS:
        before_end_ms[0] = rng.uniform(0.4, 0.9) * min(days, 3.0) * DAY_MS
    return world.settings.end_ms - 1 - before_end_ms.astype(np.int64)


def _spread(rng: np.random.Generator, count: int, median_ms: float, sigma: float) -> Integers:
    return np.exp(rng.normal(np.log(median_ms), sigma, count)).astype(np.int64)


def _replace_cards(world: World, victim: Integers, reported_ms: Integers) -> None:
    """Let the owners pay with another card once they have reported theirs."""
    wallets = world.wallets
    wallets.lost[victim[reported_ms < wallets.replaced_ms[victim]]] = False
    np.minimum.at(wallets.replaced_ms, victim, reported_ms)


def _shopping(world: World, rng: np.random.Generator, time_ms: Integers, dear: Flags) -> Purchases:
    """Return purchases at sellers of all kinds; user, card and pattern are for the caller to say."""
    count = len(time_ms)
    seller = world.pick_sellers(rng, time_ms)
    position = np.where(dear, rng.beta(2.5, 1.2, count), logistic(rng.normal(0.0, 1.0, count)))
    item = world.pick_items(seller, position)
    usual = 1 + rng.poisson(world.shops.bulk[seller])
    quantity = np.where(dear & chance(rng, count, 0.15), usual + rng.integers(1, 4, count), usual)
    nobody = np.full(count, -1)
    return Purchases(
        time_ms,
        nobody,
        seller,
        item,
        nobody,
        world.items.price_minor[item] * quantity,
        quantity,
        np.zeros(count, np.bool_),
        nobody,
    )


def _customers(
    world: World, rng: np.random.Generator, burst: Bursts, seller: Integers, goods: Integers, time_ms: Integers
) -> Purchases:
    """Return honest purchases of people who found a fraudulent seller."""
    count = len(time_ms)
    user = world.pick_users(rng, time_ms)
    item = goods[burst.group * 4 + rng.integers(0, 4, count)]
    return Purchases(
        time_ms=time_ms,
        user=user,
        seller=seller[burst.group],
        item=item,
        card=own_card(world, rng, user, time_ms),
        amount_minor=world.items.price_minor[item],
        quantity=np.ones(count, np.int64),
        declined=chance(rng, count, 0.03),
        pattern=np.zeros(count, np.int64),
    )


def _unreported(purchases: Purchases) -> Scheme:
    nothing = np.empty(0, np.int64)
    return Scheme(purchases, nothing, nothing)
