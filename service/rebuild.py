"""Rebuilding profiles from the event log, in place, while the service goes on: see docs/decisions/0009.

    read      the log once for each share of the entities: as many shares as the memory bound asks for
    settle    compare each profile with what the log makes of it, and replace it if it still has that revision
    follow    read on in the log for those that have moved on since, and settle again

Nothing is switched over and nothing waits: every replacement is a step of its own that leaves a profile
which says the same and knows more. Whoever breaks it off and runs it again finds those steps taken.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple
from zlib import crc32

from service.core.erasure import is_erased
from service.core.event import FOLLOW_UPS, EntityKey, Event, EventKind, confirmation_id
from service.core.history import Change, History
from service.core.profile import Habits, Update, updates_of
from service.errors import BadSetting
from service.finding import Finding, compare, restored
from service.pace import Pace
from service.store.protocol import EventPage, LoggedEvent, Replacement, Store

PAGE_EVENTS: Final = 1000
"""Events that are read from the log at a time."""

BATCH_PROFILES: Final = 200
"""Profiles that are compared, and replaced, at a time: on LMDB a writer waits for so many, a few milliseconds."""

PAUSE_S: Final = 0.1
"""Pause before a round when the log had nothing new: an event on its way holds it up until a sweep finishes it."""

MAX_EXAMPLES: Final = 1000
"""Entities that are named for each finding, at most; all are counted."""


_DONE: Final[Mapping[Finding, Finding]] = {
    Finding.OLDER: Finding.REBUILT,
    Finding.DIFFERENT: Finding.REPAIRED,
    Finding.RESTORED: Finding.RESTORED,
    Finding.PATCHED: Finding.PATCHED,
}
"""What a finding is called when something was done about it."""


class Plan(NamedTuple):
    """How to go about it.

    `verify` compares and writes nothing. `alone` is for a store that nobody else writes to: every profile is made
    what the log says, as well as that can be told. `expires` when profiles have an end of life, and revisions begin
    again with 1 after that. `max_memory_bytes` bounds the profiles that are held, `max_events_per_s` the events that
    are read and the profiles that are settled (0 = as fast as it goes), `max_rounds` how often a log is followed that
    profiles are ahead of.
    """

    verify: bool = False
    alone: bool = False
    expires: bool = False
    max_memory_bytes: int = 1 << 30
    max_events_per_s: int = 0
    max_rounds: int = 300


class Progress(NamedTuple):
    """How far it is: passes over the log begun and to come, events read, profiles done."""

    begun: int
    to_come: int
    events: int
    profiles: int


class Report(NamedTuple):
    """What was found: how many profiles of each finding, some of them by name, events read, passes over the log."""

    findings: Mapping[Finding, int]
    examples: Mapping[Finding, Sequence[EntityKey]]
    events: int
    passes: int

    def count(self, findings: Iterable[Finding]) -> int:
        """Return how many profiles there are of any of these."""
        return sum(self.findings.get(one, 0) for one in findings)


class Share(NamedTuple):
    """Those entities whose hash leaves this remainder."""

    modulus: int = 1
    remainder: int = 0

    def holds(self, key: EntityKey) -> bool:
        """Tell whether an entity is one of them."""
        return self.modulus == 1 or crc32(key.id.encode(), key.kind) % self.modulus == self.remainder

    def halves(self) -> tuple[Share, Share]:
        """Return two shares of half the size."""
        return Share(2 * self.modulus, self.remainder), Share(2 * self.modulus, self.remainder + self.modulus)


def rebuild(store: Store, habits: Habits, plan: Plan, tell: Callable[[Progress], object] = bool) -> Report:
    """Make every profile what the log says, in the newest layout; or tell which ones are not, see `Plan`.

    Harmless while others read and write the store, if all of them know the newest layout. `tell` is called
    after every page and batch. Raises StoreUnavailable, and BadSetting when the log was recorded with other
    `habits`. Cost: about as much CPU for an event as recording it took, and half of that for each further pass.
    """
    return _Rebuild(store, habits, plan, tell).run()


class _Rebuild:
    def __init__(self, store: Store, habits: Habits, plan: Plan, tell: Callable[[Progress], object]) -> None:
        self._store = store
        self._habits: Habits = habits
        self._plan = plan
        self._tell = tell
        self._pace = Pace(plan.max_events_per_s)
        self._shares = [Share()]
        self._findings: Counter[Finding] = Counter()
        self._examples: dict[Finding, list[EntityKey]] = defaultdict(list)
        self._events = self._passes = 0

    def run(self) -> Report:
        while self._shares:
            self._passes += 1
            histories, cursor = self._read(self._shares.pop())
            self._settle_all(histories, cursor)
        return Report(dict(self._findings), dict(self._examples), self._events, self._passes)

    # --- reading the log ------------------------------------------------------------------------

    def _read(self, share: Share) -> tuple[dict[EntityKey, History], str]:
        """Return the histories of a share, which is made smaller when they take too much memory."""
        histories: dict[EntityKey, History] = {}
        size_bytes, cursor = 0, ""
        while True:
            page = self._page(cursor)
            if page.cursor == cursor:
                return histories, cursor
            cursor = page.cursor
            for key, changes in changes_of(self._store, page.events, self._habits, share.holds).items():
                history = histories.get(key)
                if history is None:
                    history = histories[key] = History(key.kind, expires=self._plan.expires)
                else:
                    size_bytes -= history.size_bytes
                history.add(changes)
                size_bytes += history.size_bytes
            while size_bytes > self._plan.max_memory_bytes and len(histories) > 1:
                share, other = share.halves()
                self._shares.append(other)
                histories = {key: history for key, history in histories.items() if share.holds(key)}
                size_bytes = sum(history.size_bytes for history in histories.values())

    def _page(self, cursor: str) -> EventPage:
        page = self._store.events(cursor, PAGE_EVENTS)
        self._events += len(page.events)
        self._tell(self._progress())
        self._pace.spend(len(page.events))
        return page

    # --- settling -------------------------------------------------------------------------------

    def _settle_all(self, histories: dict[EntityKey, History], cursor: str) -> None:
        """Settle every profile; those that have moved on, again and again with what the log then says of them."""
        ahead = self._settle(histories)
        for _ in range(self._plan.max_rounds):
            if not ahead:
                return
            page = self._page(cursor)
            if page.cursor == cursor:
                time.sleep(PAUSE_S)
            while page.cursor != cursor:
                cursor = page.cursor
                for key, changes in changes_of(self._store, page.events, self._habits, ahead.__contains__).items():
                    ahead[key].add(changes)
                page = self._page(cursor)
            ahead = self._settle(ahead)
        for key, history in ahead.items():
            self._note(Finding.INCOMPLETE if history.waiting else Finding.AHEAD, key)

    def _settle(self, histories: dict[EntityKey, History]) -> dict[EntityKey, History]:
        """Settle what can be; return those that the store is ahead of. What is settled is let go."""
        ahead: dict[EntityKey, History] = {}
        while histories:
            batch = {key: histories.pop(key) for key in list(islice(histories, BATCH_PROFILES))}
            replacements: dict[Replacement, Finding] = {}
            for (key, history), stored in zip(batch.items(), self._store.profiles([*batch]), strict=True):
                finding = restored(history, stored) if self._plan.alone else compare(history, stored)
                done = self._done(finding)
                if finding is Finding.AHEAD:
                    ahead[key] = history
                elif done is None or stored is None:
                    self._note(finding, key)
                else:
                    replacements[Replacement(key, stored[1], history.image)] = done
            if replacements:
                stands = self._store.replace_images([*replacements])
                for (replacement, done), there in zip(replacements.items(), stands, strict=True):
                    if there:
                        self._note(done, replacement.key)
                    else:
                        ahead[replacement.key] = batch[replacement.key]
            self._tell(self._progress())
            self._pace.spend(len(batch))
        return ahead

    def _done(self, finding: Finding) -> Finding | None:
        """Return what a finding is called when the profile was replaced, None when it is not to be."""
        return None if self._plan.verify else _DONE.get(finding)

    def _note(self, finding: Finding, key: EntityKey) -> None:
        self._findings[finding] += 1
        if finding is not Finding.SAME and len(self._examples[finding]) < MAX_EXAMPLES:
            self._examples[finding].append(key)

    def _progress(self) -> Progress:
        return Progress(self._passes, len(self._shares), self._events, self._findings.total())


def changes_of(
    store: Store, page: Sequence[LoggedEvent], habits: Habits, wanted: Callable[[EntityKey], bool]
) -> dict[EntityKey, list[Change]]:
    """Return what a page of the log did to the entities that are wanted, in the order of the log.

    What a follow-up refers to is looked up, with one read for the page. Raises StoreUnavailable and BadSetting.
    """
    some = [one for one in page if any(wanted(key) and not is_erased(key.id) for key, _ in one.revisions)]
    referred = _referred(store, [one.event for one in some])
    changes: dict[EntityKey, list[Change]] = defaultdict(list)
    for event, revisions, _ in some:
        updates = _updates(event, referred, habits)
        if updates is not None and [update.key for update in updates] != [key for key, _ in revisions]:
            raise BadSetting(f"setting ingest.habits: the log was not recorded with {habits!r}: see {event.event_id}")
        for at, (key, revision) in enumerate(revisions):
            if wanted(key) and not is_erased(key.id):
                changes[key].append(Change(revision, None if updates is None else updates[at]))
    return changes


def _updates(event: Event, referred: Mapping[str, Event], habits: Habits) -> list[Update] | None:
    """Return what an event that took effect did, None when what it refers to is gone."""
    if event.kind not in FOLLOW_UPS:
        return updates_of(event, None, 0, habits)
    purchase = referred.get(event.purchase_id)
    # It has revisions, so a clearing took back a confirmation, which was recorded before it.
    confirmed = referred.get(confirmation_id(event.purchase_id)) if event.kind is EventKind.FRAUD_CLEARED else event
    if purchase is None or confirmed is None:
        return None
    return updates_of(event, purchase, confirmed.event_time_ms, habits)


def _referred(store: Store, events: Sequence[Event]) -> dict[str, Event]:
    """Return the purchases that follow-ups name, and the confirmations that clearings take back, by their ids."""
    ids = {event.purchase_id for event in events if event.kind in FOLLOW_UPS}
    ids |= {confirmation_id(event.purchase_id) for event in events if event.kind is EventKind.FRAUD_CLEARED}
    wanted = sorted(ids)
    found = store.recorded(wanted) if wanted else []
    return {event_id: one.event for event_id, one in zip(wanted, found, strict=True) if one is not None}
