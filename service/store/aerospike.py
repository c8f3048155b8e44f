"""The clustered store: profiles, events and decisions in one Aerospike namespace.

A read is one `batch_read` of explicit bins. Events go in by stages, each one request for many of them, and
every stage is harmless when it is repeated: see `aerospike_apply`. Nothing here needs transactions, strong
consistency or any other feature of the enterprise edition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import aerospike
from aerospike_helpers.batch.records import Write
from aerospike_helpers.operations import operations

from service.core.decision import DecisionRecord
from service.core.event import EntityKey, Event
from service.core.profile import EMPTY, Habits, Image
from service.settings import AerospikeSettings
from service.store.aerospike_apply import Applier
from service.store.aerospike_check import problem_of
from service.store.aerospike_client import Bins, Connect
from service.store.aerospike_decisions import Decisions
from service.store.aerospike_erasing import Eraser
from service.store.aerospike_event import LOGGED_BINS, STATE, State, logged
from service.store.aerospike_figures import figures_of
from service.store.aerospike_listings import AerospikeListings
from service.store.aerospike_log import PAGE, cursor_of, position_of
from service.store.aerospike_papers import AerospikePapers
from service.store.aerospike_parts import make_parts
from service.store.aerospike_profile import PROFILE_BINS, stored_image
from service.store.aerospike_read import ViewReader
from service.store.aerospike_rebuild import Rebuilder
from service.store.aerospike_sweep import Sweeper
from service.store.protocol import (
    DecisionPage,
    Entry,
    EventPage,
    Figure,
    LoggedEvent,
    Outcome,
    Replacement,
    Rewrite,
    Submission,
    Swept,
    View,
)

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
        parts = make_parts(settings, connect, clock)
        self._parts = parts
        self._views = ViewReader(parts)
        self._applier = Applier(parts, habits, max_parked)
        self._sweeper = Sweeper(parts, self._applier)
        self._rebuilder = Rebuilder(parts)
        self._decisions = Decisions(parts)
        self._eraser = Eraser(parts)
        self.listings = AerospikeListings(parts)
        self.papers = AerospikePapers(parts)

    # --- what a score needs ---------------------------------------------------------------------

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Return what the scores of these purchases need; see `Store.read`.

        Cost: one `batch_read` of five records for each purchase, one for what several of them share; with
        four profiles of typical fill 120 µs of CPU, of which the client takes 75.
        """
        return self._views.read(purchases, timeout_s)

    def profile(self, key: EntityKey) -> Image:
        """Return one profile in the layout that it began with, EMPTY when nothing is known. Raises StoreUnavailable."""
        [bins] = self._parts.connection.fetch([self._parts.sets.profile(key)], PROFILE_BINS)
        return EMPTY[key.kind] if bins is None else stored_image(key.kind, bins)

    def profiles(self, keys: Sequence[EntityKey]) -> list[Image | None]:
        """Return profiles, None for one that is not readable; see `Store.profiles`. Raises StoreUnavailable."""
        if not keys:
            return []
        found = self._parts.connection.fetch([self._parts.sets.profile(key) for key in keys], PROFILE_BINS)
        return [_readable(key, bins) for key, bins in zip(keys, found, strict=True)]

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
        page = EventPage([], "", places := [], given_up := [])
        while len(page.events) < limit:
            position, ids = self._parts.log.read(position, min(PAGE, limit - len(page.events)))
            keys = [self._parts.sets.event(event_id) for event_id in ids]
            for bins in self._parts.connection.fetch(keys, LOGGED_BINS) if keys else ():
                # A record that is not there has come to the end of its life.
                state = None if bins is None else bins[STATE]
                if state == State.PENDING:
                    return page._replace(cursor=cursor_of(position))
                position += 1
                if bins is not None and state == State.DONE:
                    page.events.append(logged(bins))
                    places.append(position)
                elif bins is not None and state == State.QUARANTINED:
                    given_up.append((position, logged(bins).event))
            if not ids:
                break
        return page._replace(cursor=cursor_of(position))

    def recorded(self, event_ids: Sequence[str]) -> list[LoggedEvent | None]:
        """Return applied events by their ids, None for those that are not in the log. Raises StoreUnavailable."""
        return self._rebuilder.recorded(event_ids)

    def newest_event_ms(self) -> int:
        """Return the newest event time that was applied, 0 for none. Raises StoreUnavailable."""
        return self._parts.newest.read()

    def parked(self) -> int:
        """Return how many events are parked. Raises StoreUnavailable."""
        return sum(self._parts.parked.sizes())

    def parked_events(self) -> list[Event]:
        """Return what is parked. Raises StoreUnavailable."""
        return self._rebuilder.parked_events()

    # --- rebuilding -----------------------------------------------------------------------------

    def replace_images(self, replacements: Sequence[Replacement]) -> list[bool]:
        """Put profiles in the place of stored ones, in one request; see `Store`. Raises StoreUnavailable."""
        return self._rebuilder.replace_images(replacements)

    def restore(self, events: Sequence[LoggedEvent]) -> None:
        """Put events at the end of the log as they are; see `Store`. Raises StoreUnavailable."""
        self._rebuilder.restore(events)

    # --- erasing --------------------------------------------------------------------------------

    def rewrite_events(self, rewrites: Sequence[Rewrite]) -> None:
        """Put events in the place of others; see `Store`. Raises StoreUnavailable."""
        self._eraser.rewrite_events(rewrites)

    def drop_events(self, entries: Sequence[Entry]) -> None:
        """Take events out of the log; see `Store`. Raises StoreUnavailable."""
        self._eraser.drop_events(entries)

    def drop_decisions(self, entries: Sequence[Entry]) -> None:
        """Take decisions out of their log; see `Store`. Raises StoreUnavailable."""
        self._decisions.drop(entries)

    def drop_parked(self, waiting: Mapping[str, str]) -> None:
        """Let go of parked events; see `Store`. Raises StoreUnavailable."""
        self._eraser.drop_parked(waiting)

    def drop_profiles(self, profiles: Sequence[tuple[EntityKey, int]]) -> list[bool]:
        """Let go of profiles; see `Store`. Raises StoreUnavailable."""
        return self._eraser.drop_profiles(profiles)

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
        self._parts.connection.put([Write(self._parts.sets.meta(f"rows-{row_layout}"), [names], policy=policy)])

    def row_layout(self, row_layout: str) -> tuple[str, ...]:
        """Return the names of a layout, () when it is not known. Raises StoreUnavailable."""
        [bins] = self._parts.connection.fetch([self._parts.sets.meta(f"rows-{row_layout}")], [_NAMES])
        return () if bins is None else tuple(bins.get(_NAMES, ()))

    # --- life -----------------------------------------------------------------------------------

    def sweep(self, older_than_s: float) -> Swept:
        """Finish what writers that died left pending for longer than this. Raises StoreUnavailable."""
        return self._sweeper.sweep(older_than_s)

    def stats(self) -> Stats:
        """Return what this process met."""
        return Stats(*(self._parts.tally.count(name) for name in Stats._fields))

    def figures(self) -> list[Figure]:
        """Return the client's nodes and connections, and what this process met; see `Store`."""
        return figures_of(self._parts.connection.stats(), self.stats()._asdict())

    def check(self) -> str:
        """Return "" when the store can serve, else one sentence that says what to do."""
        return problem_of(self._parts)

    def close(self) -> None:
        """Let go of it; calls after that raise StoreUnavailable, and reads are flagged."""
        self._parts.connection.close()


def _readable(key: EntityKey, bins: Bins | None) -> Image | None:
    """Return a profile as it was written, None for a record that this service did not write."""
    if bins is None:
        return EMPTY[key.kind]
    try:
        return stored_image(key.kind, bins)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
