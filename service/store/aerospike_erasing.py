"""Taking out of Aerospike what was recorded, or putting something else in its place.

What is removed is first overwritten: a cluster that keeps records on disk may bring a removed one back when it
starts without its index, and then brings back what was written last. Ids stand on pages of the logs; they are
replaced where they stand, since nothing on a page is ever moved. Every step is harmless when it is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Remove, Write
from aerospike_helpers.operations import operations

from service.core.event import EntityKey, Event, EventKind
from service.core.profile import LAYOUT, SCHEMAS
from service.errors import StoreUnavailable
from service.store.aerospike_client import FILTERED, NOT_FOUND, OK, Answer, Bins, Operation, reason_of
from service.store.aerospike_event import CONFIRMED_AT, CREATED, EVENT_BINS, PAYLOAD, REVISIONS, STATE, WHY, State
from service.store.aerospike_log import PAGE_BIN, gone_id
from service.store.aerospike_parts import Parts
from service.store.aerospike_profile import (
    APPLIED,
    EVENT_ID,
    FORGOTTEN,
    LAYOUT_BIN,
    OTHER,
    REVISION,
    STAMP,
    TIME,
    bins_of,
)
from service.store.aerospike_update import forgetting_operations
from service.store.protocol import Entry, Rewrite
from service.store.records import encode_event, with_revisions

_MAX_ERASED: Final = 128
"""Records that are erased with one request for each step."""

_OVERWRITE: Final = {"exists": aerospike.POLICY_EXISTS_UPDATE, "ttl": aerospike.TTL_DONT_UPDATE}
_REMEMBERS: Final = {**_OVERWRITE, "expressions": exp.BinExists(APPLIED).compile()}
_BLANK: Final = {"expressions": exp.Eq(exp.IntBin(REVISION), 0).compile()}
_PARKED: Final = {"expressions": exp.Eq(exp.IntBin(STATE), int(State.PARKED)).compile()}
_NOTHING: Final = Event("erased", EventKind.CARD_REPORTED, 0, 0)
"""An event that says nothing, for a record that must be readable and not more."""

_WRITTEN_ONLY: Final = (APPLIED, FORGOTTEN, EVENT_ID, STAMP, TIME, OTHER)
"""Bins of a profile that no score reads."""


class Eraser:
    """Erases events and profiles."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts
        self._connection = parts.connection
        self._sets = parts.sets

    def rewrite_events(self, rewrites: Sequence[Rewrite]) -> None:
        """Put events in the place of others. Raises StoreUnavailable. Cost: six requests for `_MAX_ERASED` of them."""
        for first in range(0, len(rewrites), _MAX_ERASED):
            some = rewrites[first : first + _MAX_ERASED]
            self._put_beside(some)
            self._parts.log.replace({one.place: (one.event_id, one.logged.event.event_id) for one in some})
            self._let_profiles_forget(some)
            # Last: while an old record is there, somebody can tell that it is to be finished.
            blanks = {one.event_id: one.logged.event for one in some if one.event_id != one.logged.event.event_id}
            self._remove_events(blanks)

    def drop_events(self, entries: Sequence[Entry]) -> None:
        """Take events out of the log. Raises StoreUnavailable. Cost: four requests for `_MAX_ERASED` of them."""
        for first in range(0, len(entries), _MAX_ERASED):
            some = entries[first : first + _MAX_ERASED]
            self._remove_events(dict.fromkeys((one.id for one in some), _NOTHING))
            self._parts.log.replace({one.place: (one.id, gone_id(one.place)) for one in some})

    def drop_parked(self, waiting: Mapping[str, str]) -> None:
        """Let go of parked events. Raises StoreUnavailable. Cost: two requests."""
        if not waiting:
            return
        removes = [Remove(self._sets.event(event_id), policy=_PARKED) for event_id in waiting]
        for answer in self._connection.submit(removes):
            _check(answer, OK, NOT_FOUND, FILTERED)
        self._parts.parked.remove(waiting)

    def drop_profiles(self, profiles: Sequence[tuple[EntityKey, int]]) -> list[bool]:
        """Let go of profiles that have the revision named. Raises StoreUnavailable. Cost: two requests.

        One that is blank is as good as gone, whatever becomes of us; an event that comes before it is removed
        begins the new profile in the same record, which then stays.
        """
        if not profiles:
            return []
        blanked = self._connection.submit([self._blank(key, revision) for key, revision in profiles])
        removed = self._connection.submit([Remove(self._sets.profile(key), policy=_BLANK) for key, _ in profiles])
        for answer in (*blanked, *removed):
            _check(answer, OK, NOT_FOUND, FILTERED)
        # Another revision than the one named, and not blank by an attempt of ours that was in doubt.
        return [
            not (mine.code == FILTERED and after.code == FILTERED) for mine, after in zip(blanked, removed, strict=True)
        ]

    def _put_beside(self, rewrites: Sequence[Rewrite]) -> None:
        """Store the new events beside the old ones, where these are still there."""
        there = self._connection.fetch([self._sets.event(one.event_id) for one in rewrites], EVENT_BINS)
        life = self._parts.settings.event_ttl_s or aerospike.TTL_NEVER_EXPIRE
        writes = [
            Write(
                self._sets.event(one.logged.event.event_id),
                _event_bins(one, bins),
                policy={"exists": aerospike.POLICY_EXISTS_CREATE, "ttl": life},
            )
            for one, bins in zip(rewrites, there, strict=True)
            if bins is not None
        ]
        if writes:
            self._connection.put(writes)

    def _remove_events(self, blanks: Mapping[str, Event]) -> None:
        """Remove event records, written over with events that name nobody."""
        if not blanks:
            return
        overwrites = [
            Write(
                self._sets.event(event_id),
                [
                    operations.write(PAYLOAD, encode_event(event)),
                    operations.write(STATE, int(State.QUARANTINED)),
                    operations.write(WHY, "erased"),
                    operations.write(REVISIONS, aerospike.null()),
                ],
                policy=_OVERWRITE,
            )
            for event_id, event in blanks.items()
        ]
        for answer in self._connection.submit(overwrites):
            _check(answer, OK, NOT_FOUND)
        for answer in self._connection.submit([Remove(self._sets.event(event_id)) for event_id in blanks]):
            _check(answer, OK, NOT_FOUND)

    def _let_profiles_forget(self, rewrites: Sequence[Rewrite]) -> None:
        """Let profiles forget the ids of events that they took: one that comes again is another event now."""
        taken: dict[EntityKey, list[str]] = {}
        for one in rewrites:
            for key, _ in one.logged.revisions:
                taken.setdefault(key, []).append(one.event_id)
        writes = [
            Write(self._sets.profile(key), forgetting_operations(ids), policy=_REMEMBERS) for key, ids in taken.items()
        ]
        for answer in self._connection.submit(writes) if writes else ():
            _check(answer, OK, NOT_FOUND, FILTERED)

    def _blank(self, key: EntityKey, revision: int) -> Write:
        blank: list[Operation] = [operations.write(REVISION, 0), operations.write(LAYOUT_BIN, LAYOUT)]
        blank += [
            operations.write(name, aerospike.null()) for name in (*bins_of(SCHEMAS[key.kind])[2:], *_WRITTEN_ONLY)
        ]
        has_it = exp.Eq(exp.IntBin(REVISION), revision).compile()
        return Write(self._sets.profile(key), blank, policy={**_OVERWRITE, "expressions": has_it})


def _event_bins(one: Rewrite, old: Bins) -> list[Operation]:
    bins: dict[str, Any] = {
        PAYLOAD: encode_event(one.logged.event, decision=one.logged.decision),
        REVISIONS: with_revisions(b"", one.logged.revisions),
        STATE: int(State.DONE),
        CREATED: old.get(CREATED, 0),
        PAGE_BIN: old.get(PAGE_BIN, 0),
        CONFIRMED_AT: old.get(CONFIRMED_AT, 0),
    }
    return [operations.write(name, value) for name, value in bins.items()]


def _check(answer: Answer, *expected: int) -> None:
    if answer.code not in expected:
        raise StoreUnavailable(reason_of(answer.code))
