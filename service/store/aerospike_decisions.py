"""Decisions in Aerospike: a record for each, named by its content, a log, and what each purchase has.

    purchase id | time and hash    p: the decision, g: its page of the log
    purchase id |                  d: {time and hash: 0}, the newest `MAX_SHOWN`

A decision that is put twice has the same name and so stands in the log once.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Remove, Write
from aerospike_helpers.operations import map_operations, operations

from service.core.decision import DecisionRecord
from service.errors import StoreUnavailable
from service.store.aerospike_client import EXISTS, FILTERED, NOT_FOUND, OK, reason_of
from service.store.aerospike_log import PAGE, PAGE_BIN, Log, cursor_of, gone_id, position_of
from service.store.aerospike_parts import Parts
from service.store.aerospike_update import KEY_ORDERED
from service.store.protocol import DecisionPage, Entry
from service.store.records import decode_decision, encode_decision

MAX_SHOWN: Final = 8
"""Decisions of one purchase that can be asked for; the log has all."""

_PAYLOAD: Final = "p"
_NAMES: Final = "d"
_NONE: Final = aerospike.MAP_RETURN_NONE
_OVERWRITE: Final = {"exists": aerospike.POLICY_EXISTS_UPDATE, "ttl": aerospike.TTL_DONT_UPDATE}
_HAS_NAMES: Final = {**_OVERWRITE, "expressions": exp.BinExists(_NAMES).compile()}
_HAS_NO_NAMES: Final = {"expressions": exp.Eq(exp.MapSize(None, exp.MapBin(_NAMES)), 0).compile()}
_HASH_BYTES: Final = 8
_MAX_PUT: Final = 128


class Decisions:
    """The decisions served."""

    def __init__(self, parts: Parts) -> None:
        """Know nothing yet."""
        self._connection = parts.connection
        self._sets = parts.sets
        self._log = Log(parts.connection, parts.sets, "decisions", parts.sets.decision)
        self._life = {"ttl": parts.settings.event_ttl_s or aerospike.TTL_NEVER_EXPIRE}

    def put(self, decisions: Sequence[DecisionRecord]) -> None:
        """Keep decisions. Raises StoreUnavailable; then some may be kept, and putting all again is harmless.

        Cost: two requests for every `_MAX_PUT` of them.
        """
        for first in range(0, len(decisions), _MAX_PUT):
            self._put(decisions[first : first + _MAX_PUT])

    def of(self, purchase_id: str) -> list[DecisionRecord]:
        """Return those of a purchase, newest first. Raises StoreUnavailable."""
        [found] = self._connection.fetch([self._sets.decision(_id(purchase_id, ""))], [_NAMES])
        names = sorted({} if found is None else found.get(_NAMES, {}), reverse=True)[:MAX_SHOWN]
        decisions = self._read([_id(purchase_id, name) for name in names])
        return [decision for decision in decisions if decision is not None]

    def page(self, cursor: str, limit: int) -> DecisionPage:
        """Return up to `limit` decisions after a cursor; ValueError for a bad one. Raises StoreUnavailable."""
        position = position_of(cursor)
        found: list[DecisionRecord] = []
        places: list[int] = []
        while len(found) < limit:
            position, ids = self._log.read(position, min(PAGE, limit - len(found)))
            if not ids:
                break
            for place, decision in enumerate(self._read(ids), position + 1):
                if decision is not None:
                    found.append(decision)
                    places.append(place)
            position += len(ids)
        return DecisionPage(found, cursor_of(position), places)

    def drop(self, entries: Sequence[Entry]) -> None:
        """Take decisions out of their log; see `Store.drop_decisions`. Raises StoreUnavailable.

        Cost: seven requests for every `_MAX_PUT` of them. They are written over first: see `aerospike_erasing`.
        """
        for first in range(0, len(entries), _MAX_PUT):
            some = entries[first : first + _MAX_PUT]
            ids = self._log.ids_at(one.place for one in some)
            mine = {one.place: ids[one.place] for one in some if ids.get(one.place, "").startswith(f"{one.id}|")}
            self._erase([*mine.values()])
            self._log.replace({place: (decision_id, gone_id(place)) for place, decision_id in mine.items()})

    def _erase(self, ids: Sequence[str]) -> None:
        of_purchases = {one: self._sets.decision(_id(one.rpartition("|")[0], "")) for one in ids}
        blank = [Write(self._sets.decision(one), [operations.write(_PAYLOAD, b"")], policy=_OVERWRITE) for one in ids]
        removed = [Remove(self._sets.decision(one)) for one in ids]
        unnamed = [
            Write(key, [map_operations.map_remove_by_key(_NAMES, one.rpartition("|")[2], _NONE)], policy=_HAS_NAMES)
            for one, key in of_purchases.items()
        ]
        nameless = [Remove(key, policy=_HAS_NO_NAMES) for key in set(of_purchases.values())]
        for steps in (blank, removed, unnamed, nameless):
            for answer in self._connection.submit(steps) if steps else ():
                if answer.code not in (OK, NOT_FOUND, FILTERED):
                    raise StoreUnavailable(reason_of(answer.code))

    def _read(self, ids: Sequence[str]) -> list[DecisionRecord | None]:
        """Return decisions, None for those whose life ended."""
        records = self._connection.fetch([self._sets.decision(one) for one in ids], [_PAYLOAD]) if ids else []
        return [None if bins is None else decode_decision(bins[_PAYLOAD]) for bins in records]

    def _put(self, decisions: Sequence[DecisionRecord]) -> None:
        head = self._log.head()
        records, names = {}, {}
        for decision in decisions:
            record = encode_decision(decision)
            digest = blake2b(record, digest_size=_HASH_BYTES).hexdigest()
            name = f"{decision.decided_at_ms:016x}{digest}"
            decision_id = _id(decision.purchase.purchase_id, name)
            records[decision_id] = self._record(decision_id, record, head)
            names[decision_id] = self._name(decision.purchase.purchase_id, name)
        answers = self._connection.put([*records.values(), *names.values()])
        known = [one for one, answer in zip(records, answers, strict=False) if answer.code == EXISTS]
        pages = dict.fromkeys(records, head)
        if known:
            found = self._connection.fetch([self._sets.decision(one) for one in known], [PAGE_BIN])
            pages |= {one: bins[PAGE_BIN] for one, bins in zip(known, found, strict=True) if bins is not None}
        failed = self._log.append(pages)
        for answer in failed.values():
            raise StoreUnavailable(reason_of(answer.code))

    def _record(self, decision_id: str, record: bytes, page: int) -> Write:
        return Write(
            self._sets.decision(decision_id),
            [operations.write(_PAYLOAD, record), operations.write(PAGE_BIN, page)],
            policy={**self._life, "exists": aerospike.POLICY_EXISTS_CREATE},
        )

    def _name(self, purchase_id: str, name: str) -> Write:
        return Write(
            self._sets.decision(_id(purchase_id, "")),
            [
                map_operations.map_put(_NAMES, name, 0, KEY_ORDERED),
                map_operations.map_remove_by_index_range(
                    _NAMES, -MAX_SHOWN, MAX_SHOWN, aerospike.MAP_RETURN_NONE, inverted=True
                ),
            ],
            policy=self._life,
        )


def _id(purchase_id: str, name: str) -> str:
    return f"{purchase_id}|{name}"
