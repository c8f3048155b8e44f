"""The lists in Aerospike: a head, the log of changes, and the entries spread over a fixed number of records.

    lists-head     n: revision, f: number of the first change of the last batch, p: that batch, s: whether it is settled
    lists-<f>      p: a batch of changes, by the number of its first one
    lists-m<shard> m: {kind and id: entry}, n: the last change that it took in
    lists-first    n: the number of the first change that is still in the log

Writing the head makes a batch happen: it is conditional on the revision, and on the batch before being settled,
that is written to log and entries. Whoever finds a batch that is not, settles it; all of that may be done twice
or by several. A record of entries takes in only what is newer than what it has, so that one who was held up for
long puts nothing back.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Remove, Write
from aerospike_helpers.operations import map_operations, operations

from service.core.event import EntityKey
from service.core.listing import Listing, ListingAct, ListingChange
from service.errors import StoreUnavailable
from service.store.aerospike_client import EXISTS, FILTERED, NOT_FOUND, OK, Answer, Bins, Key, Operation, reason_of
from service.store.aerospike_parts import Parts
from service.store.aerospike_update import KEY_ORDERED
from service.store.listing_table import Listed, decode_changes, decode_listing, encode_changes, encode_listing, take_in

SHARDS: Final = 128
"""Records of entries; with 100,000 that are as long as they may be each holds half a MiB. Never changed."""

_REVISION: Final = "n"
_FIRST: Final = "f"
_BATCH: Final = "p"
_SETTLED: Final = "s"
_ENTRIES: Final = "m"
_HEAD_BINS: Final = [_REVISION, _FIRST, _BATCH, _SETTLED]
_FOR_EVER: Final = {"ttl": aerospike.TTL_NEVER_EXPIRE}
_SHARDS_PER_READ: Final = 16
_TOKEN_BYTES: Final = 12


class AerospikeListings:
    """Keeps the lists; see `ListingTable`."""

    def __init__(self, parts: Parts) -> None:
        """Resolve the keys."""
        self._connection = parts.connection
        self._sets = parts.sets
        self._head_key = parts.sets.meta("lists-head")
        self._first_key = parts.sets.meta("lists-first")

    def revision(self) -> int:
        """Return the number of the last change, which is settled then. Raises StoreUnavailable."""
        [head] = self._connection.fetch([self._head_key], [_REVISION, _SETTLED])
        if head is None:
            return 0
        if not head[_SETTLED]:
            # With the batch, which every look would have to carry otherwise.
            [head] = self._connection.fetch([self._head_key], _HEAD_BINS)
            assert head is not None, "a head is never removed"
            self._settle(head)
        return int(head[_REVISION])

    def read(self) -> Listed:
        """Return all entries as of one revision. Cost: eight requests. Raises StoreUnavailable."""
        before = self.revision()
        entries: dict[EntityKey, Listing] = {}
        for first in range(0, SHARDS, _SHARDS_PER_READ):
            keys = [self._shard_key(shard) for shard in range(first, first + _SHARDS_PER_READ)]
            for bins in self._connection.fetch(keys, [_ENTRIES]):
                listings = map(decode_listing, (bins or {}).get(_ENTRIES, {}).values())
                entries |= {listing.key: listing for listing in listings}
        revision = self.revision()
        # Changes made in between are in some of the records and not in others; taken in twice they do no harm.
        while before < revision and (changes := self.changes(before, revision - before)):
            take_in(entries, changes)
            before = changes[-1].number
        return Listed(max(before, revision), entries)

    def change(self, revision: int, changes: Sequence[ListingChange]) -> bool:
        """Make changes if the lists still have a revision; see `ListingTable`. Raises StoreUnavailable."""
        if self.revision() != revision:
            return False
        batch = encode_changes(changes, secrets.token_hex(_TOKEN_BYTES))
        head = {_REVISION: revision + len(changes), _FIRST: revision + 1, _BATCH: batch, _SETTLED: 0}
        policy: dict[str, Any] = dict(_FOR_EVER)
        if revision:
            is_there = exp.And(exp.Eq(exp.IntBin(_REVISION), revision), exp.Eq(exp.IntBin(_SETTLED), 1))
            policy |= {"exists": aerospike.POLICY_EXISTS_UPDATE, "expressions": is_there.compile()}
        else:
            policy |= {"exists": aerospike.POLICY_EXISTS_CREATE}
        [answer] = self._connection.submit([Write(self._head_key, _writes(head), policy=policy)])
        if answer.code in (EXISTS, FILTERED):
            # Somebody else was first, or an attempt of ours that was in doubt.
            return self._is_in_log(revision + 1, batch)
        if answer.code != OK:
            raise StoreUnavailable(reason_of(answer.code))
        self._settle(head)
        return True

    def changes(self, after: int, limit: int) -> list[ListingChange]:
        """Return changes with a number above `after`; one request for a batch. Raises StoreUnavailable."""
        last = self.revision()
        found: list[ListingChange] = []
        number = max(after + 1, self._first())
        while len(found) < limit and number <= last:
            [bins] = self._connection.fetch([self._log_key(number)], [_BATCH])
            if bins is None:
                # Dropped since we looked.
                first = self._first()
                if first <= number:
                    break
                number = first
                continue
            found += decode_changes(bins[_BATCH])
            number = found[-1].number + 1
        return found

    def drop_changes(self, before_ms: int, limit: int) -> int:
        """Let the oldest changes go; see `ListingTable`. Raises StoreUnavailable."""
        last, number, dropped = self.revision(), self._first(), 0
        while number <= last:
            [bins] = self._connection.fetch([self._log_key(number)], [_BATCH])
            batch = [] if bins is None else decode_changes(bins[_BATCH])
            if not batch or batch[-1].at_ms >= before_ms or dropped + len(batch) > limit:
                break
            # First noted, then removed: a crash in between leaves a record that nobody asks for.
            self._connection.put([Write(self._first_key, _writes({_REVISION: batch[-1].number + 1}), policy=_FOR_EVER)])
            [answer] = self._connection.submit([Remove(self._log_key(number))])
            _check(answer, OK, NOT_FOUND)
            dropped += len(batch)
            number = batch[-1].number + 1
        return dropped

    def _settle(self, head: Bins) -> None:
        """Write the last batch to log and entries, then say so."""
        batch, last = bytes(head[_BATCH]), int(head[_REVISION])
        log = Write(
            self._log_key(int(head[_FIRST])),
            _writes({_BATCH: batch}),
            policy={**_FOR_EVER, "exists": aerospike.POLICY_EXISTS_CREATE},
        )
        for answer in self._connection.submit([log, *self._entry_writes(decode_changes(batch), last)]):
            _check(answer, OK, EXISTS, FILTERED)
        still_last = exp.Eq(exp.IntBin(_REVISION), last).compile()
        policy = {**_FOR_EVER, "exists": aerospike.POLICY_EXISTS_UPDATE, "expressions": still_last}
        [answer] = self._connection.submit([Write(self._head_key, _writes({_SETTLED: 1}), policy=policy)])
        _check(answer, OK, FILTERED)

    def _entry_writes(self, changes: Sequence[ListingChange], last: int) -> list[Write]:
        steps: dict[int, list[Operation]] = {}
        for change in changes:
            name = f"{change.listing.kind:d}{change.listing.id}"
            shard = steps.setdefault(crc32(name.encode()) % SHARDS, [])
            if change.act is ListingAct.ADDED:
                shard.append(map_operations.map_put(_ENTRIES, name, encode_listing(change.listing), KEY_ORDERED))
            else:
                shard.append(map_operations.map_remove_by_key(_ENTRIES, name, aerospike.MAP_RETURN_NONE))
        is_older = exp.Or(exp.Not(exp.BinExists(_REVISION)), exp.LT(exp.IntBin(_REVISION), last)).compile()
        policy = {**_FOR_EVER, "expressions": is_older}
        return [
            Write(self._shard_key(shard), [*some, *_writes({_REVISION: last})], policy=policy)
            for shard, some in steps.items()
        ]

    def _is_in_log(self, number: int, batch: bytes) -> bool:
        """Tell whether the batch that begins with a number is this one."""
        self.revision()
        [bins] = self._connection.fetch([self._log_key(number)], [_BATCH])
        return bins is not None and bytes(bins[_BATCH]) == batch

    def _first(self) -> int:
        [bins] = self._connection.fetch([self._first_key], [_REVISION])
        return 1 if bins is None else int(bins[_REVISION])

    def _log_key(self, number: int) -> Key:
        return self._sets.meta(f"lists-{number}")

    def _shard_key(self, shard: int) -> Key:
        return self._sets.meta(f"lists-m{shard}")


def _writes(bins: Bins) -> list[Operation]:
    return [operations.write(name, value) for name, value in bins.items()]


def _check(answer: Answer, *expected: int) -> None:
    if answer.code not in expected:
        raise StoreUnavailable(reason_of(answer.code))
