"""The order in which events take effect: repeats left out, follow-ups brought to the purchase that they name.

A follow-up acts on the entities of its purchase. When it comes before its purchase it is parked; what was
parked acts right after the purchase, by event time, and never when the purchase never comes. A clearance
takes back the confirmation that acted before it, at the time of that confirmation; without one it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.event import FOLLOW_UPS, KINDS, EventKind
from service.core.profile import Habits
from training.data.hashes import Hashes, HashPile, hashes
from training.replay.kernel import ACTIONS, Integers, action_of, effects_of_actions

Flags = npt.NDArray[np.bool_]

Codes = npt.NDArray[np.signedinteger]

EventSource = Callable[[Sequence[str]], Iterable[pl.DataFrame]]
"""Gives the named columns of recorded events, in recorded order and in pieces; may be called twice."""

ABSENT: Final = np.int32(-1)
"""The code of no entity."""

_NEVER: Final = np.iinfo(np.int64).max
_FOLLOW_UPS: Final = np.array([kind in FOLLOW_UPS for kind in range(max(EventKind) + 1)])


class Index(NamedTuple):
    """What must be known of a stream before it is replayed: counts, and the hashes of ids, in order.

    `events` and `purchases` are the numbers of both, repeats included; `named` holds the purchases that
    follow-ups name, `repeated` the event ids that come more than once.
    """

    events: int
    purchases: int
    named: Hashes
    repeated: Hashes


def index(source: EventSource, habits: Habits) -> Index:
    """Look through a stream once. Cost: 8 bytes for each event in temporary files while it runs."""
    acts = _acts(habits)
    events = purchases = 0
    named = [np.zeros(0, np.uint64)]
    with HashPile() as ids:
        for frame in source(("event_id", "kind", "purchase_id", "settlement")):
            kind = frame["kind"].to_numpy()
            events += frame.height
            purchases += int(np.count_nonzero(kind == EventKind.PURCHASE))
            follows = _FOLLOW_UPS[kind] & acts[action_of(kind, frame["settlement"].to_numpy())]
            named.append(np.unique(hashes(frame["purchase_id"].filter(pl.Series(follows)))))
            ids.add(hashes(frame["event_id"]))
        repeated = ids.repeated()
    return Index(events, purchases, np.unique(np.concatenate(named)), repeated)


@dataclass(frozen=True, slots=True)
class Operations:
    """What happens to profiles, in order, as columns.

    `action` as in `training.replay.kernel`. `time_ms` is when it is counted, `entities` holds the codes of the
    four entities that it touches, in the order of `KINDS`, with the orderer's `absent` for none. `row` numbers
    the purchases that get a row within this piece (-1 = no row); `positions` are their places in the stream.
    """

    action: npt.NDArray[np.uint8]
    time_ms: Integers
    ingest_time_ms: Integers
    amount: Integers
    quantity: Integers
    entities: Codes
    row: Codes
    positions: Integers


class Orderer:
    """Turns a stream of events, piece by piece, into operations; keeps what was parked."""

    COLUMNS: Final = (
        "event_id",
        "kind",
        "event_time_ms",
        "ingest_time_ms",
        "purchase_id",
        "amount_minor",
        "quantity",
        "settlement",
    )

    def __init__(self, known: Index, habits: Habits, absent: np.signedinteger = ABSENT) -> None:
        """Begin at the start of the stream that `known` is the index of; `absent` stands for no entity."""
        self._acts = _acts(habits)
        self._seen = 0
        self._repeated = known.repeated
        self._met = np.zeros(known.repeated.size, np.bool_)
        size = known.named.size
        self._named = known.named
        self._came_at = np.full(size, _NEVER)
        self._amount = np.zeros((size, 2), np.int64)
        self._entities = np.full((size, len(KINDS)), absent)
        self._confirmed_ms = np.zeros(size, np.int64)
        self._parked = _FollowUps.none()

    def operations(self, frame: pl.DataFrame, entities: Codes) -> Operations:
        """Return what the next piece of the stream does; `entities` are the codes that its rows name."""
        kind = frame["kind"].to_numpy()
        action = action_of(kind, frame["settlement"].to_numpy())
        acts = self._acts[action] & self._first_time(frame["event_id"])
        position = self._seen + np.arange(frame.height)
        self._seen += frame.height
        time_ms = frame["event_time_ms"].to_numpy()
        ingest_time_ms = frame["ingest_time_ms"].to_numpy()
        amount = np.column_stack([frame["amount_minor"].to_numpy(), frame["quantity"].to_numpy().astype(np.int64)])
        purchase = hashes(frame["purchase_id"])

        bought = acts & (kind == EventKind.PURCHASE)
        self._remember(purchase[bought], position[bought], amount[bought], entities[bought])
        follows = acts & _FOLLOW_UPS[kind]
        come = _FollowUps(
            np.searchsorted(self._named, purchase[follows]),
            position[follows],
            action[follows],
            kind[follows],
            time_ms[follows],
            ingest_time_ms[follows],
        )
        late = self._due(come)
        direct = acts & ~follows
        when = np.concatenate([2 * position[direct], late.when(self._came_at)])
        order = np.argsort(when, kind="stable")
        both = np.concatenate([amount[direct], self._amount[late.purchase]])[order]
        row = np.cumsum(bought, dtype=np.int32) - 1
        row[~bought] = -1
        return Operations(
            np.concatenate([action[direct], late.action])[order],
            np.concatenate([time_ms[direct], late.time_ms])[order],
            np.concatenate([ingest_time_ms[direct], late.ingest_time_ms])[order],
            both[:, 0],
            both[:, 1],
            np.concatenate([entities[direct], self._entities[late.purchase]])[order],
            np.concatenate([row[direct], np.full(late.position.size, -1, np.int32)])[order],
            position[bought],
        )

    def _first_time(self, event_ids: pl.Series) -> Flags:
        """Tell which events did not come before, and remember them."""
        first = np.ones(len(event_ids), np.bool_)
        if self._repeated.size:
            hashed = hashes(event_ids)
            at = np.searchsorted(self._repeated, hashed).clip(max=self._repeated.size - 1)
            places = np.flatnonzero(self._repeated[at] == hashed)
            ids, earliest = np.unique(at[places], return_index=True)
            first[places] = False
            first[places[earliest[~self._met[ids]]]] = True
            self._met[ids] = True
        return first

    def _remember(self, purchase: Hashes, position: Integers, amount: Integers, entities: Codes) -> None:
        """Keep what follow-ups will need of purchases that are named by any."""
        if not self._named.size:
            return
        at = np.searchsorted(self._named, purchase).clip(max=self._named.size - 1)
        hit = self._named[at] == purchase
        self._came_at[at[hit]] = position[hit]
        self._amount[at[hit]] = amount[hit]
        self._entities[at[hit]] = entities[hit]

    def _due(self, come: _FollowUps) -> _FollowUps:
        """Return the follow-ups whose purchase is known by now, in the order in which they act; park the rest."""
        waiting = self._parked.then(come)
        known = self._came_at[waiting.purchase] != _NEVER
        self._parked = waiting.take(np.flatnonzero(~known))
        due = waiting.take(np.flatnonzero(known))
        # What waited for one purchase acts by event time, then by event id, of which the kind decides.
        return self._cleared(due.take(np.lexsort((~due.kind, due.time_ms, due.when(self._came_at)))))

    def _cleared(self, due: _FollowUps) -> _FollowUps:
        """Return the follow-ups with each clearance at the time of its confirmation, or left out without one."""
        time_ms = due.time_ms.copy()
        acts = np.ones(time_ms.size, np.bool_)
        for i in np.flatnonzero((due.kind == EventKind.FRAUD_CONFIRMED) | (due.kind == EventKind.FRAUD_CLEARED)):
            purchase = due.purchase[i]
            if due.kind[i] == EventKind.FRAUD_CONFIRMED:
                self._confirmed_ms[purchase] = time_ms[i]
            else:
                time_ms[i] = self._confirmed_ms[purchase]
                acts[i] = time_ms[i] != 0
        return due._replace(time_ms=time_ms).take(np.flatnonzero(acts))


class _FollowUps(NamedTuple):
    """Follow-ups as columns; `purchase` is the place of the purchase among the named ones."""

    purchase: npt.NDArray[np.intp]
    position: Integers
    action: npt.NDArray[np.uint8]
    kind: npt.NDArray[np.uint8]
    time_ms: Integers
    ingest_time_ms: Integers

    @classmethod
    def none(cls) -> _FollowUps:
        """Return no follow-ups."""
        long, short = np.zeros(0, np.int64), np.zeros(0, np.uint8)
        return cls(np.zeros(0, np.intp), long, short, short, long, long)

    def then(self, later: _FollowUps) -> _FollowUps:
        """Return these and those that came later."""
        return _FollowUps._make(np.concatenate(list(pair)) for pair in zip(self, later, strict=True))

    def take(self, places: npt.NDArray[np.intp]) -> _FollowUps:
        """Return the ones at these places."""
        return _FollowUps._make(column[places] for column in self)

    def when(self, came_at: Integers) -> Integers:
        """Return when each acts: twice its own position, or one more than twice the later one of its purchase."""
        at = came_at[self.purchase]
        return np.where(self.position > at, 2 * self.position, 2 * at + 1)


def _acts(habits: Habits) -> Flags:
    acts = np.zeros(ACTIONS, np.bool_)
    acts[list(effects_of_actions(habits))] = True
    return acts
