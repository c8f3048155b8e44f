"""The store's two logs as an export reads them: in small pages, from a mark on, at a bounded rate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import polars as pl

from service.pace import Pace
from service.store.protocol import Store
from training.snapshot.manifest import Kind, LogMark
from training.snapshot.schema import ENTITY_COLUMNS, EVENT_SCHEMA, REVISION_COLUMNS
from training.snapshot.tables import decision_table, event_table

PAGE_ENTRIES: Final = 1000
"""Entries that are read of the store at once: some ten milliseconds of one read transaction."""

CHUNK_EVENTS: Final = 250_000
CHUNK_DECISIONS: Final = 50_000
"""Entries that are held in memory and written together, at most; a decision with its row is some kilobytes."""

_DECISION_COLUMNS: Final = (
    "purchase_id",
    "decided_at_ms",
    "event_time_ms",
    "ingest_time_ms",
    *ENTITY_COLUMNS,
    "amount_minor",
    "currency",
    "quantity",
    *REVISION_COLUMNS,
)


class Page(NamedTuple):
    """A piece of a log: its entries, the cursor behind it, and where each entry stands."""

    entries: Sequence[Any]
    cursor: str
    places: Sequence[int]


class Log(NamedTuple):
    """One log: how to read a page of it, what columns its entries make, which of those tells the day."""

    kind: Kind
    page: Callable[[str, int], Page]
    table: Callable[[Sequence[Any], int], pl.DataFrame]
    day_column: str
    time_columns: tuple[str, str]
    """Columns that a `LogMark` keeps of the last entry."""
    known_by: tuple[str, ...]
    """Columns that tell an entry from every other; see `training.snapshot.tail`."""
    chunk_entries: int

    def end(self, mark: LogMark) -> int:
        """Return the place at which the log ends now, that of the mark when nothing came since.

        An export goes that far and no further, however fast others write. Cost: two reads of one entry for each
        doubling of what came since. Raises StoreUnavailable.
        """
        low, step = place_of(mark.cursor), PAGE_ENTRIES
        if not self._goes_on(low):
            return low
        while self._goes_on(low + step):
            low, step = low + step, 2 * step
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._goes_on(middle) else (low, middle)
        return high

    def chunk(self, mark: LogMark, position: int, end: int, pace: Pace, progress: Callable[[int], None]) -> Chunk:
        """Read on from a mark, at most to the place `end`, until the chunk is full. Raises StoreUnavailable.

        `position` is that of the first entry. Ends before an entry that is still being applied, as there may be
        on Aerospike.
        """
        tables = [self.table([], position)]
        rows, ended = 0, False
        while rows < self.chunk_entries and not ended:
            before = place_of(mark.cursor)
            asked = min(PAGE_ENTRIES, self.chunk_entries - rows, end - before)
            entries, cursor, _ = self.page(mark.cursor, asked) if asked > 0 else Page([], mark.cursor, [])
            table = self.table(entries, position + rows)
            mark = self._moved(mark, cursor, table)
            tables.append(table)
            rows += table.height
            ended = place_of(cursor) - before < asked or place_of(cursor) >= end
            progress(position + rows)
            pace.spend(table.height)
        return Chunk(pl.concat(tables), mark, ended)

    def reaches(self, mark: LogMark) -> bool:
        """Tell whether the log goes as far as a mark. Cost: a read of one entry. Raises StoreUnavailable."""
        place = place_of(mark.cursor)
        return not place or self._goes_on(place - 1)

    def tail(self, mark: LogMark) -> pl.DataFrame:
        """Return what stands now where the last piece before a mark was read, at most as many entries as it gave.

        Raises StoreUnavailable.
        """
        if not mark.tail_rows:
            return self.table([], 0)
        page = self.page(mark.tail_cursor, mark.tail_rows)
        before = bisect_right(page.places, place_of(mark.cursor))
        return self.table(page.entries[:before], 0)

    def _goes_on(self, place: int) -> bool:
        """Tell whether there is an entry after a place."""
        return place_of(self.page(_cursor(place), 1).cursor) > place

    def _moved(self, mark: LogMark, cursor: str, table: pl.DataFrame) -> LogMark:
        """Return the mark after a page."""
        gone = mark.gone + place_of(cursor) - place_of(mark.cursor) - table.height
        if table.is_empty():
            return mark.model_copy(update={"cursor": cursor, "gone": gone})
        event_time_ms, ingest_time_ms = self._times(table)
        return LogMark(
            cursor=cursor,
            tail_cursor=mark.cursor,
            tail_rows=table.height,
            event_time_ms=event_time_ms,
            ingest_time_ms=ingest_time_ms,
            gone=gone,
        )

    def _times(self, table: pl.DataFrame) -> tuple[int, int]:
        first, second = (int(table.get_column(name).item(-1)) for name in self.time_columns)
        return first, second


class Chunk(NamedTuple):
    """What was read in one go, with ids as they are; the mark after it; whether the log ended there."""

    table: pl.DataFrame
    mark: LogMark
    ended: bool


def event_log(store: Store, chunk_entries: int) -> Log:
    """Return the log of events."""
    times = ("event_time_ms", "ingest_time_ms")

    def page(cursor: str, limit: int) -> Page:
        found = store.events(cursor, limit)
        return Page(found.events, found.cursor, found.places)

    known_by = tuple(name for name in EVENT_SCHEMA if name != "position")
    return Log("events", page, event_table, "ingest_time_ms", times, known_by, chunk_entries)


def decision_log(store: Store, chunk_entries: int) -> Log:
    """Return the log of decisions."""
    times = ("event_time_ms", "decided_at_ms")

    def page(cursor: str, limit: int) -> Page:
        found = store.decision_log(cursor, limit)
        return Page(found.decisions, found.cursor, found.places)

    return Log("decisions", page, decision_table, "decided_at_ms", times, _DECISION_COLUMNS, chunk_entries)


def _cursor(place: int) -> str:
    return str(place) if place else ""


def place_of(cursor: str) -> int:
    """Return how many places of the log lie before a cursor: both stores count them."""
    return int(cursor or 0)
