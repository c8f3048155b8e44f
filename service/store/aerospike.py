"""The clustered store: profiles, events and decisions in one Aerospike namespace.

A read is one `batch_read` of explicit bins. Events go in by stages, each one request for many of them, and
every stage is harmless when it is repeated: see `aerospike_apply`. Nothing here needs transactions, strong
consistency or any other feature of the enterprise edition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import aerospike
from aerospike_helpers.batch.records import Write
from aerospike_helpers.operations import operations

from service.core.decision import DecisionRecord
from service.core.event import KINDS, EntityKey, EntityKind, Event
from service.core.profile import EMPTY, LAYOUT, Habits, Image
from service.settings import AerospikeSettings
from service.store.aerospike_apply import Applier
from service.store.aerospike_check import problem_of
from service.store.aerospike_client import NOT_FOUND, OK, Bins, Connect, Connection, Key, Tally
from service.store.aerospike_complete import Completer
from service.store.aerospike_decisions import Decisions
from service.store.aerospike_event import LOGGED_BINS, STATE, Ledger, State, logged
from service.store.aerospike_log import PAGE, Log, cursor_of, position_of
from service.store.aerospike_newest import NewestEvent
from service.store.aerospike_parked import Parked
from service.store.aerospike_profile import LAYOUT_BIN, PROFILE_BINS, READERS, served_image, stored_image
from service.store.aerospike_sets import Sets
from service.store.aerospike_sweep import Sweeper
from service.store.protocol import DecisionPage, EventPage, LoggedEvent, Outcome, Submission, Swept, View

_READ_BINS: Final = [*PROFILE_BINS, *LOGGED_BINS]
_NAMES: Final = "names"


class Stats(NamedTuple):
    """What this process met since it opened the store."""

    retries: int
    """Reads and writes sent again."""
    helped: int
    """Events finished that somebody else had begun."""
    quarantined: int
    """Events given up."""
    parking_refused: int
    """Follow-ups that found every place taken."""
    unreadable: int
    """Views with at least one profile that could not be read."""


class AerospikeStore:
    """Keeps profiles, events and decisions in a cluster; see `Store` for what it promises.

    Made in the process that uses it, after fork or spawn. Opens with the cluster down and heals by itself.
    Raises BadSetting for hosts that are none. `connect` and `clock` are the official client and the time
    of day unless a test has others.
    """

    def __init__(
        self,
        settings: AerospikeSettings,
        habits: Habits,
        max_parked: int,
        *,
        connect: Connect = aerospike.client,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connect, and put the parts together."""
        self._settings = settings
        self._clock = clock
        self._tally = tally = Tally()
        self._connection = connection = Connection(settings, tally, connect)
        self._sets = sets = Sets(settings)
        self._ledger = ledger = Ledger(connection, sets, settings, clock, tally)
        self._log = log = Log(connection, sets, "log", sets.event)
        self._parked = parked = Parked(connection, sets)
        self._newest = NewestEvent(connection, sets)
        completer = Completer(connection, sets, settings, habits, ledger, log, parked, self._newest, tally)
        self._applier = Applier(connection, ledger, completer, log, parked, max_parked, tally)
        self._sweeper = Sweeper(connection, sets, ledger, log, parked, self._applier)
        self._decisions = Decisions(connection, sets, settings)

    # --- what a score needs ---------------------------------------------------------------------

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Return what the scores of these purchases need; see `Store.read`.

        Cost: one `batch_read` of five records for each purchase, one for what several of them share; with
        profiles of typical fill 100 µs of CPU.
        """
        wanted: dict[Key, EntityKind | None] = {}
        keys = [self._keys(purchase) for purchase in purchases]
        for some in keys:
            wanted.update(some)
        timeout_ms = max(1, min(self._settings.read_timeout_ms, int(timeout_s * 1000)))
        records = self._connection.read_once(list(wanted), _READ_BINS, timeout_ms) if wanted else ()
        # A client without a cluster returns no results at all, instead of one for each key.
        if len(records) != len(wanted):
            records = [None] * len(wanted)
        found = {
            key: _recorded(record) if kind is None else _image(kind, record)
            for (key, kind), record in zip(wanted.items(), records, strict=True)
        }
        views = [_view(some, found) for some in keys]
        if any(view.unreadable for view in views):
            self._tally.add("unreadable", sum(bool(view.unreadable) for view in views))
        return views

    def profile(self, key: EntityKey) -> Image:
        """Return one profile, EMPTY when nothing is known. Raises StoreUnavailable."""
        [bins] = self._connection.fetch([self._sets.profile(key)], PROFILE_BINS)
        return EMPTY[key.kind] if bins is None else stored_image(key.kind, bins)

    def _keys(self, purchase: Event) -> list[tuple[Key, EntityKind | None]]:
        """Return the keys of a purchase's profiles, absent ones left out, and that of its own record."""
        namespace = self._sets.namespace
        ids = (purchase.user_id, purchase.seller_id, purchase.item_id, purchase.card_hash)
        keys: list[tuple[Key, EntityKind | None]] = [
            ((namespace, name, entity_id), kind)
            for kind, name, entity_id in zip(KINDS, self._sets.profile_sets, ids, strict=True)
            if entity_id
        ]
        keys.append((self._sets.event(purchase.purchase_id), None))
        return keys

    # --- events ---------------------------------------------------------------------------------

    def apply(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Apply events and return one outcome for each; see `Store.apply`. Raises StoreUnavailable when closed.

        Cost: four requests for up to `MAX_WAVE_EVENTS` events, one more for follow-ups.
        """
        return self._applier.apply(submissions)

    def events(self, cursor: str, limit: int) -> EventPage:
        """Return up to `limit` events after `cursor`; ValueError for a bad one. Raises StoreUnavailable.

        Stops at an event that is on its way, which the sweep finishes: nothing is ever put in behind a cursor.
        """
        position = position_of(cursor)
        found: list[LoggedEvent] = []
        while len(found) < limit:
            ids = self._log.ids(position, min(PAGE, limit - len(found)))
            keys = [self._sets.event(event_id) for event_id in ids]
            for bins in self._connection.fetch(keys, LOGGED_BINS) if keys else ():
                # A record that is not there has come to the end of its life.
                state = None if bins is None else bins[STATE]
                if state == State.PENDING:
                    return EventPage(found, cursor_of(position))
                if bins is not None and state == State.DONE:
                    found.append(logged(bins))
                position += 1
            if not ids:
                break
        return EventPage(found, cursor_of(position))

    def newest_event_ms(self) -> int:
        """Return the newest event time that was applied, 0 for none. Raises StoreUnavailable."""
        return self._newest.read()

    def parked(self) -> int:
        """Return how many events are parked. Raises StoreUnavailable."""
        return self._parked.count()

    # --- decisions ------------------------------------------------------------------------------

    def put_decisions(self, decisions: Sequence[DecisionRecord]) -> None:
        """Keep decisions; durable when it returns. Raises StoreUnavailable; then putting all again is harmless."""
        self._decisions.put(decisions)

    def decisions(self, purchase_id: str) -> list[DecisionRecord]:
        """Return the decisions kept for a purchase, newest first (at most 8). Raises StoreUnavailable."""
        return self._decisions.of(purchase_id)

    def decision_log(self, cursor: str, limit: int) -> DecisionPage:
        """Return up to `limit` decisions after `cursor`; ValueError for a bad one. Raises StoreUnavailable."""
        return self._decisions.page(cursor, limit)

    def put_row_layout(self, row_layout: str, features: Sequence[str]) -> None:
        """Keep the names, in order, of the rows that carry this layout id. Raises StoreUnavailable."""
        names = operations.write(_NAMES, list(features))
        policy = {"ttl": aerospike.TTL_NEVER_EXPIRE}
        self._connection.put([Write(self._sets.meta(f"rows-{row_layout}"), [names], policy=policy)])

    def row_layout(self, row_layout: str) -> tuple[str, ...]:
        """Return the names of a layout, () when it is not known. Raises StoreUnavailable."""
        [bins] = self._connection.fetch([self._sets.meta(f"rows-{row_layout}")], [_NAMES])
        return () if bins is None else tuple(bins.get(_NAMES, ()))

    # --- life -----------------------------------------------------------------------------------

    def sweep(self, older_than_s: float) -> Swept:
        """Finish what writers that died left pending for longer than this. Raises StoreUnavailable."""
        return self._sweeper.sweep(older_than_s)

    def stats(self) -> Stats:
        """Return what this process met."""
        return Stats(*(self._tally.count(name) for name in Stats._fields))

    def check(self) -> str:
        """Return "" when the store can serve, else one sentence that says what to do."""
        return problem_of(self._connection, self._sets, self._settings, self._clock)

    def close(self) -> None:
        """Let go of it; calls after that raise StoreUnavailable, and reads are flagged."""
        self._connection.close()


def _image(kind: EntityKind, record: Any) -> Image | None:  # noqa: ANN401 - the client's own
    """Return the image of a record that was read, None when it was not."""
    if record is None:
        return None
    if record.result == NOT_FOUND:
        return EMPTY[kind]
    if record.result != OK:
        return None
    bins: Bins = record.record[2]
    try:
        return READERS[kind].image(bins) if bins.get(LAYOUT_BIN) == LAYOUT else served_image(kind, bins)
    except Exception:  # noqa: BLE001 - whatever somebody else left in a record, no score fails for it
        return None


def _recorded(record: Any) -> LoggedEvent | None:  # noqa: ANN401 - the client's own
    """Return the purchase's own event when it is done; None also when that could not be read."""
    if record is None or record.result != OK:
        return None
    bins: Bins = record.record[2]
    return logged(bins) if bins.get(STATE) == State.DONE else None


def _view(keys: list[tuple[Key, EntityKind | None]], found: dict[Key, Any]) -> View:
    images: list[Image | None] = [None] * len(KINDS)
    unreadable: tuple[EntityKind, ...] = ()
    recorded = None
    for key, kind in keys:
        if kind is None:
            recorded = found[key]
        else:
            images[kind - 1] = found[key]
            if found[key] is None:
                unreadable += (kind,)
    user, seller, item, card = images
    return View((user, seller, item, card), unreadable, recorded)
