"""The naive oracle: profiles and readings worked out the obvious way from a list of events.

It keeps no running state: every number is a loop over the events that touch an entity, written down from
the definitions (the docstrings of `service.core.windows`, the effects of events in words), and shares
no arithmetic with `service.core.profile`. Slow on purpose; what it says is right because it can be read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from service.core.event import FOLLOW_UPS, EntityKey, EntityKind, Event, EventKind, Settlement, confirmation_id
from service.core.fixed import id64, log2_fixed, log2_of_count
from service.core.formula import Reading
from service.core.profile import Habits

MINUTE_MS: Final = 60 * 1000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

SERIES: Final = {"m5": (5 * MINUTE_MS, 12), "h1": (HOUR_MS, 24), "d1": (DAY_MS, 30)}
"""Name -> width of a bucket, how many are kept."""

MEASURES: Final = {
    "m5": ("purchases", "amount"),
    "h1": ("purchases", "amount", "declines"),
    "d1": ("purchases", "amount", "frauds", "fraud_amount"),
}

WINDOWS: Final = {
    "1h": ("m5", 12),
    "24h": ("h1", 24),
    **{f"{days}d": ("d1", days) for days in (1, 3, 7, 14, 21, 28, 30)},
}
"""Name -> series, buckets."""

RECENT: Final = {EntityKind.USER: ("cards", "sellers"), EntityKind.CARD: ("users",)}
RECENT_CAP: Final = 16

_COMMON: Final = (
    *("first_ms", "last_purchase_ms", "purchases", "amount", "completed", "log_amount", "log_amount_sq"),
    *("frauds", "fraud_amount", "last_fraud_ms", "declines"),
)
TOTALS: Final = {
    EntityKind.USER: (*_COMMON, *(f"day_part_{part}" for part in range(8))),
    EntityKind.SELLER: (*_COMMON, "log_quantity", "log_quantity_sq", "listings"),
    EntityKind.ITEM: (*_COMMON, "listings", "listed_log"),
    EntityKind.CARD: (*_COMMON, "reports", "last_report_ms"),
}


class Applied(NamedTuple):
    """An event that took effect, with what it refers to."""

    event: Event
    purchase: Event | None
    """The purchase that a follow-up names."""
    confirmed: Event | None
    """The confirmation that a clearance takes back."""

    @property
    def subject(self) -> Event:
        """The event whose entities and amounts count."""
        return self.purchase or self.event


def applied(events: Iterable[Event]) -> list[Applied]:
    """Return the events that take effect, in order: each id once, follow-ups not before their purchase.

    A follow-up of a purchase that never comes waits for ever. A clearance takes back the confirmation
    that was applied before it; without one it is a label and nothing more.
    """
    done: dict[str, Applied] = {}
    parked: list[Event] = []

    def take(event: Event) -> None:
        purchase = done[event.purchase_id].event if event.kind in FOLLOW_UPS else None
        confirmed = None
        if event.kind is EventKind.FRAUD_CLEARED and confirmation_id(event.purchase_id) in done:
            confirmed = done[confirmation_id(event.purchase_id)].event
        done[event.event_id] = Applied(event, purchase, confirmed)

    for event in events:
        if event.event_id in done or event.event_id in {waiting.event_id for waiting in parked}:
            continue
        if event.kind in FOLLOW_UPS and event.purchase_id not in done:
            parked.append(event)
            continue
        take(event)
        if event.kind is EventKind.PURCHASE:
            for waiting in [one for one in parked if one.purchase_id == event.purchase_id]:
                parked.remove(waiting)
                take(waiting)
    return list(done.values())


class Counted(NamedTuple):
    """An amount that counts at a time, for a series and a measure, unless it came too late for it."""

    time_ms: int
    ingest_time_ms: int
    amount: int


class Oracle:
    """Answers what a profile must say, from all the events that took effect."""

    def __init__(self, history: Sequence[Applied], habits: Habits = "attempts") -> None:
        """Keep the history."""
        self.history = history
        self.habits = habits

    def keys(self) -> set[EntityKey]:
        """Return the entities that any event touched."""
        return {key for one in self.history for key in one.subject.keys() if self._touches(one)}

    def _touches(self, one: Applied) -> bool:
        match one.event.kind:
            case EventKind.PURCHASE_SETTLED:
                completed = one.event.settlement is Settlement.COMPLETED and self.habits == "settlements"
                return completed or one.event.settlement is Settlement.DECLINED
            case EventKind.FRAUD_CLEARED:
                return one.confirmed is not None
        return True

    def of(self, key: EntityKey) -> list[Applied]:
        """Return what changed the profile of an entity; its revision is how many they are."""
        return [one for one in self.history if key in one.subject.keys() and self._touches(one)]

    def _events(self, key: EntityKey, *kinds: EventKind) -> list[Event]:
        return [one.event for one in self.of(key) if one.event.kind in kinds]

    def _purchases(self, key: EntityKey) -> list[Event]:
        return self._events(key, EventKind.PURCHASE)

    def _completed(self, key: EntityKey) -> list[Event]:
        """Return the purchases that habits are made of."""
        if self.habits == "attempts":
            return self._purchases(key)
        return [one.purchase for one in self.of(key) if one.purchase and one.event.settlement is Settlement.COMPLETED]

    def _declines(self, key: EntityKey) -> list[Event]:
        settled = self._events(key, EventKind.PURCHASE_SETTLED)
        return [event for event in settled if event.settlement is Settlement.DECLINED]

    def total(self, key: EntityKey, name: str) -> int:
        """Return a lifetime total."""
        purchases, completed = self._purchases(key), self._completed(key)
        confirmed = self._events(key, EventKind.FRAUD_CONFIRMED)
        reported = self._events(key, EventKind.CARD_REPORTED)
        listed = self._events(key, EventKind.ITEM_LISTED)
        registered = self._events(key, EventKind.USER_REGISTERED, EventKind.SELLER_REGISTERED)
        match name:
            case "first_ms":
                return min((event.event_time_ms for event in registered + listed + purchases), default=0)
            case "last_purchase_ms":
                return max((event.event_time_ms for event in purchases), default=0)
            case "last_fraud_ms":
                return max((event.event_time_ms for event in confirmed), default=0)
            case "last_report_ms":
                return max((event.event_time_ms for event in reported), default=0)
            case "purchases":
                return len(purchases)
            case "amount":
                return sum(event.amount_minor for event in purchases)
            case "completed":
                return len(completed)
            case "log_amount":
                return sum(log2_fixed(event.amount_minor) for event in completed)
            case "log_amount_sq":
                return sum(log2_fixed(event.amount_minor) ** 2 for event in completed)
            case "log_quantity":
                return sum(log2_of_count(event.quantity) for event in completed)
            case "log_quantity_sq":
                return sum(log2_of_count(event.quantity) ** 2 for event in completed)
            case "frauds":
                return len(confirmed) - len(self._events(key, EventKind.FRAUD_CLEARED))
            case "fraud_amount":
                kept = [one.subject.amount_minor for one in self.of(key) if one.event in confirmed]
                return sum(kept) - sum(one.subject.amount_minor for one in self.of(key) if one.confirmed)
            case "declines":
                return len(self._declines(key))
            case "reports":
                return len(reported)
            case "listings":
                return len(listed)
            case "listed_log":
                return sum(log2_fixed(event.amount_minor) for event in listed)
        part = int(name.removeprefix("day_part_"))
        return sum(event.event_time_ms % DAY_MS // (3 * HOUR_MS) == part for event in purchases)

    def _counted(self, key: EntityKey, measure: str) -> list[Counted]:
        """Return everything that is counted in a measure, late or not."""
        match measure:
            case "purchases":
                return [Counted(event.event_time_ms, event.ingest_time_ms, 1) for event in self._purchases(key)]
            case "amount":
                return [
                    Counted(event.event_time_ms, event.ingest_time_ms, event.amount_minor)
                    for event in self._purchases(key)
                ]
            case "declines":
                return [Counted(event.event_time_ms, event.ingest_time_ms, 1) for event in self._declines(key)]
        confirmed = [one for one in self.of(key) if one.event.kind is EventKind.FRAUD_CONFIRMED]
        taken_back = [(one, one.confirmed) for one in self.of(key) if one.confirmed]

        def worth(one: Applied) -> int:
            return 1 if measure == "frauds" else one.subject.amount_minor

        return [Counted(one.event.event_time_ms, one.event.ingest_time_ms, worth(one)) for one in confirmed] + [
            Counted(before.event_time_ms, one.event.ingest_time_ms, -worth(one)) for one, before in taken_back
        ]

    def _kept(self, key: EntityKey, series: str) -> dict[str, list[Counted]]:
        """Return what a series still keeps, by measure.

        What came too late was never added. Of what was added, the newest `buckets` buckets are kept,
        reckoned from the newest bucket that anything was added to.
        """
        bucket_ms, buckets = SERIES[series]
        added = {
            measure: [
                one
                for one in self._counted(key, measure)
                if one.time_ms // bucket_ms > one.ingest_time_ms // bucket_ms - buckets
            ]
            for measure in MEASURES[series]
        }
        newest = max((one.time_ms // bucket_ms for ones in added.values() for one in ones), default=0)
        return {
            measure: [one for one in ones if one.time_ms // bucket_ms > newest - buckets]
            for measure, ones in added.items()
        }

    def window(self, key: EntityKey, measure: str, window: str, as_of_ms: int) -> int:
        """Return the sum of a measure over the current bucket and those before it, as of a time."""
        series, count = WINDOWS[window]
        bucket_ms, _ = SERIES[series]
        now = as_of_ms // bucket_ms
        kept = self._kept(key, series)[measure]
        return sum(one.amount for one in kept if now - count < one.time_ms // bucket_ms <= now)

    def onset(self, key: EntityKey, measure: str, window: str, as_of_ms: int) -> int:
        """Return how many buckets ago a measure began in a window, 1 for the current one; 0 when there is none."""
        series, count = WINDOWS[window]
        bucket_ms, _ = SERIES[series]
        now = as_of_ms // bucket_ms
        sums: dict[int, int] = {}
        for one in self._kept(key, series)[measure]:
            bucket = one.time_ms // bucket_ms
            if now - count < bucket <= now:
                sums[bucket] = sums.get(bucket, 0) + one.amount
        if sum(sums.values()) <= 0:
            return 0
        return max(now - bucket + 1 for bucket, amount in sums.items() if amount > 0)

    def recent(self, key: EntityKey, name: str) -> dict[int, int]:
        """Return the last ids that the entity met, with the time of the last meeting."""
        met = {"cards": "card_hash", "sellers": "seller_id", "users": "user_id"}[name]
        last: dict[int, int] = {}
        for event in self._purchases(key):
            if other := getattr(event, met):
                last[id64(other)] = max(event.event_time_ms, last.get(id64(other), 0))
        newest = sorted(last, key=lambda other: (last[other], other), reverse=True)[:RECENT_CAP]
        return {other: last[other] for other in sorted(newest)}

    def reading(self, reading: Reading, purchase: Event) -> float:
        """Return what a formula reads when a purchase is scored, NaN for what is not known."""
        key = next((key for key in purchase.keys() if key.kind is reading.kind), None)
        if key is None:
            return math.nan
        match reading.form:
            case "exists":
                return int(bool(self.of(key)))
            case "total":
                return self.total(key, reading.name)
            case "window":
                return self.window(key, reading.name, reading.window, purchase.event_time_ms)
            case "onset":
                return self.onset(key, reading.name, reading.window, purchase.event_time_ms)
            case "day_part":
                return self.total(key, f"day_part_{purchase.event_time_ms % DAY_MS // (3 * HOUR_MS)}")
            case "size":
                return len(self.recent(key, reading.name))
            case "met":
                kind = {"cards": EntityKind.CARD, "sellers": EntityKind.SELLER, "users": EntityKind.USER}[reading.name]
                other = next((key.id for key in purchase.keys() if key.kind is kind), None)
                return math.nan if other is None else int(id64(other) in self.recent(key, reading.name))

    def late(self, one: Applied) -> bool:
        """Tell whether at least one series that the event would count in leaves it out."""
        counted = {
            EventKind.PURCHASE: [("m5", one.event), ("h1", one.event), ("d1", one.event)],
            EventKind.PURCHASE_SETTLED: [("h1", one.event)] if one.event.settlement is Settlement.DECLINED else [],
            EventKind.FRAUD_CONFIRMED: [("d1", one.event)],
            EventKind.FRAUD_CLEARED: [("d1", one.confirmed)] if one.confirmed else [],
        }
        for series, happened in counted.get(one.event.kind, []):
            bucket_ms, buckets = SERIES[series]
            if happened.event_time_ms // bucket_ms <= one.event.ingest_time_ms // bucket_ms - buckets:
                return True
        return False

    def profile(self, key: EntityKey) -> dict[str, object]:
        """Return the whole profile in names, as `service.core.profile.describe` shows it."""
        return {
            "revision": len(self.of(key)),
            "layout": 1,
            "totals": {name: self.total(key, name) for name in TOTALS[key.kind]},
            "series": {name: self._described(key, name) for name in SERIES},
            "recent": {
                name: {f"{other % 2**64:016x}": time_ms for other, time_ms in self.recent(key, name).items()}
                for name in RECENT.get(key.kind, ())
            },
        }

    def _described(self, key: EntityKey, series: str) -> dict[str, object]:
        bucket_ms, _ = SERIES[series]
        buckets: dict[str, dict[str, int]] = {}
        kept = self._kept(key, series)
        for bucket in sorted({one.time_ms // bucket_ms for ones in kept.values() for one in ones}):
            buckets[str(bucket)] = {
                measure: sum(one.amount for one in ones if one.time_ms // bucket_ms == bucket)
                for measure, ones in kept.items()
            }
        return {"bucket_ms": bucket_ms, "buckets": buckets}
