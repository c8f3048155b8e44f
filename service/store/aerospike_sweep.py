"""The sweep: finds what writers that died left on its way, and tells it again."""

from __future__ import annotations

from typing import Final

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Write
from aerospike_helpers.operations import operations

from service.store.aerospike_apply import Applier
from service.store.aerospike_client import NOT_FOUND, OK
from service.store.aerospike_event import CREATED, PAYLOAD, STATE, State
from service.store.aerospike_log import PAGE
from service.store.aerospike_parked import SHARDS
from service.store.aerospike_parts import Parts
from service.store.aerospike_profile import TIME
from service.store.aerospike_update import max_of
from service.store.protocol import Outcome, Status, Submission, Swept
from service.store.records import decode_event

MAX_SWEPT_EVENTS: Final = 64 * PAGE
"""Entries of the log that one sweep looks at; the next one goes on behind those that are settled."""

MAX_SWEPT_PARKED: Final = 512
"""Parked events from which one sweep looks at no further record of them."""

_MARK: Final = "mark"
_RAISE_MARK: Final = max_of(_MARK, exp.IntBin(TIME))
_DONE_STATUSES: Final = (Status.APPLIED, Status.LATE, Status.DUPLICATE)


class Sweeper:
    """Goes over the end of the log, behind a mark that no event on its way is ever in front of."""

    def __init__(self, parts: Parts, applier: Applier) -> None:
        """Take the parts."""
        self._parts = parts
        self._applier = applier
        self._mark_key = parts.sets.meta("swept")
        self._next_shard = 0

    def sweep(self, older_than_s: float) -> Swept:
        """Finish events that are on their way for longer than this. Raises StoreUnavailable."""
        swept = self._sweep_log(self._parts.ledger.now_ms() - int(older_than_s * 1000))
        released = _count(self._release_parked())
        return Swept(
            swept.finished + released.finished,
            swept.quarantined + released.quarantined,
            swept.waiting,
        )

    def _sweep_log(self, before_ms: int) -> Swept:
        [found] = self._parts.connection.fetch([self._mark_key], [_MARK])
        mark = 0 if found is None else int(found.get(_MARK, 0))
        position, settled_up_to, outcomes, young = mark, -1, list[Outcome](), 0
        while position < mark + MAX_SWEPT_EVENTS:
            position, ids = self._parts.log.read(position, PAGE)
            if not ids:
                break
            old, new = self._on_their_way(ids, before_ms)
            told = self._tell_again(old)
            young += len(new)
            outcomes += told.values()
            still_open = {*new, *old} - {one for one, outcome in told.items() if outcome.status is not Status.RETRY}
            if still_open and settled_up_to < 0:
                settled_up_to = position + min(ids.index(event_id) for event_id in still_open)
            position += len(ids)
        self._raise_mark(mark, position if settled_up_to < 0 else settled_up_to)
        counted = _count(outcomes)
        return counted._replace(waiting=counted.waiting + young)

    def _on_their_way(self, ids: list[str], before_ms: int) -> tuple[list[str], list[str]]:
        """Return the events that are PENDING: those from before a time, and those that are younger or unanswered."""
        old: list[str] = []
        young: list[str] = []
        for event_id, answer in zip(ids, self._parts.ledger.read(ids, [STATE, CREATED]), strict=True):
            if answer.code == OK and answer.bins.get(STATE) == State.PENDING:
                (old if answer.bins.get(CREATED, 0) <= before_ms else young).append(event_id)
            elif answer.code not in (OK, NOT_FOUND):
                young.append(event_id)
        return old, young

    def _tell_again(self, ids: list[str]) -> dict[str, Outcome]:
        if not ids:
            return {}
        known = zip(ids, self._parts.ledger.read(ids, [PAYLOAD]), strict=True)
        events = {event_id: decode_event(answer.bins[PAYLOAD]).event for event_id, answer in known if answer.code == OK}
        outcomes = self._applier.apply([Submission(event) for event in events.values()])
        return dict(zip(events, outcomes, strict=True))

    def _raise_mark(self, mark: int, settled_up_to: int) -> None:
        if settled_up_to > mark:
            raise_mark = [operations.write(TIME, settled_up_to), _RAISE_MARK]
            self._parts.connection.submit(
                [Write(self._mark_key, raise_mark, policy={"ttl": aerospike.TTL_NEVER_EXPIRE})]
            )

    def _release_parked(self) -> list[Outcome]:
        """Look, in turns, whether parked events wait for purchases that are there; a crash can leave that behind."""
        sizes = self._parts.parked.sizes()
        outcomes: list[Outcome] = []
        looked_at = 0
        for _ in range(SHARDS):
            shard = self._next_shard
            self._next_shard = (shard + 1) % SHARDS
            if sizes[shard]:
                waiting = self._parts.parked.waiting_in(shard)
                purchases = list(set(waiting.values()))
                states = self._parts.ledger.read(purchases, [STATE])
                here = {purchase for purchase, answer in zip(purchases, states, strict=True) if answer.code == OK}
                outcomes += self._applier.release({one: named for one, named in waiting.items() if named in here})
            looked_at += sizes[shard]
            if looked_at >= MAX_SWEPT_PARKED:
                break
        return outcomes


def _count(outcomes: list[Outcome]) -> Swept:
    statuses = [outcome.status for outcome in outcomes]
    return Swept(
        sum(statuses.count(status) for status in _DONE_STATUSES),
        statuses.count(Status.REJECTED),
        statuses.count(Status.RETRY),
    )
