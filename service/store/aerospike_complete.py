"""The second half of applying events: from PENDING over the log and the profiles to DONE.

Anybody may do it, several at once, again and again: the log takes an id once, a profile takes an event once
and tells the revision that it got then, and the first to write DONE wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import aerospike
from aerospike_helpers.batch.records import Read, Write

from service.core.event import FOLLOW_UPS, EntityKey, EventKind
from service.core.profile import Habits, is_late, updates_of
from service.store.aerospike_client import (
    ELEMENT_EXISTS,
    NO_ANSWER,
    NOT_FOUND,
    OK,
    POISON,
    TOO_BIG,
    Answer,
    reason_of,
)
from service.store.aerospike_event import Delivery, State
from service.store.aerospike_parked import ids_in
from service.store.aerospike_parts import Parts
from service.store.aerospike_profile import APPLIED, REVISION
from service.store.aerospike_update import operations_of, read_applied, revision_of


class _Target(NamedTuple):
    """One update of one delivery: where it goes."""

    delivery: Delivery
    key: EntityKey
    write: Write


class Completer:
    """Takes PENDING events to DONE, to quarantine, or leaves them for the next who tries."""

    def __init__(self, parts: Parts, habits: Habits) -> None:
        """Compile what depends on settings."""
        self._parts = parts
        self._habits: Habits = habits
        self._horizon_s = parts.settings.dedupe_horizon_s
        self._profile_policy = {"ttl": parts.settings.profile_ttl_s or aerospike.TTL_NEVER_EXPIRE}

    def complete(self, deliveries: Sequence[Delivery]) -> dict[str, str]:
        """Take PENDING events as far as they go; return who waits for those purchases among them that are DONE.

        Cost: three requests for all of them together.
        """
        self._put_on_log(deliveries)
        waiting = self._update(unsettled(deliveries))
        self._parts.ledger.finish(unsettled(deliveries))
        return {event_id: one.event.event_id for one, ids in waiting if one.state is State.DONE for event_id in ids}

    def _put_on_log(self, deliveries: Sequence[Delivery]) -> None:
        failed = self._parts.log.append({one.event.event_id: one.page for one in deliveries})
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
        requests += [self._parts.parked.waiting_for(one.event.event_id) for one in purchases]
        requests += self._parts.newest.writes(newest_ms)
        answers = iter(self._parts.connection.submit(requests))

        self._take_revisions(targets, [*islice(answers, len(targets))])
        waiting = []
        for one, answer in zip(purchases, islice(answers, len(purchases)), strict=True):
            waiting.append((one, ids_in(answer)))
            if answer.code not in (OK, NOT_FOUND):
                one.defer(answer.code)
        for answer in answers:
            if answer.code != OK:
                for one in unsettled(deliveries):
                    one.defer(NO_ANSWER)
                return []
        self._parts.newest.kept(newest_ms)
        return waiting

    def _targets(self, delivery: Delivery) -> list[_Target]:
        event = delivery.event
        if event.kind in FOLLOW_UPS and delivery.purchase is None:
            self._parts.ledger.quarantine([delivery], ["the purchase that it names is gone"])
            return []
        updates = updates_of(event, delivery.purchase, delivery.confirmed_at_ms, self._habits)
        delivery.late = bool(updates) and is_late(event, updates[0].effects)
        forget_before_s = min(self._horizon_begins_s(), delivery.created_s)
        return [
            _Target(
                delivery,
                update.key,
                Write(
                    self._parts.sets.profile(update.key),
                    operations_of(update, event.event_id, delivery.created_s, forget_before_s),
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
        for target, answer in zip(targets, self._parts.connection.submit(reads), strict=True):
            applied = answer.bins.get(APPLIED)
            if applied is not None:
                found[target.delivery.event.event_id, target.key] = revision_of(applied)
        return found

    def _settle_trouble(self, trouble: Sequence[tuple[Delivery, EntityKey, int]]) -> None:
        """Give up what can never be applied; leave the rest open."""
        hopeless, whys = [], []
        for one, key, code in trouble:
            if self._hopeless(one, code):
                hopeless.append(one)
                whys.append(f"the profile of its {key.kind.name.lower()} was not updated: {reason_of(code)}")
            else:
                one.defer(code)
        self._parts.ledger.quarantine(hopeless, whys)

    def _hopeless(self, delivery: Delivery, code: int) -> bool:
        """Tell whether an update that failed never succeeds; one that finds a full record may, for a time."""
        return code in POISON or (code == TOO_BIG and delivery.created_s < self._horizon_begins_s())

    def _horizon_begins_s(self) -> int:
        return self._parts.ledger.now_ms() // 1000 - self._horizon_s


def unsettled(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Return those that have no outcome yet."""
    return [one for one in deliveries if one.outcome is None]
