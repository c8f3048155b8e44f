"""The mix: what a marketplace's checkouts ask and report, in which order and shares.

Few entities get most of the calls (Zipf), some are new, some come in bursts of one card, some come twice. All ids
begin with "load-", so that nobody takes them for customers. No I/O and no clock: the same seed gives the same calls.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from typing import Final, NamedTuple

from service.pb import fraud_pb2 as pb

SCORE: Final = "Score"
SCORE_RECORD: Final = "Score+record"
RECORD: Final = "Record"
EMPTY: Final = "empty handler"

_REMEMBERED: Final = 1_000
"""Latest purchases that may come again or be reported on."""

_SETTLED_LATER: Final = 4
"""Events in one Record, at most."""

DAY_MS: Final = 86_400_000

QUANTITIES: Final = (1, 1, 1, 1, 2, 3)
"""How many of an item are bought at once, each as often as it stands here."""

_OPENED_MS: Final = 1_704_067_200_000
"""2024-01-01, the first day on which the population registered."""

_OPENED_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Mix:
    """Who asks and what: sizes of the population, and shares of all calls."""

    users: int = 10_000
    sellers: int = 250
    items: int = 2_500
    zipf: float = 0.8
    """Exponent of Zipf's law: the n-th most active user makes 1/n^zipf of the first one's calls. With 1.0 the first of
    ten thousand would make a tenth of all, and no model takes a hundred purchases a second for honest."""
    record_share: float = 0.15
    """Scores that also record the purchase."""
    event_share: float = 0.05
    """Calls of Record: settlements and confirmations of purchases that were recorded."""
    new_user_share: float = 0.03
    """Purchases by somebody who was never seen before, with a card that was not."""
    duplicate_share: float = 0.02
    """Calls that repeat an earlier one word for word, as an impatient checkout does."""
    burst_share: float = 0.005
    """Purchases that begin a burst: one card tried at several sellers within a few calls."""
    burst_most: int = 12
    history: int = 8
    """Purchases of each user that are recorded before the test, over three weeks; 0 = nothing is recorded."""


class Ask(NamedTuple):
    """One call: which kind of the mix, and the message as it is sent."""

    kind: str
    message: bytes


class Asks:
    """An endless stream of calls. Cost: some 10 µs each."""

    def __init__(self, mix: Mix, name: str, seed: int) -> None:
        """Begin; `name` must be new for each stream that is sent to one service, as purchase ids begin with it."""
        self._mix = mix
        self._name = name
        self._random = random.Random(seed)  # noqa: S311  nothing secret
        self._users = _zipf(mix.users, mix.zipf)
        self._sellers = _zipf(mix.sellers, mix.zipf)
        self._made = 0
        self._latest: deque[Ask] = deque(maxlen=_REMEMBERED)
        self._recorded: deque[str] = deque(maxlen=_REMEMBERED)
        self._burst: list[pb.Purchase] = []

    def take(self) -> Ask:
        """Return the next call."""
        drawn = self._random.random()
        if drawn < self._mix.duplicate_share and self._latest:
            return self._random.choice(self._latest)
        if drawn < self._mix.duplicate_share + self._mix.event_share and self._recorded:
            return self._report()
        purchase = self._burst.pop() if self._burst and self._random.random() < 0.5 else self._purchase()  # noqa: PLR2004  a burst comes among other calls
        record = self._random.random() < self._mix.record_share
        request = pb.ScoreRequest(purchase=purchase, record=record)
        ask = Ask(SCORE_RECORD if record else SCORE, request.SerializeToString())
        self._latest.append(ask)
        if record:
            self._recorded.append(purchase.purchase_id)
        return ask

    def _report(self) -> Ask:
        """Return a call that tells what became of purchases: nearly all are paid, a few were fraud."""
        events = []
        for _ in range(self._random.randint(1, _SETTLED_LATER)):
            purchase_id = self._random.choice(self._recorded)
            if self._random.random() < 0.02:  # noqa: PLR2004
                events.append(pb.Event(fraud_confirmed=pb.FraudConfirmed(purchase_id=purchase_id)))
            else:
                settled = pb.PurchaseSettled(purchase_id=purchase_id, settlement=pb.COMPLETED)
                events.append(pb.Event(purchase_settled=settled))
        return Ask(RECORD, pb.RecordRequest(events=events).SerializeToString())

    def _purchase(self) -> pb.Purchase:
        user = self._draw(self._users)
        card = user if self._random.random() < 0.9 else self.last_card(user)  # noqa: PLR2004
        who = f"load-u-{user}"
        if self._random.random() < self._mix.new_user_share:
            who, card = f"load-{self._name}-u-{self._made}", -self._made - 1
        purchase = self._bought(who, card)
        if self._random.random() < self._mix.burst_share:
            count = self._random.randint(3, self._mix.burst_most)
            self._burst = [self._bought(who, card) for _ in range(count - 1)]
        return purchase

    def _bought(self, user_id: str, card: int) -> pb.Purchase:
        """Return a purchase of somebody at some seller."""
        self._made += 1
        seller = self._draw(self._sellers)
        purchase = _sale(self._mix, self._random, seller)
        purchase.purchase_id = f"load-{self._name}-p-{self._made}"
        purchase.user_id = user_id
        purchase.card_hash = f"load-{self._name}-c{card}" if card < 0 else f"load-c-{card}"
        if self._random.random() >= 0.97:  # noqa: PLR2004
            purchase.item_id = ""
        return purchase

    def last_card(self, user: int) -> int:
        """Return the second card of a user, which is nobody else's."""
        return self._mix.users + user

    def _draw(self, cumulative: list[float]) -> int:
        return self._random.choices(range(len(cumulative)), cum_weights=cumulative)[0]


def history(mix: Mix, now_ms: int, batch: int) -> Iterator[pb.RecordRequest]:
    """Yield how the population came to be and what it did in the three weeks before `now_ms`, in batches.

    People register and items are listed on the same days for ever. Purchases are the same at every call but for
    their times and ids, which begin with the day: on one day they are recorded once. Nothing with `mix.history` 0.
    """
    if not mix.history:
        return
    events = chain(_beginnings(mix), _purchases(mix, now_ms // DAY_MS))
    while some := list(islice(events, batch)):
        yield pb.RecordRequest(events=some)


def _beginnings(mix: Mix) -> Iterator[pb.Event]:
    """Yield when everybody registered, and the listing of each item with its price."""
    rng = random.Random(2)  # noqa: S311  nothing secret

    def some_day_ms() -> int:
        return _OPENED_MS + rng.randrange(_OPENED_DAYS * DAY_MS)

    for user in range(mix.users):
        yield pb.Event(event_time_ms=some_day_ms(), user_registered=pb.UserRegistered(user_id=f"load-u-{user}"))
    for seller in range(mix.sellers):
        at_ms = some_day_ms()
        seller_id = f"load-s-{seller}"
        yield pb.Event(event_time_ms=at_ms, seller_registered=pb.SellerRegistered(seller_id=seller_id))
        for item in _items_of(mix, seller):
            listed = pb.ItemListed(item_id=f"load-i-{item}", seller_id=seller_id, price_minor=price_minor(item))
            yield pb.Event(event_time_ms=at_ms, item_listed=listed)


def _purchases(mix: Mix, day: int) -> Iterator[pb.Event]:
    """Yield the purchases of the three weeks before a day, oldest first."""
    rng = random.Random(1)  # noqa: S311  nothing secret
    count = mix.users * mix.history
    began_ms, step_ms = (day - 21) * DAY_MS, 21 * DAY_MS / count
    for number in range(count):
        user = number % mix.users
        purchase = _sale(mix, rng, rng.randrange(mix.sellers))
        purchase.purchase_id = f"load-h-{day}-{number}"
        purchase.user_id = f"load-u-{user}"
        purchase.card_hash = f"load-c-{user}"
        purchase.event_time_ms = int(began_ms + number * step_ms)
        yield pb.Event(purchase=purchase)


def _sale(mix: Mix, rng: random.Random, seller: int) -> pb.Purchase:
    """Return what a seller sells at once, at the listed price; who buys it, and when, is left open."""
    item, quantity = rng.choice(_items_of(mix, seller)), rng.choice(QUANTITIES)
    return pb.Purchase(
        seller_id=f"load-s-{seller}",
        item_id=f"load-i-{item}",
        amount_minor=price_minor(item) * quantity,
        quantity=quantity,
    )


def _items_of(mix: Mix, seller: int) -> range:
    """Return the items that a seller has: at least one, and all together as many as the mix says."""
    return range(seller, max(mix.items, mix.sellers), mix.sellers)


def price_minor(item: int) -> int:
    """Return what an item costs: from 2 to 400, each item always the same."""
    return 199 + (item * 7919) % 39_800


def _zipf(count: int, exponent: float) -> list[float]:
    """Return the cumulative weights of `count` entities by Zipf's law."""
    return list(accumulate((rank + 1) ** -exponent for rank in range(count)))
