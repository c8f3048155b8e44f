"""Honest purchases: daily and weekly rhythm, favourite sellers, and all that looks like fraud and is not.

Gift sprees look like a stolen card, trips like a taken-over account, first large purchases of new users like
thieves' accounts, retries after a refusal like card testing. Without them the task would be trivial.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from service.core.windows import DAY_MS, HOUR_MS, MINUTE_MS
from training.simulate.purchases import Purchases, burst_times, bursts, joined
from training.simulate.world import FAVOURITES, Integers, Reals, World, chance, logistic, pick

SPREE_SHARE: Final = 0.025
FIRST_SHARE: Final = 0.01
RETRY_SHARE: Final = 0.015

_WEEKDAY_LOAD: Final = np.array([1.0, 0.95, 1.0, 1.05, 1.3, 0.7, 0.6])
_WEEKEND_LOAD: Final = np.array([0.6, 0.6, 0.6, 0.7, 1.1, 2.0, 1.8])
_THURSDAY: Final = 3
"""Day 0 of the epoch was a Thursday; the loads begin with Monday."""


def honest_purchases(world: World, rng: np.random.Generator, count: int) -> Purchases:
    """Return `count` honest purchases, in no order."""
    sprees = round(count * SPREE_SHARE)
    firsts = round(count * FIRST_SHARE)
    retries = round(count * RETRY_SHARE)
    plain = _everyday(world, rng, count - sprees - firsts - retries)
    return joined(
        [plain, _sprees(world, rng, sprees), _firsts(world, rng, firsts), _retries(world, rng, plain, retries)]
    )


def own_card(world: World, rng: np.random.Generator, user: Integers, time_ms: Integers) -> Integers:
    """Return the card that each honest user pays with: now and then the second, else the first or what replaced it."""
    wallets = world.wallets
    first = np.where(time_ms < wallets.replaced_ms[user], wallets.first[user], wallets.replacement[user])
    second = wallets.second[user]
    return np.where((second >= 0) & chance(rng, len(user), 0.3), second, first)


def _everyday(world: World, rng: np.random.Generator, count: int) -> Purchases:
    settings, habits = world.settings, world.habits
    user = pick(rng, np.cumsum(habits.activity), count)
    registered = np.maximum(world.users.times_ms[user], settings.start_ms)
    time = _days_ms(world, rng, user, registered) + _hours_ms(world, rng, user)
    travels = (habits.trip_from_ms[user] <= time) & (time < habits.trip_to_ms[user])
    day = time // DAY_MS * DAY_MS
    shifted = day + (time - day + (habits.trip_shift_hours[user] * HOUR_MS).astype(np.int64)) % DAY_MS
    time = np.where(travels, shifted, time)
    # Nobody buys before the account is there.
    early = time <= registered
    time[early] = registered[early] + (rng.exponential(40.0, int(early.sum())) * MINUTE_MS).astype(np.int64) + 1
    time = np.minimum(time, settings.end_ms - 1)
    favourite = habits.favourites[user, rng.integers(0, FAVOURITES, count)]
    loyal = ~travels & chance(rng, count, 0.55) & (world.sellers.times_ms[favourite] <= time)
    seller = np.where(loyal, favourite, world.pick_sellers(rng, time))
    position = logistic(0.7 * habits.wealth[user] + rng.normal(0.0, 0.8, count))
    return _bought(world, rng, time, user, seller, position)


def _sprees(world: World, rng: np.random.Generator, count: int) -> Purchases:
    """Gifts: several shops in an afternoon, dearer than usual."""
    burst = bursts(rng, count, 4.0, 10)
    latest = world.settings.days * DAY_MS - DAY_MS
    begin = world.settings.start_ms + (rng.random(burst.groups) * latest).astype(np.int64)
    user = world.pick_users(rng, begin)[burst.group]
    time = burst_times(burst, begin, np.exp(rng.normal(np.log(25.0 * MINUTE_MS), 1.1, count)))
    time = np.minimum(time, world.settings.end_ms - 1)
    return _bought(world, rng, time, user, world.pick_sellers(rng, time), rng.beta(2.0, 1.2, count))


def _firsts(world: World, rng: np.random.Generator, count: int) -> Purchases:
    """People who register in order to buy one large thing."""
    settings = world.settings
    new = np.flatnonzero(world.users.times_ms[: settings.user_count] >= settings.start_ms)
    user = new[rng.integers(0, len(new), count)] if len(new) else world.pick_users(rng, np.full(count, settings.end_ms))
    registered = np.maximum(world.users.times_ms[user], settings.start_ms)
    time = registered + np.exp(rng.normal(np.log(3.0 * HOUR_MS), 1.5, count)).astype(np.int64)
    time = np.minimum(time, settings.end_ms - 1)
    return _bought(world, rng, time, user, world.pick_sellers(rng, time), rng.beta(3.0, 1.0, count))


def _retries(world: World, rng: np.random.Generator, purchases: Purchases, count: int) -> Purchases:
    """Refused attempts shortly before a purchase that then went through."""
    retried = purchases.take(rng.integers(0, len(purchases.time_ms), count))
    before = (rng.exponential(90.0, count) * 1000.0).astype(np.int64) + 5_000
    earliest = np.maximum(world.users.times_ms[retried.user], world.settings.start_ms) + 1
    time = np.minimum(np.maximum(retried.time_ms - before, earliest), retried.time_ms)
    return retried._replace(time_ms=time, declined=np.ones(count, np.bool_))


def _bought(
    world: World, rng: np.random.Generator, time_ms: Integers, user: Integers, seller: Integers, position: Reals
) -> Purchases:
    """Return honest purchases: quantity as usual for the seller, list price with a rebate or postage."""
    count = len(time_ms)
    item = world.pick_items(seller, position)
    quantity = 1 + rng.poisson(world.shops.bulk[seller] * np.exp(rng.normal(0.0, 0.4, count)))
    factor = np.select(
        [chance(rng, count, 0.12), chance(rng, count, 0.05)],
        [rng.uniform(0.5, 0.95, count), rng.uniform(1.02, 1.3, count)],
        default=1.0,
    )
    amount = np.maximum((world.items.price_minor[item] * quantity * factor).astype(np.int64), 1)
    unlisted = (world.items.roster.times_ms[item] > time_ms) | chance(rng, count, 0.02)
    return Purchases(
        time_ms=time_ms,
        user=user,
        seller=seller,
        item=np.where(unlisted, -1, item),
        card=own_card(world, rng, user, time_ms),
        amount_minor=amount,
        quantity=quantity.astype(np.int64),
        declined=chance(rng, count, 0.02),
        pattern=np.zeros(count, np.int64),
    )


def _days_ms(world: World, rng: np.random.Generator, user: Integers, registered_ms: Integers) -> Integers:
    """Return the midnight of each purchase's day, by the user's week, on or after the day of registration."""
    settings = world.settings
    day_of_week = (settings.start_ms // DAY_MS + np.arange(settings.days) + _THURSDAY) % 7
    loads = np.stack([_WEEKDAY_LOAD[day_of_week], _WEEKEND_LOAD[day_of_week]])
    passed = np.cumsum(loads, axis=1) / loads.sum(axis=1, keepdims=True)
    first_day = (registered_ms - settings.start_ms) // DAY_MS
    draws = rng.random(len(user))
    day = np.empty(len(user), np.int64)
    for weekender in (False, True):
        mine = world.habits.weekender[user] == weekender
        share = passed[int(weekender)]
        floor = np.where(first_day[mine] > 0, share[first_day[mine] - 1], 0.0)
        day[mine] = np.searchsorted(share, floor + draws[mine] * (1.0 - floor), side="right")
    return settings.start_ms + np.minimum(day, settings.days - 1) * DAY_MS


def _hours_ms(world: World, rng: np.random.Generator, user: Integers) -> Integers:
    """Return the time within the day: around the user's hour, now and then at any."""
    count = len(user)
    hour = (world.habits.hour[user] + rng.normal(0.0, 2.2, count)) % 24.0
    hour = np.where(chance(rng, count, 0.08), rng.random(count) * 24.0, hour)
    return np.minimum((hour * HOUR_MS).astype(np.int64), DAY_MS - 1)
