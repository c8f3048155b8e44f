"""Letting go of what was kept for long enough: events, decisions, and the audit of the lists; see 0018.

An event or decision goes only when a verified snapshot holds it, and the snapshot is told to be this store's by its
last entries, which therefore stay. Logs lose their beginning and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from service.errors import BadSetting
from service.settings import RetentionSettings
from service.store.protocol import Entry, Store
from service.tail import Known, is_same, known_decision, known_event, known_held
from service.vault import connected, reveal, vault_path
from service.verified import ReadTo, newest_verified

PAGE_ENTRIES: Final = 1000
"""Entries that go at a time: on LMDB a writer waits for so many, some ten milliseconds."""

_DAY_MS: Final = timedelta(days=1) // timedelta(milliseconds=1)


class Retained(NamedTuple):
    """What went, and the snapshot that holds it; "" when only the audit of the lists was looked at."""

    events: int
    decisions: int
    changes: int
    snapshot: str


class _Logged(NamedTuple):
    """An entry of a log: where it stands, its id, and the time that retention goes by."""

    entry: Entry
    known_ms: int


class _Page(NamedTuple):
    entries: list[_Logged]
    cursor: str
    also: list[Entry]
    """What stands there and is no part of the log."""


class _Log(NamedTuple):
    name: str
    page: Callable[[str, int], _Page]
    tail: Callable[[str, int], list[tuple[int, Known]]]
    """Entries after a cursor, and where each stands."""
    drop: Callable[[Sequence[Entry]], None]


def retain(store: Store, settings: RetentionSettings, now_ms: int, tell: Callable[[int], object] = bool) -> Retained:
    """Let go of what the settings do not keep, up to `settings.max_entries` of each; return how much went.

    Harmless while others read and write the store, and to break off. `tell` gets what went so far, after every
    page. Raises BadSetting when events or decisions have an end and no verified snapshot of this store is there,
    and StoreUnavailable. Cost: some 30 µs for each that goes.
    """
    run = _Run(settings.max_entries, now_ms, tell)
    events = decisions = 0
    snapshot = ""
    if settings.events_days or settings.decisions_days:
        folder = _folder(settings)
        verified = newest_verified(folder)
        snapshot = verified.id
        events = run.cut(_event_log(store), settings.events_days, verified.events, folder)
        decisions = run.cut(_decision_log(store), settings.decisions_days, verified.decisions, folder)
    changes = 0
    if settings.lists_audit_days:
        changes = store.listings.drop_changes(now_ms - settings.lists_audit_days * _DAY_MS, settings.max_entries)
    return Retained(events, decisions, changes, snapshot)


class _Run(NamedTuple):
    max_entries: int
    now_ms: int
    tell: Callable[[int], object]

    def cut(self, log: _Log, days: int, held: ReadTo, folder: Path) -> int:
        """Take the beginning of a log out, as far as it is old enough and held; return how many went."""
        if not days or not held.tail_rows:
            return 0
        _check_is_of(log, held, folder)
        before_ms, last_place = self.now_ms - days * _DAY_MS, _place(held.tail_cursor)
        gone, cursor = 0, ""
        while gone < self.max_entries:
            page = log.page(cursor, min(PAGE_ENTRIES, self.max_entries - gone))
            old = []
            for one in page.entries:
                if one.entry.place > last_place or one.known_ms >= before_ms:
                    break
                old.append(one.entry)
            whole = len(old) == len(page.entries) and page.cursor != cursor and _place(page.cursor) <= last_place
            log.drop([*old, *(page.also if whole else ())])
            gone += len(old)
            self.tell(gone)
            if not whole:
                break
            cursor = page.cursor
        return gone


def _folder(settings: RetentionSettings) -> Path:
    if settings.verified_snapshots is None:
        raise BadSetting(
            "setting retention.verified_snapshots: name the folder of snapshots that holds what is to be let go of"
        )
    return settings.verified_snapshots


def _check_is_of(log: _Log, held: ReadTo, folder: Path) -> None:
    """Raise BadSetting unless the last entries that the snapshot holds are those that stand there in this store.

    Some may be gone, forgotten with a person. Cost: one page of the log, and a look into the vault for each of its ids.
    """
    end = _place(held.cursor)
    there = [known for place, known in log.tail(held.tail_cursor, held.tail_rows) if place <= end]
    with connected(vault_path(folder)) as vault:
        exported = [known_held(one, partial(reveal, vault)) for one in held.tail]
    reached = log.page(str(end - 1) if end > 1 else "", 1).cursor
    if there and _place(reached) >= end and is_same(there, exported):
        return
    raise BadSetting(
        f"setting retention.verified_snapshots: the last of the {log.name} that the snapshot holds is not in this "
        "store: take and verify a new snapshot, and see that the folder is this store's"
    )


def _event_log(store: Store) -> _Log:
    def page(cursor: str, limit: int) -> _Page:
        found = store.events(cursor, limit)
        entries = [
            _Logged(Entry(place, one.event.event_id), one.event.ingest_time_ms)
            for place, one in zip(found.places, found.events, strict=True)
        ]
        return _Page(entries, found.cursor, [Entry(place, event.event_id) for place, event in found.given_up])

    def tail(cursor: str, limit: int) -> list[tuple[int, Known]]:
        found = store.events(cursor, limit)
        return list(zip(found.places, map(known_event, found.events), strict=True))

    return _Log("events", page, tail, store.drop_events)


def _decision_log(store: Store) -> _Log:
    def page(cursor: str, limit: int) -> _Page:
        found = store.decision_log(cursor, limit)
        entries = [
            _Logged(Entry(place, one.purchase.purchase_id), one.decided_at_ms)
            for place, one in zip(found.places, found.decisions, strict=True)
        ]
        return _Page(entries, found.cursor, [])

    def tail(cursor: str, limit: int) -> list[tuple[int, Known]]:
        found = store.decision_log(cursor, limit)
        return list(zip(found.places, map(known_decision, found.decisions), strict=True))

    return _Log("decisions", page, tail, store.drop_decisions)


def _place(cursor: str) -> int:
    return int(cursor or 0)
