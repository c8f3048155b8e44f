"""Putting profiles and events back in Aerospike, rather than applying them.

A profile is written as a whole in one command that is conditional on its revision: whoever updates it in the
meantime raises that, and a command that was held up on its way then changes nothing. The ids that guard it
against repeats (`ev`, `fg`) are not touched, nor is its life.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Write
from aerospike_helpers.operations import operations

from service.core.event import Event
from service.core.profile import SCHEMAS, Image, Schema
from service.errors import StoreUnavailable
from service.store.aerospike_client import EXISTS, FILTERED, NOT_FOUND, OK, Operation, reason_of
from service.store.aerospike_event import CREATED, LOGGED_BINS, PAYLOAD, REVISIONS, STATE, State, logged
from service.store.aerospike_log import PAGE_BIN
from service.store.aerospike_parked import SHARDS
from service.store.aerospike_parts import Parts
from service.store.aerospike_profile import LAYOUT_BIN, REVISION, bin_of, measure_bin
from service.store.protocol import LoggedEvent, Replacement
from service.store.records import encode_event, with_revisions

_NOT_IN_THE_LOG: Final = exp.Or(exp.Not(exp.BinExists(STATE)), exp.Eq(exp.IntBin(STATE), int(State.PARKED))).compile()

_MAX_RESTORED: Final = 128
"""Events that are restored with one request for each step."""


class Rebuilder:
    """Replaces profiles and restores events."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def replace_images(self, replacements: Sequence[Replacement]) -> list[bool]:
        """Put profiles in the place of those that have the revision named. Raises StoreUnavailable.

        Cost: one request for all of them.
        """
        return [
            self._stands(replacement, answer.code)
            for replacement, answer in zip(
                replacements, self._parts.connection.submit([self._write(one) for one in replacements]), strict=True
            )
        ]

    def _stands(self, replacement: Replacement, code: int) -> bool:
        if code in (FILTERED, NOT_FOUND):
            return False
        if code == EXISTS:
            # By an attempt of ours that was in doubt, or somebody else was first.
            [found] = self._parts.connection.fetch([self._parts.sets.profile(replacement.key)], [REVISION])
            return found is not None and found[REVISION] == replacement.image[1]
        if code != OK:
            raise StoreUnavailable(reason_of(code))
        return True

    def _write(self, replacement: Replacement) -> Write:
        key, revision, image = replacement
        bins = operations_of(SCHEMAS[key.kind], image)
        if not revision:
            life = self._parts.settings.profile_ttl_s or aerospike.TTL_NEVER_EXPIRE
            policy: dict[str, Any] = {"exists": aerospike.POLICY_EXISTS_CREATE, "ttl": life}
        else:
            policy = {
                "exists": aerospike.POLICY_EXISTS_UPDATE,
                "expressions": exp.Eq(exp.IntBin(REVISION), revision).compile(),
                "ttl": aerospike.TTL_DONT_UPDATE,
            }
        return Write(self._parts.sets.profile(key), bins, policy=policy)

    def restore(self, events: Sequence[LoggedEvent]) -> None:
        """Put events at the end of the log as they are. Raises StoreUnavailable; then putting all again is harmless.

        Cost: two requests for every `_MAX_RESTORED` of them.
        """
        for first in range(0, len(events), _MAX_RESTORED):
            self._restore(events[first : first + _MAX_RESTORED])

    def _restore(self, events: Sequence[LoggedEvent]) -> None:
        parts = self._parts
        head = parts.log.head()
        life = parts.settings.event_ttl_s or aerospike.TTL_NEVER_EXPIRE
        policy = {"expressions": _NOT_IN_THE_LOG, "ttl": life}
        writes = [
            Write(parts.sets.event(one.event.event_id), self._event_bins(one, head), policy=policy) for one in events
        ]
        newest_ms = max(one.event.event_time_ms for one in events)
        answers = parts.connection.submit([*writes, *parts.newest.writes(newest_ms)])
        pages = {one.event.event_id: head for one in events}
        known = []
        for event_id, answer in zip(pages, answers, strict=False):
            if answer.code == FILTERED:
                known.append(event_id)
            elif answer.code != OK:
                raise StoreUnavailable(reason_of(answer.code))
        found = parts.connection.fetch([parts.sets.event(one) for one in known], [PAGE_BIN]) if known else []
        pages |= {one: bins[PAGE_BIN] for one, bins in zip(known, found, strict=True) if bins is not None}
        for answer in parts.log.append(pages).values():
            raise StoreUnavailable(reason_of(answer.code))
        parts.newest.kept(newest_ms)
        parts.parked.remove({one.event.event_id: one.event.purchase_id for one in events if one.event.purchase_id})

    @staticmethod
    def _event_bins(one: LoggedEvent, page: int) -> list[Operation]:
        return [
            operations.write(PAYLOAD, encode_event(one.event, decision=one.decision)),
            operations.write(REVISIONS, with_revisions(b"", one.revisions)),
            operations.write(STATE, int(State.DONE)),
            # It was not first stored here: whoever tells it again tells it again.
            operations.write(CREATED, 0),
            operations.write(PAGE_BIN, page),
        ]

    def recorded(self, event_ids: Sequence[str]) -> list[LoggedEvent | None]:
        """Return events that are done. Raises StoreUnavailable."""
        if not event_ids:
            return []
        found = self._parts.connection.fetch([self._parts.sets.event(one) for one in event_ids], LOGGED_BINS)
        return [None if bins is None or bins.get(STATE) != State.DONE else logged(bins) for bins in found]

    def parked_events(self) -> list[Event]:
        """Return what is parked. Raises StoreUnavailable."""
        parked = []
        for shard in range(SHARDS):
            keys = [self._parts.sets.event(event_id) for event_id in self._parts.parked.waiting_in(shard)]
            found = self._parts.connection.fetch(keys, LOGGED_BINS) if keys else []
            parked += [logged(bins).event for bins in found if bins is not None and bins.get(STATE) == State.PARKED]
        return parked


def operations_of(schema: Schema, image: Image) -> list[Operation]:
    """Return the operations that make the bins of a profile those of an image in the schema's layout.

    What is zero or empty has no bin: an `Earliest` tells "never" by that.
    """
    bins: dict[str, object] = {REVISION: image[1], LAYOUT_BIN: schema.layout}
    bins |= {bin_of(scalar.name): image[schema.total_at[scalar.name]] for scalar in schema.scalars}
    at = schema.head
    for one in schema.series:
        size = image[schema.series_at[one.name]]
        buckets = image[at : at + size]
        at += size
        columns: list[dict[int, int]] = []
        for _ in one.series.measures:
            sums = image[at : at + size + 1]
            columns.append(
                {bucket: after - before for bucket, (before, after) in zip(buckets, pairwise(sums), strict=True)}
            )
            at += size + 1
        bins |= _measures(buckets, [measure_bin(one.series, measure) for measure in one.series.measures], columns)
    for recent in schema.recents:
        size = image[schema.recent_at[recent.name]]
        bins[bin_of(recent.name)] = dict(zip(image[at : at + size], image[at + size : at + 2 * size], strict=True))
        at += 2 * size
    return [operations.write(name, _value(value)) for name, value in bins.items()]


def _measures(
    buckets: Sequence[int], names: Sequence[str], columns: Sequence[Mapping[int, int]]
) -> dict[str, dict[int, int]]:
    """Return the maps of a series: what was counted; the first one names the buckets too in which nothing is left."""
    maps = {
        name: {bucket: sum_ for bucket, sum_ in column.items() if sum_}
        for name, column in zip(names, columns, strict=True)
    }
    counted = set().union(*maps.values())
    first = maps[names[0]] | dict.fromkeys(set(buckets) - counted, 0)
    return maps | {names[0]: dict(sorted(first.items()))}


def _value(value: object) -> object:
    """Return what to write for a value; writing null takes the bin out."""
    if not value:
        return aerospike.null()
    return aerospike.KeyOrderedDict(value) if isinstance(value, dict) else value
