"""What follows a purchase: when it becomes known, how it is settled, when its truth arrives."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from service.core.event import EventKind, Settlement
from service.core.windows import DAY_MS, HOUR_MS, MINUTE_MS
from training.simulate.purchases import Purchases
from training.simulate.settings import MarketSettings
from training.simulate.world import Flags, Integers

CANCELLED_SHARE: Final = 0.02
REFUNDED_SHARE: Final = 0.025
MAX_LATE_DAYS: Final = 3


class Stream(NamedTuple):
    """Events as columns of equal length; `subject` is the index of the user, seller, item, card or purchase."""

    kind: Integers
    event_time_ms: Integers
    ingest_time_ms: Integers
    subject: Integers
    settlement: Integers


class Truth(NamedTuple):
    """What every purchase is (1 fraud, 0 honest), and when that is known."""

    label: Integers
    label_time_ms: Integers


def stream_of(
    kind: EventKind, time_ms: Integers, subject: Integers, settlement: Settlement = Settlement.NONE
) -> Stream:
    """Return events of one kind that are known as soon as they happen."""
    count = len(time_ms)
    return Stream(np.full(count, kind), time_ms, time_ms, subject, np.full(count, settlement))


def ingest_times(settings: MarketSettings, rng: np.random.Generator, purchases: Purchases) -> Integers:
    """Return when each purchase is known: at once, or minutes to days later for the late ones."""
    count = len(purchases.time_ms)
    delay = np.exp(rng.normal(np.log(25.0 * MINUTE_MS), 1.6, count))
    delay = np.minimum(delay, MAX_LATE_DAYS * DAY_MS).astype(np.int64)
    late = rng.random(count) < settings.late_rate
    return np.minimum(purchases.time_ms + np.where(late, delay, 0), settings.end_ms - 1)


def settlements(settings: MarketSettings, rng: np.random.Generator, purchases: Purchases) -> list[Stream]:
    """Return how purchases end: refused in seconds, given up in hours, delivered in days, paid back later."""
    time = purchases.time_ms
    count = len(time)
    rows = np.arange(count)
    cancelled = ~purchases.declined & (rng.random(count) < CANCELLED_SHARE)
    completed = ~purchases.declined & ~cancelled
    refunded = completed & (rng.random(count) < REFUNDED_SHARE)
    refused_ms = time + rng.integers(300, 3_000, count)
    cancelled_ms = time + _delay(rng, count, 5.0 * HOUR_MS, 1.0, 5)
    completed_ms = time + _delay(rng, count, 26.0 * HOUR_MS, 0.7, 14)
    refunded_ms = completed_ms + _delay(rng, count, 4.0 * DAY_MS, 0.6, 30)

    def settled(chosen: Flags, time_ms: Integers, settlement: Settlement) -> Stream:
        return stream_of(EventKind.PURCHASE_SETTLED, time_ms[chosen], rows[chosen], settlement)

    found = [
        settled(purchases.declined, refused_ms, Settlement.DECLINED),
        settled(cancelled, cancelled_ms, Settlement.CANCELLED),
        settled(refunded, refunded_ms, Settlement.REFUNDED),
    ]
    if settings.settle_completed:
        found.append(settled(completed, completed_ms, Settlement.COMPLETED))
    return found


def verdicts(settings: MarketSettings, rng: np.random.Generator, purchases: Purchases) -> tuple[Truth, Stream, Stream]:
    """Return the truth, the confirmations of fraud (some mistaken) and the clearances that take mistakes back."""
    time = purchases.time_ms
    count = len(time)
    fraud = purchases.pattern > 0
    delay = _delay(rng, count, settings.label_delay_days * DAY_MS, 0.7, settings.max_label_delay_days)
    honest = np.flatnonzero(~fraud & ~purchases.declined)
    mistakes = round(settings.mistake_rate * settings.fraud_count)
    mistaken = rng.choice(honest, min(mistakes, len(honest)), replace=False)
    confirmed_ms = time + delay
    cleared_ms = confirmed_ms[mistaken] + _delay(rng, len(mistaken), 4.0 * DAY_MS, 0.7, 20)
    known_ms = np.where(fraud, confirmed_ms, time + settings.max_label_delay_days * DAY_MS)
    known_ms[mistaken] = cleared_ms
    confirmed = np.concatenate([np.flatnonzero(fraud), mistaken])
    return (
        Truth(fraud.astype(np.int64), known_ms),
        stream_of(EventKind.FRAUD_CONFIRMED, confirmed_ms[confirmed], confirmed),
        stream_of(EventKind.FRAUD_CLEARED, cleared_ms, mistaken),
    )


def known_after(stream: Stream, purchase_ingest_ms: Integers) -> Stream:
    """Return follow-ups that become known after the purchase that they name, as the event file has it."""
    earliest = purchase_ingest_ms[stream.subject] + 1
    return stream._replace(ingest_time_ms=np.maximum(stream.event_time_ms, earliest))


def in_order(streams: list[Stream], end_ms: int) -> Stream:
    """Return all events that are known before the end, in recorded order."""
    whole = Stream(*(np.concatenate(columns) for columns in zip(*streams, strict=True)))
    # The numbers of the kinds happen to be the order that makes sense within a millisecond.
    order = np.lexsort((whole.kind, whole.ingest_time_ms))
    order = order[whole.ingest_time_ms[order] < end_ms]
    return Stream(*(column[order] for column in whole))


def _delay(rng: np.random.Generator, count: int, median_ms: float, sigma: float, cap_days: int) -> Integers:
    delay = np.exp(rng.normal(np.log(median_ms), sigma, count))
    return np.minimum(delay, cap_days * DAY_MS).astype(np.int64) + 1
