"""The second half of applying events: from PENDING over the log and the profiles to DONE.

Anybody may do it, several at once, again and again: the log takes an id once, a profile takes an event once
and tells the revision that it got then, and the first to write DONE wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import aerospike
from aerospike_helpers.batch.records import Read, Write

from service.core.event import FOLLOW_UPS, EntityKey, EventKind
from service.core.profile import Habits, is_late, updates_of
from service.settings import AerospikeSettings
from service.store.aerospike_client import (
    ELEMENT_EXISTS,
    NO_ANSWER,
    NOT_FOUND,
    OK,
    POISON,
    TOO_BIG,
    Answer,
    Connection,
    Tally,
    reason_of,
)
from service.store.aerospike_event import Delivery, Ledger, State
from service.store.aerospike_log import Log
from service.store.aerospike_newest import NewestEvent
from service.store.aerospike_parked import Parked, event_ids
from service.store.aerospike_profile import APPLIED, REVISION
from service.store.aerospike_sets import Sets
from service.store.aerospike_update import Updater, read_applied, revision_of


class _Target(NamedTuple):
    """One update of one delivery: where it goes."""

    delivery: Delivery
    key: EntityKey
    write: Write


class Completer:
    """Takes PENDING events to DONE, to quarantine, or leaves them for the next who tries."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of the store that it brings together
        self,
        connection: Connection,
        sets: Sets,
        settings: AerospikeSettings,
        habits: Habits,
        ledger: Ledger,
        log: Log,
        parked: Parked,
        newest: NewestEvent,
        tally: Tally,
    ) -> None:
        """Take the parts."""
        self._connection = connection
        self._sets = sets
        self._habits: Habits = habits
        self._ledger = ledger
        self._log = log
        self._parked = parked
        self._newest = newest
        self._tally = tally
        self._updater = Updater(settings.dedupe_horizon_s)
        self._horizon_ms = settings.dedupe_horizon_s * 1000
        self._profile_policy = {"ttl": settings.profile_ttl_s or aerospike.TTL_NEVER_EXPIRE}

    def complete(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Take PENDING events as far as they go; return the ids of events that wait for purchases now DONE.

        Cost: three requests for all of them together.
        """
        self._put_on_log(deliveries)
        waiting = self._update(unsettled(deliveries))
        finishing = unsettled(deliveries)
        self._ledger.finish(finishing)
        self._tally.add("helped", sum(one.repeat and one.state is State.DONE for one in finishing))
        return [event_id for one, ids in waiting if one.state is State.DONE for event_id in ids]

    def _put_on_log(self, deliveries: Sequence[Delivery]) -> None:
        failed = self._log.append({one.event.event_id: one.page for one in deliveries})
        for one in deliveries:
            answer = failed.get(one.event.event_id)
            if answer is not None:
                one.defer(answer.code)

    def _update(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, list[str]]]:
        """Update the profiles; return purchases with the ids that wait for them."""
        targets = [target for one in deliveries for target in self._targets(one)]
        purchases = [one for one in deliveries if one.event.kind is EventKind.PURCHASE]
        newest_ms = max((one.event.event_time_ms for one in deliveries), default=0)
        requests: list[Read | Write] = [target.write for target in targets]
        requests += [self._parked.waiting_for(one.event.event_id) for one in purchases]
        requests += self._newest.writes(newest_ms)
        answers = self._connection.submit(requests) if requests else []

        updated, waiting = answers[: len(targets)], answers[len(targets) : len(targets) + len(purchases)]
        self._take_revisions(targets, updated)
        if any(answer.code != OK for answer in answers[len(targets) + len(purchases) :]):
            for one in unsettled(deliveries):
                one.defer(NO_ANSWER)
        else:
            self._newest.kept(newest_ms)
        for one, answer in zip(purchases, waiting, strict=True):
            if answer.code not in (OK, NOT_FOUND):
                one.defer(answer.code)
        return [(one, event_ids([answer])) for one, answer in zip(purchases, waiting, strict=True)]

    def _targets(self, delivery: Delivery) -> list[_Target]:
        event = delivery.event
        if event.kind in FOLLOW_UPS and delivery.purchase is None:
            self._ledger.quarantine([delivery], ["the purchase that it names is gone"])
            return []
        updates = updates_of(event, delivery.purchase, delivery.confirmed_at_ms, self._habits)
        delivery.late = bool(updates) and is_late(event, updates[0].effects)
        return [
            _Target(
                delivery,
                update.key,
                Write(
                    self._sets.profile(update.key),
                    self._updater.operations(update, event.event_id, delivery.created_s),
                    policy=self._profile_policy,
                ),
            )
            for update in updates
        ]

    def _take_revisions(self, targets: Sequence[_Target], answers: Sequence[Answer]) -> None:
        """Note the revision that each update got, now or the first time, or what became of it instead."""
        known = self._known_revisions(
            [target for target, answer in zip(targets, answers, strict=True) if answer.code == ELEMENT_EXISTS]
        )
        trouble: dict[str, tuple[Delivery, EntityKey, int]] = {}
        for target, answer in zip(targets, answers, strict=True):
            one, key, _ = target
            revision = answer.bins.get(REVISION) if answer.code == OK else known.get((one.event.event_id, key))
            if revision is not None:
                one.revisions += ((key, revision),)
                continue
            code = NO_ANSWER if answer.code in (OK, ELEMENT_EXISTS) else answer.code
            worst = trouble.get(one.event.event_id)
            if worst is None or code in POISON:
                trouble[one.event.event_id] = one, key, code
        self._settle_trouble(list(trouble.values()))

    def _known_revisions(self, targets: Sequence[_Target]) -> dict[tuple[str, EntityKey], int]:
        """Return the revisions that events got when they were applied before."""
        if not targets:
            return {}
        reads = [Read(target.write.key, [read_applied(target.delivery.event.event_id)]) for target in targets]
        found = {}
        for target, answer in zip(targets, self._connection.submit(reads), strict=True):
            applied = answer.bins.get(APPLIED)
            if applied is not None:
                found[target.delivery.event.event_id, target.key] = revision_of(applied)
        return found

    def _settle_trouble(self, trouble: Sequence[tuple[Delivery, EntityKey, int]]) -> None:
        """Give up what can never be applied; leave the rest open."""
        hopeless = [(one, key, code) for one, key, code in trouble if self._hopeless(one, code)]
        for one, _, code in trouble:
            one.defer(code)
        for one, _, _ in hopeless:
            one.outcome = None
        whys = [
            f"the profile of its {key.kind.name.lower()} was not updated: {reason_of(code)}"
            for _, key, code in hopeless
        ]
        self._ledger.quarantine([one for one, _, _ in hopeless], whys)

    def _hopeless(self, delivery: Delivery, code: int) -> bool:
        """Tell whether an update that failed never succeeds; one that finds a full record may, for a time."""
        return code in POISON or (code == TOO_BIG and self._ledger.now_ms() - delivery.created_ms > self._horizon_ms)


def unsettled(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return those that have no outcome yet."""
    return [one for one in deliveries if one.outcome is None]
