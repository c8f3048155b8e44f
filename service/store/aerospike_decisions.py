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
from aerospike_helpers.batch.records import Write
from aerospike_helpers.operations import map_operations, operations

from service.core.decision import DecisionRecord
from service.errors import StoreUnavailable
from service.store.aerospike_client import EXISTS, reason_of
from service.store.aerospike_log import PAGE, PAGE_BIN, Log, cursor_of, position_of
from service.store.aerospike_parts import Parts
from service.store.aerospike_update import KEY_ORDERED
from service.store.protocol import DecisionPage
from service.store.records import decode_decision, encode_decision

MAX_SHOWN: Final = 8
"""Decisions of one purchase that can be asked for; the log has all."""

_PAYLOAD: Final = "p"
_NAMES: Final = "d"
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
        return self._read([_id(purchase_id, name) for name in names])

    def page(self, cursor: str, limit: int) -> DecisionPage:
        """Return up to `limit` decisions after a cursor; ValueError for a bad one. Raises StoreUnavailable."""
        position = position_of(cursor)
        found: list[DecisionRecord] = []
        while len(found) < limit:
            position, ids = self._log.read(position, min(PAGE, limit - len(found)))
            if not ids:
                break
            found += self._read(ids)
            position += len(ids)
        return DecisionPage(found, cursor_of(position))

    def _read(self, ids: Sequence[str]) -> list[DecisionRecord]:
        """Return decisions; those whose life ended are left out."""
        records = self._connection.fetch([self._sets.decision(one) for one in ids], [_PAYLOAD]) if ids else []
        return [decode_decision(bins[_PAYLOAD]) for bins in records if bins is not None]

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
