"""How events are applied: in stages, each of them one request for many events.

    look up   for a follow-up: its own record, its purchase, the confirmation that it takes back
    begin     the event's record, PENDING, with everything that is needed to apply it
    log       its id at the end of the log, so that a sweep finds it
    update    the profiles of its entities, each guarded by the event's id
    finish    the record is DONE; now the event may be acknowledged

A crash between two stages leaves an event that anybody takes through the rest: whoever is told it again,
whoever needs it (a follow-up its purchase), and the sweep. All they do is tell it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from service.core.event import FOLLOW_UPS, EventKind, confirmation_id
from service.core.profile import Habits
from service.errors import StoreUnavailable
from service.store.aerospike_client import NO_ANSWER, NOT_FOUND, OK, TOO_BIG, Answer, reason_of
from service.store.aerospike_complete import Completer, unsettled
from service.store.aerospike_event import PAYLOAD, STATE, Delivery, State
from service.store.aerospike_parts import Parts
from service.store.outcomes import not_a_purchase, parking_full, unfit
from service.store.protocol import Outcome, Status, Submission
from service.store.records import decode_event, encode_event

MAX_WAVE_EVENTS: Final = 128
"""Events that go through the stages together, at most."""

_UNFINISHED: Final = (State.PENDING, State.PARKED)


class Applier:
    """Applies events, each exactly once, whoever else applies the same ones."""

    def __init__(self, parts: Parts, habits: Habits, max_parked: int) -> None:
        """Take the parts."""
        self._parts = parts
        self._completer = Completer(parts, habits)
        self._max_parked = max_parked

    def apply(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Apply events and return their outcomes; see `Store.apply`. Raises StoreUnavailable when closed.

        Events that name the same purchase or have the same id are applied one after the other, in their
        order; of the others those of one entity get their revisions in that order unless a write is repeated.
        When nothing of one wave was answered, through all attempts, the next ones are not tried.
        """
        self._parts.connection.usable()
        deliveries = [_delivery(submission) for submission in submissions]
        silent = ""
        for wave in _waves(unsettled(deliveries)):
            silent = silent or self._silence_met_by(wave)
            for one in unsettled(wave):
                one.outcome = Outcome(Status.RETRY, reason=silent or reason_of(NO_ANSWER))
        return [_outcome(one) for one in deliveries]

    def release(self, waiting: Mapping[str, str]) -> list[Outcome]:
        """Apply parked events whose purchases are there now, in the order of event time."""
        if not waiting:
            return []
        known = self._read(waiting)
        events = [decode_event(answer.bins[PAYLOAD]).event for answer in known.values() if answer.code == OK]
        events.sort(key=lambda event: (event.event_time_ms, event.event_id))
        outcomes = self.apply([Submission(event) for event in events])
        # Also those that somebody else applied and did not live to take out, and those whose life ended.
        gone = [event_id for event_id, answer in known.items() if answer.code == NOT_FOUND]
        settled = [event.event_id for event, outcome in zip(events, outcomes, strict=True) if _is_settled(outcome)]
        self._parts.parked.remove({event_id: waiting[event_id] for event_id in (*gone, *settled)})
        return outcomes

    def _silence_met_by(self, wave: Sequence[Delivery]) -> str:
        """Apply a wave; return why no other will get further, "" when there is hope."""
        try:
            self._apply_wave(wave)
        except StoreUnavailable as error:
            self._parts.connection.usable()
            return str(error)
        return reason_of(NO_ANSWER) if all(one.unanswered for one in wave) else ""

    def _apply_wave(self, wave: Sequence[Delivery]) -> None:
        follow_ups = [one for one in wave if one.event.kind in FOLLOW_UPS]
        if follow_ups:
            self._find_purchases(follow_ups)
        beginning = unsettled(wave)
        if beginning:
            self._parts.ledger.begin(beginning, self._parts.log.head())
        completing = unsettled(wave)
        if completing:
            self.release(self._completer.complete(completing))
        waited = [one for one in follow_ups if one.was_parked and one.outcome is not None and _is_settled(one.outcome)]
        self._parts.parked.remove(_waiting(waited))

    # --- follow-ups -----------------------------------------------------------------------------

    def _find_purchases(self, follow_ups: Sequence[Delivery]) -> None:
        """Find the purchases that follow-ups name; park those whose purchase is not known."""
        self._look_up(follow_ups)
        orphans = [one for one in unsettled(follow_ups) if one.purchase is None and one.state is not State.PENDING]
        if orphans:
            self._park(orphans)

    def _park(self, orphans: Sequence[Delivery]) -> None:
        """Let follow-ups wait. Writers that park at the same time may exceed the bound by a wave each."""
        new = [one for one in orphans if one.state is None]
        if new:
            room = max(0, self._max_parked - sum(self._parts.parked.sizes()))
            self._refuse_parking(new[room:])
            self._parts.ledger.park(new[:room])
        waiting = [one for one in unsettled(orphans) if one.state is State.PARKED]
        answers = self._parts.parked.add(_waiting(waiting))
        for one, answer in zip(waiting, answers, strict=True):
            if answer.code == TOO_BIG:
                self._refuse_parking([one])
            elif answer.code != OK:
                one.defer(answer.code)
        # The purchase may have come, and looked for those who wait, before they were there to be found.
        self._look_up(unsettled(orphans))
        for one in unsettled(orphans):
            if one.purchase is None and one.state is State.PARKED:
                one.outcome = Outcome(Status.PARKED)

    def _refuse_parking(self, deliveries: Sequence[Delivery]) -> None:
        self._parts.tally.add("parking_refused", len(deliveries))
        for one in deliveries:
            one.outcome = parking_full(self._max_parked)

    def _look_up(self, follow_ups: Sequence[Delivery]) -> None:
        """Take in what is stored of follow-ups and of what they name, which is finished first."""
        if not follow_ups:
            return
        events = [one.event for one in follow_ups]
        own = [event.event_id for event in events]
        purchases = [event.purchase_id for event in events]
        confirmations = [confirmation_id(one.purchase_id) for one in events if one.kind is EventKind.FRAUD_CLEARED]
        known = self._read([*own, *purchases, *confirmations])
        unfinished = [event_id for event_id in (*purchases, *confirmations) if _state(known[event_id]) in _UNFINISHED]
        if unfinished and any(known[purchase_id].code == OK for purchase_id in purchases):
            self.apply([Submission(decode_event(known[event_id].bins[PAYLOAD]).event) for event_id in unfinished])
            known |= self._read([*unfinished, *own])
        for one in follow_ups:
            self._take_in(one, known)

    def _read(self, event_ids: Iterable[str]) -> dict[str, Answer]:
        ids = list(dict.fromkeys(event_ids))
        return dict(zip(ids, self._parts.ledger.read(ids), strict=True))

    def _take_in(self, follow_up: Delivery, known: dict[str, Answer]) -> None:
        event = follow_up.event
        mine, purchase = known[event.event_id], known[event.purchase_id]
        if mine.code == OK:
            follow_up.adopt(mine.bins)
        elif mine.code != NOT_FOUND:
            follow_up.defer(mine.code)
        if follow_up.outcome is not None or purchase.code == NOT_FOUND:
            return
        if purchase.code != OK:
            follow_up.defer(purchase.code)
            return
        found = decode_event(purchase.bins[PAYLOAD]).event
        if found.kind is not EventKind.PURCHASE:
            follow_up.outcome = not_a_purchase(event)
        elif _state(purchase) is State.QUARANTINED:
            follow_up.outcome = Outcome(Status.REJECTED, field="purchase_id", reason="names a purchase in quarantine")
        elif _state(purchase) is not State.DONE:
            follow_up.defer(NO_ANSWER)
        else:
            follow_up.purchase = found
            if event.kind is EventKind.FRAUD_CLEARED and follow_up.state is not State.PENDING:
                self._take_in_confirmation(follow_up, known[confirmation_id(event.purchase_id)])

    def _take_in_confirmation(self, clearing: Delivery, confirmation: Answer) -> None:
        """Note what a clearing takes back. It is decided here and stored, so that whoever helps does the same."""
        if confirmation.code == NOT_FOUND:
            return
        if confirmation.code != OK:
            clearing.defer(confirmation.code)
            return
        found = decode_event(confirmation.bins[PAYLOAD]).event
        if found.kind is not EventKind.FRAUD_CONFIRMED or found.purchase_id != clearing.event.purchase_id:
            return
        if _state(confirmation) is State.DONE:
            clearing.confirmed_at_ms = found.event_time_ms
        elif _state(confirmation) in _UNFINISHED:
            clearing.defer(NO_ANSWER)


def _delivery(submission: Submission) -> Delivery:
    event, decision = submission
    refused = unfit(event)
    if refused is not None:
        return Delivery(event, decision, b"", outcome=refused)
    if decision is not None:
        decision = replace(decision, recorded=True)
    return Delivery(event, decision, encode_event(event, decision=decision))


def _outcome(delivery: Delivery) -> Outcome:
    assert delivery.outcome is not None, "what no stage settled is RETRY"
    return delivery.outcome


def _waiting(deliveries: Iterable[Delivery]) -> dict[str, str]:
    return {one.event.event_id: one.event.purchase_id for one in deliveries}


def _is_settled(outcome: Outcome) -> bool:
    return outcome.status not in (Status.PARKED, Status.RETRY)


def _state(answer: Answer) -> State | None:
    return State(answer.bins[STATE]) if answer.code == OK else None


def _waves(deliveries: Sequence[Delivery]) -> Iterator[list[Delivery]]:
    """Give deliveries in their order, those that have to do with an earlier one in a later wave."""
    waves: list[list[Delivery]] = []
    reached: dict[str, int] = {}
    for one in deliveries:
        ids = {one.event.event_id, one.event.purchase_id} - {""}
        at = max(reached.get(event_id, 0) for event_id in ids)
        reached |= dict.fromkeys(ids, at + 1)
        if at == len(waves):
            waves.append([])
        waves[at].append(one)
    for wave in waves:
        for first in range(0, len(wave), MAX_WAVE_EVENTS):
            yield wave[first : first + MAX_WAVE_EVENTS]
