"""Who lives in the simulated market: users with habits and cards, sellers with price levels, items.

Everything is a struct of arrays; an entity is an index into them. Fraud adds entities of its own later
(accounts of thieves, sellers who vanish, stolen cards), so every kind can grow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from service.core.windows import DAY_MS
from training.simulate.settings import MarketSettings

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NEVER_MS: Final = np.iinfo(np.int64).max
FAVOURITES: Final = 6
ESTABLISHED_SHARE: Final = 0.7
"""Share of users and sellers that were there before the first day."""

OLDEST_DAYS: Final = 3 * 365
_HOUSEHOLD_SHARE: Final = 0.06
_SECOND_CARD_SHARE: Final = 0.25
_RENEWED_SHARE: Final = 0.15


@dataclass
class Roster:
    """When each entity of one kind came to be, in milliseconds; grows."""

    times_ms: Integers = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, times_ms: Integers) -> Integers:
        """Add entities and return their indices."""
        first = len(self.times_ms)
        self.times_ms = np.concatenate([self.times_ms, times_ms.astype(np.int64)])
        return np.arange(first, len(self.times_ms))


@dataclass
class Items:
    """What is for sale: listing time, seller and price of each; those of one honest seller adjoin, cheapest first."""

    roster: Roster
    seller: Integers
    price_minor: Integers

    def add(self, times_ms: Integers, seller: Integers, price_minor: Integers) -> Integers:
        """Add items and return their indices."""
        self.seller = np.concatenate([self.seller, seller])
        self.price_minor = np.concatenate([self.price_minor, price_minor])
        return self.roster.add(times_ms)


@dataclass(frozen=True)
class Habits:
    """How each honest user buys.

    `hour` is where the day's purchases gather (UTC), `wealth` a standard normal number that draws towards
    dear items, `weekender` buys on Saturday and Sunday. A trip moves hours and sellers between two times.
    """

    activity: Reals
    wealth: Reals
    hour: Reals
    weekender: Flags
    favourites: Integers
    trip_from_ms: Integers
    trip_to_ms: Integers
    trip_shift_hours: Reals


@dataclass
class Wallets:
    """The cards of each honest user: -1 for no second one; the first is replaced from `replaced_ms` on."""

    first: Integers
    second: Integers
    replacement: Integers
    replaced_ms: Integers
    lost: Flags


@dataclass(frozen=True)
class Shops:
    """How each honest seller sells: popularity as a cumulative share, first item, number of items, bulk."""

    reach: Reals
    first_item: Integers
    item_count: Integers
    bulk: Reals


@dataclass
class World:
    """The market before anybody buys."""

    settings: MarketSettings
    users: Roster
    sellers: Roster
    items: Items
    cards: int
    habits: Habits
    wallets: Wallets
    shops: Shops

    def add_cards(self, count: int) -> Integers:
        """Add cards that no honest user has and return their indices."""
        self.cards += count
        return np.arange(self.cards - count, self.cards)

    def pick_users(self, rng: np.random.Generator, before_ms: Integers) -> Integers:
        """Return an honest user for each time, by activity, who had registered a day before it."""
        cumulative = np.cumsum(self.habits.activity)
        found = pick(rng, cumulative, len(before_ms))
        for _ in range(4):
            young = self.users.times_ms[found] > before_ms - DAY_MS
            found[young] = pick(rng, cumulative, int(young.sum()))
        oldest = int(np.argmin(self.users.times_ms))
        return np.where(self.users.times_ms[found] > before_ms - DAY_MS, oldest, found)

    def pick_sellers(self, rng: np.random.Generator, at_ms: Integers) -> Integers:
        """Return a seller for each time, by popularity, one that was there by then."""
        found = pick(rng, self.shops.reach, len(at_ms))
        for _ in range(4):
            absent = self.sellers.times_ms[found] > at_ms
            found[absent] = pick(rng, self.shops.reach, int(absent.sum()))
        oldest = int(np.argmin(self.sellers.times_ms))
        return np.where(self.sellers.times_ms[found] > at_ms, oldest, found)

    def pick_items(self, seller: Integers, position: Reals) -> Integers:
        """Return the item of each honest seller at a position in its price list: 0 the cheapest, 1 the dearest."""
        count = self.shops.item_count[seller]
        return self.shops.first_item[seller] + np.minimum((position * count).astype(np.int64), count - 1)


def pick(rng: np.random.Generator, cumulative: Reals, count: int) -> Integers:
    """Return `count` indices, drawn by the weights that `cumulative` sums up."""
    found = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    picked: Integers = np.minimum(found, len(cumulative) - 1).astype(np.int64)
    return picked


def chance(rng: np.random.Generator, count: int, share: float) -> Flags:
    """Return `count` flags of which about `share` are set."""
    return rng.random(count) < share


def logistic(x: Reals) -> Reals:
    """Return x squeezed into (0, 1)."""
    squeezed: Reals = 1.0 / (1.0 + np.exp(-1.7 * x))
    return squeezed


def make_world(settings: MarketSettings, rng: np.random.Generator) -> World:
    """Return a market of honest people."""
    users, sellers = Roster(), Roster()
    users.add(_arrivals(settings, rng, settings.user_count, ESTABLISHED_SHARE))
    sellers.add(_arrivals(settings, rng, settings.seller_count, ESTABLISHED_SHARE + 0.15))
    shops, items = _shops(settings, rng, sellers.times_ms)
    habits = _habits(settings, rng, users.times_ms, shops.reach)
    wallets, cards = _wallets(settings, rng)
    return World(settings, users, sellers, items, cards, habits, wallets, shops)


def _arrivals(settings: MarketSettings, rng: np.random.Generator, count: int, established: float) -> Integers:
    age_days = np.minimum(rng.exponential(300.0, count), OLDEST_DAYS)
    before = settings.start_ms - (age_days * DAY_MS).astype(np.int64) - 1
    during = settings.start_ms + (rng.random(count) * settings.days * DAY_MS).astype(np.int64)
    return np.where(rng.random(count) < established, before, during)


def _shops(settings: MarketSettings, rng: np.random.Generator, seller_ms: Integers) -> tuple[Shops, Items]:
    sellers, items = settings.seller_count, settings.item_count
    popularity = 1.0 / (np.arange(sellers) + 5.0) ** 0.9
    spare = rng.multinomial(items - sellers, popularity**0.5 / (popularity**0.5).sum())
    counts = spare.astype(np.int64) + 1
    seller = np.repeat(np.arange(sellers), counts)
    level = 2_500.0 * np.exp(rng.normal(0.0, 0.8, sellers))
    price = np.clip(level[seller] * np.exp(rng.normal(0.0, 0.6, items)), 150.0, 400_000.0)
    price_minor = (price / 10.0).astype(np.int64) * 10 - 1
    cheapest_first = np.lexsort((price_minor, seller))
    listed = seller_ms[seller] + (rng.exponential(0.2, items) * DAY_MS).astype(np.int64) + 1
    bulk = np.where(chance(rng, sellers, 0.15), rng.uniform(2.0, 8.0, sellers), rng.uniform(0.1, 0.5, sellers))
    shops = Shops(np.cumsum(rng.permutation(popularity)), np.cumsum(counts) - counts, counts, bulk)
    return shops, Items(Roster(listed), seller, price_minor[cheapest_first])


def _habits(settings: MarketSettings, rng: np.random.Generator, user_ms: Integers, reach: Reals) -> Habits:
    count = settings.user_count
    here = np.clip((settings.end_ms - user_ms) / (settings.days * DAY_MS), 0.02, 1.0)
    trip_from = settings.start_ms + (rng.random(count) * settings.days * DAY_MS).astype(np.int64)
    trip_days = np.where(chance(rng, count, 0.06), rng.uniform(4.0, 14.0, count), 0.0)
    return Habits(
        activity=np.exp(rng.normal(0.0, 1.0, count)) * here,
        wealth=rng.normal(0.0, 1.0, count),
        hour=rng.normal(16.5, 3.5, count) % 24.0,
        weekender=chance(rng, count, 0.35),
        favourites=pick(rng, reach, count * FAVOURITES).reshape(count, FAVOURITES),
        trip_from_ms=trip_from,
        trip_to_ms=trip_from + (trip_days * DAY_MS).astype(np.int64),
        trip_shift_hours=rng.uniform(5.0, 11.0, count),
    )


def _wallets(settings: MarketSettings, rng: np.random.Generator) -> tuple[Wallets, int]:
    count = settings.user_count
    first = np.arange(count)
    shared = chance(rng, count, _HOUSEHOLD_SHARE)
    first[shared] = rng.integers(0, count, int(shared.sum()))
    has_second = chance(rng, count, _SECOND_CARD_SHARE)
    second = np.full(count, -1)
    second[has_second] = count + np.arange(int(has_second.sum()))
    cards = count + int(has_second.sum())
    renewed = chance(rng, count, _RENEWED_SHARE)
    moment = settings.start_ms + (rng.random(count) * settings.days * DAY_MS).astype(np.int64)
    wallets = Wallets(
        first=first,
        second=second,
        replacement=cards + np.arange(count),
        replaced_ms=np.where(renewed, moment, NEVER_MS),
        lost=renewed & chance(rng, count, 0.4),
    )
    return wallets, cards + count
