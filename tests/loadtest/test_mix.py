"""The mix sends what a marketplace sends, in the shares that it is set to."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

from loadtest.mix import DAY_MS, RECORD, SCORE_RECORD, Ask, Asks, Mix, history
from service.core.event import Event
from service.pb import fraud_pb2 as pb
from service.settings import IngestSettings
from service.wire import Reader

CALLS = 20_000
NOW_MS = 1_785_000_000_000


def asks(mix: Mix, count: int = CALLS, seed: int = 1) -> list[Ask]:
    """Return the first calls of a mix."""
    stream = Asks(mix, "test", seed)
    return [stream.take() for _ in range(count)]


def purchases(some: list[Ask]) -> list[pb.Purchase]:
    """Return what the scores among some calls ask about."""
    return [pb.ScoreRequest.FromString(one.message).purchase for one in some if one.kind != RECORD]


def near(count: int, share: float, of: int = CALLS) -> bool:
    """Return whether a count is what a share makes likely: within five standard deviations."""
    return abs(count - share * of) <= 5 * math.sqrt(of * share * (1 - share))


def test_same_seed_gives_the_same_calls() -> None:
    """A stream depends on its mix, name and seed alone."""
    assert asks(Mix(), 500) == asks(Mix(), 500)


def test_shares_are_as_set() -> None:
    """Reports, repeats and recorded purchases come in their shares."""
    mix = Mix(record_share=0.2, event_share=0.1, duplicate_share=0.05)
    some = asks(mix)
    kinds = Counter(one.kind for one in some)
    repeats = CALLS - len({one.message for one in some})
    # The very first calls have nothing to report on or to repeat, and one that recorded may be repeated, too.
    assert near(kinds[RECORD], 0.1)
    assert near(kinds[SCORE_RECORD], 0.9 * 0.2)
    assert abs(repeats - 0.05 * CALLS) < 0.02 * CALLS


def test_read_only_mix_records_nothing() -> None:
    """Without recorded purchases there is nothing to report on either."""
    some = asks(Mix(record_share=0.0, event_share=0.5))
    assert {one.kind for one in some} == {"Score"}
    assert not any(pb.ScoreRequest.FromString(one.message).record for one in some)


def test_few_users_get_most_calls() -> None:
    """By Zipf's law the most active user has about twice the calls of the second."""
    quiet = Mix(users=1000, new_user_share=0.0, burst_share=0.0, duplicate_share=0.0)
    users = Counter(one.user_id for one in purchases(asks(quiet)))
    assert 1.6 < users["load-u-0"] / users["load-u-1"] < 2.5
    assert users["load-u-0"] > users["load-u-900"] * 100


def test_bursts_are_of_one_card() -> None:
    """A burst tries one card at several sellers within a few calls."""
    bursting = Mix(users=100_000, zipf=0.0, burst_share=0.02, duplicate_share=0.0)
    cards = [one.card_hash for one in purchases(asks(bursting))]
    close = sum(one == other for one, other in pairwise(cards))
    assert close > 20 * len(cards) / 100_000


def test_new_users_are_new() -> None:
    """Somebody who was never seen before has a card that was not, either."""
    some = purchases(asks(Mix(new_user_share=0.3, burst_share=0.0, duplicate_share=0.0)))
    new = [one for one in some if "-test-" in one.user_id]
    assert len({one.user_id for one in new}) == len(new)
    assert len({one.card_hash for one in new}) == len(new)
    assert near(len(new), 0.3, len(some))


def test_service_takes_every_purchase() -> None:
    """No purchase of the mix is refused for its content."""
    reader = Reader(IngestSettings())
    for one in purchases(asks(Mix(), 2000)):
        assert isinstance(reader.purchase(one, NOW_MS), Event)


def test_service_takes_the_whole_history() -> None:
    """Nor is anything that was before."""
    reader = Reader(IngestSettings())
    for request in history(Mix(users=20), NOW_MS, 50):
        for event in request.events:
            assert isinstance(reader.event(event, NOW_MS), Event)


def test_nobody_takes_them_for_customers() -> None:
    """All ids tell that they are of a load test."""
    for one in purchases(asks(Mix(), 2000)):
        assert one.purchase_id.startswith("load-")
        assert one.user_id.startswith("load-")
        assert one.card_hash.startswith("load-")


def past(mix: Mix, kind: str, now_ms: int = NOW_MS) -> list[pb.Event]:
    """Return the events of one kind before a test."""
    events = [event for request in history(mix, now_ms, 7) for event in request.events]
    return [event for event in events if event.WhichOneof("kind") == kind]


def test_history_is_of_the_population() -> None:
    """Every user has as many purchases as the mix says, in time order, all of them before now."""
    made = [event.purchase for event in past(Mix(users=30, history=4), "purchase")]
    times_ms = [one.event_time_ms for one in made]
    assert Counter(one.user_id for one in made) == {f"load-u-{n}": 4 for n in range(30)}
    assert times_ms == sorted(times_ms)
    assert max(times_ms) < NOW_MS


def test_everybody_registered_before_they_bought() -> None:
    """A market in which nobody ever registered is one that no model knows."""
    mix = Mix(users=30, sellers=5, items=12)
    users, sellers = past(mix, "user_registered"), past(mix, "seller_registered")
    assert {event.user_registered.user_id for event in users} == {f"load-u-{n}" for n in range(30)}
    assert {event.seller_registered.seller_id for event in sellers} == {f"load-s-{n}" for n in range(5)}
    first_ms = min(event.purchase.event_time_ms for event in past(mix, "purchase"))
    assert max(event.event_time_ms for event in (*users, *sellers)) < first_ms


def test_items_are_sold_at_the_price_that_they_were_listed_at() -> None:
    """By their own sellers, before and in the test."""
    mix = Mix(users=30, sellers=5, items=12)
    listed = {event.item_listed.item_id: event.item_listed for event in past(mix, "item_listed")}
    sold = [event.purchase for event in past(mix, "purchase")] + purchases(asks(mix, 500))
    assert len(listed) == 12
    for one in sold:
        item = listed.get(one.item_id)
        assert one.item_id == "" or item is not None
        if item is not None:
            assert (item.seller_id, item.price_minor * one.quantity) == (one.seller_id, one.amount_minor)


def test_population_is_the_same_on_another_day() -> None:
    """Who registered once is not registered again, with another day."""
    mix = Mix(users=3, sellers=2, items=2)
    for kind in ("user_registered", "seller_registered", "item_listed"):
        assert past(mix, kind) == past(mix, kind, NOW_MS + 3 * DAY_MS)


def test_no_history_is_none() -> None:
    """A test that is to write nothing registers nobody either."""
    assert list(history(Mix(history=0), NOW_MS, 10)) == []


def test_history_is_recorded_once_a_day() -> None:
    """On one day the history is the same, so that a second test finds it there."""
    assert list(history(Mix(users=3), NOW_MS, 10)) == list(history(Mix(users=3), NOW_MS + 1000, 10))
