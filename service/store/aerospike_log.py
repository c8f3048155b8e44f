"""Logs in Aerospike: pages of ids, in the one order that every reader sees.

A log is a row of pages, each a record with a list `l` of at most `PAGE` ids; a position counts ids from the
beginning, so page and place are its quotient and remainder. Nothing is ever moved; what is erased leaves an id
that names nothing in its place. A full page of those is emptied and closed, for ever: a writer that slept, and still
takes it for the last one, must not put an id there, behind everybody's cursor.

What is logged (an event, a decision) has a record of its own whose bin `g` names the page that its id may
be put on. Whoever puts it there, however often, uses that page; and `g` moves on only when the page is full
and the id is not on it, which then stays so for ever. So an id stands on exactly one page, also when a write
in doubt, a helper and a writer that woke up too late all tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Read, Write
from aerospike_helpers.operations import list_operations, operations

from service.errors import StoreUnavailable
from service.store.aerospike_client import (
    ELEMENT_EXISTS,
    FILTERED,
    NO_ANSWER,
    NOT_FOUND,
    OK,
    Answer,
    Bins,
    Connection,
    Key,
    reason_of,
)
from service.store.aerospike_sets import Sets

PAGE: Final = 256
"""Ids on one page: every append rewrites its page, and a full one is read at a time."""

PAGE_BIN: Final = "g"

_IDS: Final = "l"
_HEAD: Final = "page"
_FIRST: Final = "first"
_CLOSED: Final = "x"
_GONE: Final = "gone-"
_PAGE_BINS: Final = [_IDS, _CLOSED]
_UNIQUE: Final = {"list_order": aerospike.LIST_UNORDERED, "write_flags": aerospike.LIST_WRITE_ADD_UNIQUE}
_MAX_ROUNDS: Final = 24
"""Rounds of one append; each fills a page or finds that others did."""

_MAX_CURSOR_DIGITS: Final = 18


def position_of(cursor: str) -> int:
    """Return the position that a cursor names, 0 for the beginning; ValueError for one that no store gave."""
    if cursor == "":
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _MAX_CURSOR_DIGITS):
        raise ValueError("the cursor is not one of this store: it must be empty or a number")
    return int(cursor)


def cursor_of(position: int) -> str:
    """Return the cursor that names a position."""
    return str(position) if position else ""


def gone_id(place: int) -> str:
    """Return the id that stands at a place, counted from 1, when what was there is erased."""
    return f"{_GONE}{place}"


@cache
def _has_room_for(count: int) -> Any:  # noqa: ANN401 - a compiled expression
    has_room = exp.Or(exp.Not(exp.BinExists(_IDS)), exp.LE(exp.ListSize(None, exp.ListBin(_IDS)), PAGE - count))
    return exp.And(exp.Not(exp.BinExists(_CLOSED)), has_room).compile()


class Log:
    """The log `name`; `key_of` gives the key of the record of what has an id."""

    def __init__(self, connection: Connection, sets: Sets, name: str, key_of: Callable[[str], Key]) -> None:
        """Know nothing of its length yet."""
        self._connection = connection
        self._sets = sets
        self._name = name
        self._key_of = key_of
        self._head: int | None = None

    def head(self) -> int:
        """Return a page to put new ids on: the last, or one a little before it. Raises StoreUnavailable."""
        if self._head is None:
            self._head = self._hint(_HEAD)
        return self._head

    def append(self, pages: dict[str, int]) -> dict[str, Answer]:
        """Put ids on the pages that their records name, in this order; return the answers of those that failed.

        One request when they fit. Repeating it with the same ids is harmless.
        """
        waiting, failed = dict(pages), dict[str, Answer]()
        room: dict[int, int] = {}
        for _ in range(_MAX_ROUNDS):
            groups = _by_page(waiting, room)
            answers = self._connection.submit([self._append_to(page, ids) for page, ids in groups.items()])
            crowded = []
            for (page, ids), answer in zip(groups.items(), answers, strict=True):
                if answer.code in (ELEMENT_EXISTS, FILTERED):
                    crowded.append(page)
                    continue
                for one in ids:
                    del waiting[one]
                    if answer.code != OK:
                        failed[one] = answer
                if answer.bins.get(_IDS) == len(ids):
                    self._note_last(page)
            if crowded:
                room = self._look_at(crowded, waiting, failed)
            if not waiting:
                return failed
        return failed | dict.fromkeys(waiting, Answer(NO_ANSWER, {}))

    def read(self, position: int, limit: int) -> tuple[int, list[str]]:
        """Return up to `limit` ids from a position on, at most those of one page, and where the first of them stands.

        That is further on only when pages are gone, as after a restart of a cluster that keeps nothing on
        disk. No ids at the end. Raises StoreUnavailable.
        """
        page, place = divmod(position, PAGE)
        bins = self._page(page)
        if bins is None or _CLOSED in bins:
            last, first = self._hint(_HEAD), self._hint(_FIRST)
            while (bins is None and page < last) or (bins is not None and _CLOSED in bins):
                page, place = max(page + 1, first), 0
                bins = self._page(page)
        return page * PAGE + place, (bins or {}).get(_IDS, [])[place : place + limit]

    def _page(self, page: int) -> Bins | None:
        [bins] = self._connection.fetch([self._sets.page(self._name, page)], _PAGE_BINS)
        return bins

    def ids_at(self, places: Iterable[int]) -> dict[int, str]:
        """Return the ids that stand at places, counted from 1, as far as their pages are there."""
        wanted: dict[int, list[int]] = {}
        for place in places:
            wanted.setdefault((place - 1) // PAGE, []).append(place)
        keys = [self._sets.page(self._name, page) for page in wanted]
        pages = self._connection.fetch(keys, [_IDS]) if keys else []
        found: dict[int, str] = {}
        for some, bins in zip(wanted.values(), pages, strict=True):
            ids = [] if bins is None else bins.get(_IDS, [])
            found |= {place: ids[(place - 1) % PAGE] for place in some if (place - 1) % PAGE < len(ids)}
        return found

    def replace(self, changes: Mapping[int, tuple[str, str]]) -> None:
        """Put other ids at places, counted from 1, where the first of each pair stands; close pages of erased ids.

        Raises StoreUnavailable; repeating it is harmless. Cost: three requests.
        """
        there = self.ids_at(changes)
        steps: dict[int, list[Any]] = {}
        for place, (old, new) in changes.items():
            if there.get(place) == old != new:
                page, at = divmod(place - 1, PAGE)
                steps.setdefault(page, []).append(list_operations.list_set(_IDS, at, new))
        policy = {"exists": aerospike.POLICY_EXISTS_UPDATE, "ttl": aerospike.TTL_NEVER_EXPIRE}
        writes = [Write(self._sets.page(self._name, page), some, policy=policy) for page, some in steps.items()]
        self._run(writes)
        self._close_gone({(place - 1) // PAGE for place in changes})

    def _close_gone(self, pages: set[int]) -> None:
        """Empty and close pages that are full of erased ids, and note how far the log is gone from its beginning."""
        ordered = sorted(pages)
        keys = [self._sets.page(self._name, page) for page in ordered]
        found = self._connection.fetch(keys, _PAGE_BINS) if keys else []
        gone = [page for page, bins in zip(ordered, found, strict=True) if bins is None or _is_gone(bins)]
        policy = {"exists": aerospike.POLICY_EXISTS_UPDATE, "ttl": aerospike.TTL_NEVER_EXPIRE}
        close = [operations.write(_CLOSED, 1), operations.write(_IDS, aerospike.null())]
        self._run([Write(self._sets.page(self._name, page), close, policy=policy) for page in gone])
        first = before = self._hint(_FIRST)
        while first in gone:
            first += 1
        if first > before:
            note = [operations.write(_FIRST, first)]
            self._run([Write(self._hint_key(), note, policy={"ttl": aerospike.TTL_NEVER_EXPIRE})])

    def _run(self, steps: Sequence[Write]) -> None:
        for answer in self._connection.submit(steps) if steps else ():
            if answer.code not in (OK, NOT_FOUND):
                raise StoreUnavailable(reason_of(answer.code))

    def _hint(self, name: str) -> int:
        """Return a page that somebody noted: the last, or the first that is not wholly erased."""
        [hint] = self._connection.fetch([self._hint_key()], [name])
        return 0 if hint is None else int(hint.get(name, 0))

    def _append_to(self, page: int, ids: list[str]) -> Write:
        return Write(
            self._sets.page(self._name, page),
            [list_operations.list_append_items(_IDS, ids, _UNIQUE)],
            policy={"expressions": _has_room_for(len(ids)), "ttl": aerospike.TTL_NEVER_EXPIRE},
        )

    def _look_at(self, crowded: list[int], waiting: dict[str, int], failed: dict[str, Answer]) -> dict[int, int]:
        """See what stands on pages that did not take everything; return how much room each has left."""
        room = {}
        answers = self._connection.read([self._sets.page(self._name, page) for page in crowded], _PAGE_BINS)
        for page, answer in zip(crowded, answers, strict=True):
            mine = [one for one, at in waiting.items() if at == page]
            if answer.code != OK:
                for one in mine:
                    del waiting[one]
                    failed[one] = answer
                continue
            there = answer.bins.get(_IDS, [])
            for one in set(mine).intersection(there):
                del waiting[one]
            room[page] = 0 if _CLOSED in answer.bins else PAGE - len(there)
            if not room[page]:
                self._move_on(page, [one for one in mine if one in waiting], waiting, failed)
        return room

    def _move_on(self, full: int, ids: list[str], waiting: dict[str, int], failed: dict[str, Answer]) -> None:
        """Let the records of ids that are not on a full page name a later one."""
        if not ids:
            return
        head = self._find_head(full + 1)
        still_there = exp.Eq(exp.IntBin(PAGE_BIN), full).compile()
        policy = {
            "exists": aerospike.POLICY_EXISTS_UPDATE,
            "expressions": still_there,
            "ttl": aerospike.TTL_DONT_UPDATE,
        }
        moves = [operations.write(PAGE_BIN, head)]
        answers = self._connection.submit([Write(self._key_of(one), moves, policy=policy) for one in ids])
        moved_by_others = [one for one, answer in zip(ids, answers, strict=True) if answer.code == FILTERED]
        pages = self._connection.read([self._key_of(one) for one in moved_by_others], [PAGE_BIN])
        for one, answer in [*zip(ids, answers, strict=True), *zip(moved_by_others, pages, strict=True)]:
            if answer.code == OK:
                waiting[one] = answer.bins.get(PAGE_BIN) or head
            elif answer.code != FILTERED:
                waiting.pop(one, None)
                failed[one] = answer

    def _find_head(self, page: int) -> int:
        """Return the first page from this one on that is not full, and remember it."""
        page = max(page, self._head or 0)
        read = [list_operations.list_size(_IDS), operations.read(_CLOSED)]
        while True:
            [answer] = self._connection.submit([Read(self._sets.page(self._name, page), read)])
            is_closed = bool(answer.bins.get(_CLOSED))
            if answer.code == NOT_FOUND or not (is_closed or (answer.bins.get(_IDS) or 0) >= PAGE):
                break
            page = max(page + 1, self._hint(_FIRST) if is_closed else 0)
        self._head = page
        return page

    def _note_last(self, page: int) -> None:
        """Note that a page was begun, for processes that start; a note that is too low costs them a walk, no more."""
        if page:
            policy = {"ttl": aerospike.TTL_NEVER_EXPIRE}
            self._connection.submit([Write(self._hint_key(), [operations.write(_HEAD, page)], policy=policy)])

    def _hint_key(self) -> Key:
        return self._sets.meta(f"{self._name}-head")


def _is_gone(page: Bins) -> bool:
    """Tell whether nothing stands on a page any more, and nothing can come."""
    ids = page.get(_IDS, [])
    return _CLOSED in page or (len(ids) == PAGE and all(one.startswith(_GONE) for one in ids))


def _by_page(waiting: dict[str, int], room: dict[int, int]) -> dict[int, list[str]]:
    """Return the ids to put on each page now: no more than it is known to have room for."""
    groups: dict[int, list[str]] = {}
    for one, page in waiting.items():
        group = groups.setdefault(page, [])
        if len(group) < (room.get(page) or PAGE):
            group.append(one)
    return groups
