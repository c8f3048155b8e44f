"""The record of an event in Aerospike, and the steps that it goes through.

    p    the event and its decision (`service.store.records`), written once
    s    its state
    c    when it was first stored to be applied, in ms: what its stamp is made of
    g    the page of the log that its id may be put on, see `aerospike_log`
    k    for a clearing, the event time of the confirmation that it takes back, decided once
    r    the revisions that it got, as the end of `p`; written with DONE
    q    why it is in quarantine

    (nothing) ──> PENDING ──> DONE
        └─> PARKED ─┘ └─> QUARANTINED

Every step is conditional on the one before, so whoever comes too late changes nothing and sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Write
from aerospike_helpers.operations import operations

from service.core.decision import DecisionRecord
from service.core.event import Event
from service.settings import AerospikeSettings
from service.store.aerospike_client import (
    EXISTS,
    FILTERED,
    OK,
    Answer,
    Bins,
    Connection,
    Operation,
    Tally,
    is_uncertain,
    reason_of,
)
from service.store.aerospike_log import PAGE_BIN
from service.store.aerospike_sets import Sets
from service.store.outcomes import conflict
from service.store.protocol import LoggedEvent, Outcome, Revisions, Status
from service.store.records import decode_event, with_revisions

PAYLOAD: Final = "p"
STATE: Final = "s"
CREATED: Final = "c"
CONFIRMED_AT: Final = "k"
REVISIONS: Final = "r"
WHY: Final = "q"

EVENT_BINS: Final = [PAYLOAD, STATE, CREATED, PAGE_BIN, CONFIRMED_AT, REVISIONS, WHY]
"""All of it."""

LOGGED_BINS: Final = [PAYLOAD, STATE, REVISIONS]
"""What `logged` needs."""


class State(IntEnum):
    """How far an event has come; the numbers are stored."""

    PARKED = 0
    PENDING = 1
    DONE = 2
    QUARANTINED = 3


@dataclass(slots=True)
class Delivery:
    """An event on its way: what the caller brought, what its record says, and the outcome once it is settled.

    `repeat` when somebody else brought it before; `was_parked` when it waited for its purchase until now;
    `unanswered` when its fate is open because nobody answered.
    """

    event: Event
    decision: DecisionRecord | None
    record: bytes
    state: State | None = None
    repeat: bool = False
    was_parked: bool = False
    late: bool = False
    created_ms: int = 0
    page: int = 0
    confirmed_at_ms: int = 0
    purchase: Event | None = None
    revisions: Revisions = field(default=())
    outcome: Outcome | None = None
    unanswered: bool = False

    @property
    def created_s(self) -> int:
        """Return the second that its stamp is made of."""
        return self.created_ms // 1000

    def adopt(self, bins: Bins) -> None:
        """Go by a record that is there: its times and decision count, and its content must be ours."""
        known = decode_event(bins[PAYLOAD])
        if not self.event.same_content(known.event):
            self.outcome = conflict(self.event)
            return
        self.repeat = self.repeat or bins[PAYLOAD] != self.record or bins.get(CREATED) != self.created_ms
        self.event, self.decision, self.record = known.event, known.decision, bins[PAYLOAD]
        self.state = State(bins[STATE])
        self.was_parked = self.was_parked or self.state is State.PARKED
        self.created_ms = bins.get(CREATED, 0)
        self.page = bins.get(PAGE_BIN, 0)
        if self.state is State.DONE:
            self.revisions = logged(bins).revisions
            self.settle()
        elif self.state is State.QUARANTINED:
            self.refuse(bins.get(WHY, ""))
        elif self.state is State.PENDING:
            self.confirmed_at_ms = bins.get(CONFIRMED_AT, 0)

    def settle(self) -> None:
        """Tell that the event is done."""
        status = Status.DUPLICATE if self.repeat else Status.LATE if self.late else Status.APPLIED
        self.outcome = Outcome(status, self.revisions, self.decision)

    def refuse(self, why: str) -> None:
        """Tell that the event is in quarantine."""
        self.outcome = Outcome(Status.REJECTED, field="event_id", reason=f"is in quarantine: {why}")

    def defer(self, code: int) -> None:
        """Tell that the event's fate is open."""
        self.outcome = Outcome(Status.RETRY, reason=reason_of(code))
        self.unanswered = is_uncertain(code)


def logged(bins: Bins) -> LoggedEvent:
    """Return an event that is done."""
    return decode_event(bins[PAYLOAD] + bins.get(REVISIONS, b""))


class Ledger:
    """The event records: every step of a delivery that changes its record."""

    def __init__(
        self,
        connection: Connection,
        sets: Sets,
        settings: AerospikeSettings,
        clock: Callable[[], float],
        tally: Tally,
    ) -> None:
        """Compile the policies."""
        self._connection = connection
        self._sets = sets
        self._clock = clock
        self._tally = tally
        self._create_policy = {
            "exists": aerospike.POLICY_EXISTS_CREATE,
            "ttl": settings.event_ttl_s or aerospike.TTL_NEVER_EXPIRE,
        }
        self._from_parked = _step_policy(State.PARKED)
        self._from_pending = _step_policy(State.PENDING)

    def now_ms(self) -> int:
        """Return the time of day of this process."""
        return int(self._clock() * 1000)

    def read(self, event_ids: Sequence[str], bins: list[str] = EVENT_BINS) -> list[Answer]:
        """Read records."""
        return self._connection.read([self._sets.event(event_id) for event_id in event_ids], bins)

    def park(self, deliveries: Sequence[Delivery]) -> None:
        """Store new events as PARKED."""
        self._create(deliveries, State.PARKED, 0)

    def begin(self, deliveries: Sequence[Delivery], page: int) -> None:
        """Store new events as PENDING, and make those that were PARKED so."""
        self._create([one for one in deliveries if one.state is None], State.PENDING, page)
        self._resume([one for one in deliveries if one.outcome is None and one.state is State.PARKED], page)

    def finish(self, deliveries: Sequence[Delivery]) -> None:
        """Make PENDING events DONE, with what they got."""
        done = [
            [operations.write(STATE, int(State.DONE)), operations.write(REVISIONS, with_revisions(b"", one.revisions))]
            for one in deliveries
        ]
        taken = self._step(deliveries, done, self._from_pending)
        self._tally.add("helped", sum(one.repeat for one in taken))
        for one in taken:
            one.state = State.DONE
            one.settle()

    def quarantine(self, deliveries: Sequence[Delivery], whys: Sequence[str]) -> None:
        """Give PENDING events up, for a reason that is kept."""
        given_up = [[operations.write(STATE, int(State.QUARANTINED)), operations.write(WHY, why)] for why in whys]
        reasons = {one.event.event_id: why for one, why in zip(deliveries, whys, strict=True)}
        taken = self._step(deliveries, given_up, self._from_pending)
        self._tally.add("quarantined", len(taken))
        for one in taken:
            one.state = State.QUARANTINED
            one.refuse(reasons[one.event.event_id])

    def _create(self, deliveries: Sequence[Delivery], state: State, page: int) -> None:
        now_ms = self.now_ms()
        writes = []
        for one in deliveries:
            one.created_ms, one.page = now_ms, page
            bins = [operations.write(PAYLOAD, one.record), *_state_bins(one, state)]
            writes.append(Write(self._sets.event(one.event.event_id), bins, policy=self._create_policy))
        answers = self._connection.submit(writes) if writes else []
        known = []
        for one, answer in zip(deliveries, answers, strict=True):
            if answer.code == OK:
                one.state = state
                one.was_parked = state is State.PARKED
            elif answer.code == EXISTS:
                known.append(one)
            else:
                one.defer(answer.code)
        self._look_again(known)

    def _resume(self, deliveries: Sequence[Delivery], page: int) -> None:
        now_ms = self.now_ms()
        for one in deliveries:
            one.created_ms, one.page = now_ms, page
        steps = [_state_bins(one, State.PENDING) for one in deliveries]
        for one in self._step(deliveries, steps, self._from_parked):
            one.state = State.PENDING

    def _step(
        self, deliveries: Sequence[Delivery], steps: Sequence[list[Operation]], policy: dict[str, Any]
    ) -> list[Delivery]:
        """Change records that are in the state that the policy asks for; return those that were."""
        if not deliveries:
            return []
        answers = self._connection.submit(
            [
                Write(self._sets.event(one.event.event_id), step, policy=policy)
                for one, step in zip(deliveries, steps, strict=True)
            ]
        )
        taken, overtaken = [], []
        for one, answer in zip(deliveries, answers, strict=True):
            if answer.code == OK:
                taken.append(one)
            elif answer.code == FILTERED:
                overtaken.append(one)
            else:
                one.defer(answer.code)
        self._look_again(overtaken)
        return taken

    def _look_again(self, deliveries: Sequence[Delivery]) -> None:
        """Go by what records say that somebody else, or an attempt of ours in doubt, has written."""
        if not deliveries:
            return
        for one, answer in zip(deliveries, self.read([one.event.event_id for one in deliveries]), strict=True):
            if answer.code == OK:
                one.adopt(answer.bins)
            else:
                one.defer(answer.code)


def _state_bins(delivery: Delivery, state: State) -> list[Operation]:
    bins = [operations.write(STATE, int(state)), operations.write(CREATED, delivery.created_ms)]
    if state is State.PENDING:
        bins.append(operations.write(PAGE_BIN, delivery.page))
        bins.append(operations.write(CONFIRMED_AT, delivery.confirmed_at_ms))
    return bins


def _step_policy(state: State) -> dict[str, Any]:
    return {
        # A record whose life ended must not come back as a stub.
        "exists": aerospike.POLICY_EXISTS_UPDATE,
        "expressions": exp.Eq(exp.IntBin(STATE), int(state)).compile(),
        "ttl": aerospike.TTL_DONT_UPDATE,
    }
