"""What a store does, and the values that go in and out.

Promises that every store keeps, and that one contract suite checks on all of them:

* `apply` is exactly-once: an event id changes each profile at most once, under retries, races and
  crashes; when `apply` has returned APPLIED, LATE or DUPLICATE the event is durable and wholly applied.
* An event that a crash left half-applied is finished by `sweep` (or by whoever meets it first).
* Every applied update raises its profile's revision by one; the event log keeps what each event got.
* `events` and `decision_log` return everything that was acknowledged, each entry exactly once, in an
  order that can be resumed from a cursor and that later commits never change behind the cursor.
* A profile that does not exist reads as `EMPTY[kind]`; one that could not be read, as None and flagged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from service.core.decision import DecisionRecord
from service.core.event import EntityKey, EntityKind, Event
from service.core.profile import Image
from service.store.listing_table import ListingTable
from service.store.papers import Papers

Revisions = tuple[tuple[EntityKey, int], ...]


class Status(IntEnum):
    """What became of an event; the numbers are those of the proto."""

    APPLIED = 1
    DUPLICATE = 2
    LATE = 3
    PARKED = 4
    REJECTED = 5
    RETRY = 6


class Outcome(NamedTuple):
    """What became of one event.

    `revisions` are those that it got (also of a DUPLICATE, from the record of the first time; empty
    for PARKED, REJECTED and RETRY). `decision` is the one that the event's record carries.
    `field` and `reason` explain REJECTED and RETRY.
    """

    status: Status
    revisions: Revisions = ()
    decision: DecisionRecord | None = None
    field: str = ""
    reason: str = ""


class Submission(NamedTuple):
    """An event to apply, with the decision to keep in its record when Score recorded it."""

    event: Event
    decision: DecisionRecord | None = None


class LoggedEvent(NamedTuple):
    """An applied event as the log keeps it."""

    event: Event
    revisions: Revisions
    decision: DecisionRecord | None


class View(NamedTuple):
    """What one score reads.

    `images` in the order of `KINDS`: EMPTY for unknown, None for absent or unreadable.
    `unreadable` names the kinds that were asked for and not got. `recorded` is the purchase's own
    event, when it had been recorded before this read (None also when that could not be read).
    `given_up` when the store was not even asked, which costs less than the wait for no answer.
    """

    images: tuple[Image | None, Image | None, Image | None, Image | None]
    unreadable: tuple[EntityKind, ...]
    recorded: LoggedEvent | None
    given_up: bool = False


class EventPage(NamedTuple):
    """A piece of the event log, in order, and the cursor to go on from (the same one at the end).

    `places` tells where each event stands: the cursor that names the same number goes on right after it.
    `given_up` are events of that piece, with their places, that went to quarantine: not part of the log.
    """

    events: list[LoggedEvent]
    cursor: str
    places: Sequence[int] = ()
    given_up: Sequence[tuple[int, Event]] = ()


class DecisionPage(NamedTuple):
    """A piece of the decision log, in order, and the cursor to go on from; `places` as those of events."""

    decisions: list[DecisionRecord]
    cursor: str
    places: Sequence[int] = ()


class Replacement(NamedTuple):
    """A profile to put in the place of a stored one, if that has the revision named (0: if there is none)."""

    key: EntityKey
    revision: int
    image: Image


class Entry(NamedTuple):
    """What stands at a place of a log: the id of the event, or that of the decision's purchase."""

    place: int
    id: str


class Rewrite(NamedTuple):
    """An event to put in the place of a logged one, which has another id: where it stands, and as what."""

    place: int
    event_id: str
    logged: LoggedEvent


class Swept(NamedTuple):
    """What a sweep did: events finished, events given up into quarantine, events still young."""

    finished: int
    quarantined: int
    waiting: int


class Figure(NamedTuple):
    """A number that a store tells of itself; `grows` for a count since it was opened, else it goes up and down."""

    name: str
    text: str
    value: float
    grows: bool = False


class Store(Protocol):
    """Keeps profiles, events and decisions. Thread-safe; made after fork or spawn, in the worker."""

    @property
    def listings(self) -> ListingTable:
        """Return the lists of what operators decided."""

    @property
    def papers(self) -> Papers:
        """Return the small documents kept beside everything else."""

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Return what the scores of these purchases need, with one read of the store for all of them.

        Never raises for a store that is slow or down: what could not be read in `timeout_s` is
        flagged in the view. Cost: one read transaction (LMDB) or one `batch_read` (Aerospike) of five
        records for each purchase.
        """

    def profile(self, key: EntityKey) -> Image:
        """Return one profile in the layout that it was written with, EMPTY when nothing is known.

        Raises StoreUnavailable.
        """

    def profiles(self, keys: Sequence[EntityKey]) -> list[Image | None]:
        """Return profiles as `profile` does, with one read for all of them; None for one that is not readable.

        Raises StoreUnavailable.
        """

    def apply(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Apply events in their order and return one outcome for each; one bad event stops no other.

        Returns when they are durable. An event whose fate is open is RETRY: repeating it is harmless.
        Follow-ups of a purchase that is not known are PARKED and applied when it comes. Raises
        StoreUnavailable when the store is closed, was opened before a fork, or does not answer at all.
        """

    def events(self, cursor: str, limit: int) -> EventPage:
        """Return up to `limit` events of the log after `cursor` ("" = from the beginning)."""

    def recorded(self, event_ids: Sequence[str]) -> list[LoggedEvent | None]:
        """Return applied events by their ids, None for those that are not in the log. Raises StoreUnavailable."""

    def parked_events(self) -> list[Event]:
        """Return what is parked, of which there is at most `max_parked`. Raises StoreUnavailable."""

    def replace_images(self, replacements: Sequence[Replacement]) -> list[bool]:
        """Put profiles in the place of stored ones, each atomically; tell for each whether it now stands there.

        False when the stored profile has another revision than the one named: an event came in between.
        What guards it against repeated events, and its life, stay as they are. Repeating it is harmless.
        Raises StoreUnavailable.
        """

    def restore(self, events: Sequence[LoggedEvent]) -> None:
        """Put events at the end of the log as they are, with what they got, and touch no profile.

        One that is in the log already stays where it is; one that is parked is so no longer. For a store that
        nobody serves from yet: its profiles are made out of its log afterwards. Raises StoreUnavailable.
        """

    def rewrite_events(self, rewrites: Sequence[Rewrite]) -> None:
        """Put events in the place of logged ones, at the same places of the log and under ids of their own.

        A reader of the log sees the one or the other. Nothing of the old ones stays, and no profile changes. Breaking
        it off leaves some done; repeating it with the same events finishes them. Raises StoreUnavailable.
        """

    def drop_events(self, entries: Sequence[Entry]) -> None:
        """Take events out of the log, as if their life had ended; their places stay empty. Raises StoreUnavailable.

        Breaking it off leaves some done; repeating it with the same entries finishes them.
        """

    def drop_decisions(self, entries: Sequence[Entry]) -> None:
        """Take decisions out of their log, as `drop_events` does events. Raises StoreUnavailable."""

    def drop_parked(self, waiting: Mapping[str, str]) -> None:
        """Let go of parked events, each with the purchase that it waits for. Raises StoreUnavailable.

        Those that are parked no longer stay as they are. Repeating it is harmless.
        """

    def drop_profiles(self, profiles: Sequence[tuple[EntityKey, int]]) -> list[bool]:
        """Let go of profiles that have the revision named, each atomically; tell for each whether none stands there.

        False when the profile has another revision: an event came in between. An event that comes later begins
        a new profile. Repeating it is harmless. Raises StoreUnavailable.
        """

    def put_decisions(self, decisions: Sequence[DecisionRecord]) -> None:
        """Keep decisions; durable when it returns. Raises StoreUnavailable."""

    def decisions(self, purchase_id: str) -> list[DecisionRecord]:
        """Return the decisions kept for a purchase, newest first (at most 8)."""

    def decision_log(self, cursor: str, limit: int) -> DecisionPage:
        """Return up to `limit` decisions after `cursor` ("" = from the beginning)."""

    def put_row_layout(self, row_layout: str, features: Sequence[str]) -> None:
        """Keep the names, in order, of the rows that carry this layout id."""

    def row_layout(self, row_layout: str) -> tuple[str, ...]:
        """Return the names of a layout, () when it is not known."""

    def newest_event_ms(self) -> int:
        """Return the newest event time that was applied, 0 for none: where the event clock goes on."""

    def parked(self) -> int:
        """Return how many events are parked."""

    def sweep(self, older_than_s: float) -> Swept:
        """Finish what writers that died left pending for longer than `older_than_s`."""

    def check(self) -> str:
        """Return "" when the store can serve, else one sentence that says what to do."""

    def figures(self) -> list[Figure]:
        """Return what it knows of its own state without asking anybody, [] once closed. Never raises; microseconds."""

    def close(self) -> None:
        """Let go of it; calls after that raise StoreUnavailable."""
