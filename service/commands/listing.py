"""What the commands of `python -m service lists` do with the store, with times as people write them, and with files."""

from __future__ import annotations

import csv
import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, cast

from service.clock import WallClock
from service.core.event import EntityKey, EntityKind
from service.core.listing import Effect, Listing
from service.errors import BadSetting, InvalidInput, Violation
from service.list_editor import ListEditor, check, problems_of
from service.settings import load
from service.store.listing_table import ListingTable
from service.store.opening import open_store

COLUMNS: Final = ("kind", "id", "effect", "expires", "why")
MAX_PROBLEMS: Final = 20
"""Lines that are named, at most, when a file is wrong."""

_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


class Desk(NamedTuple):
    """What a command works with."""

    table: ListingTable
    editor: ListEditor
    now_ms: int
    numeric_ids: bool

    def said(self, why: str) -> str:
        """Return a reason that may be kept; raises InvalidInput."""
        listing = Listing(EntityKind.USER, "x", "block", 0, why, "x", self.now_ms)
        check(listing, numeric_ids=self.numeric_ids)
        return why


@contextmanager
def opened_editor(config: Path | None) -> Iterator[Desk]:
    """Open the store of the settings. Raises BadSetting, StoreUnavailable."""
    settings, clock = load(config), WallClock()
    store = open_store(settings)
    try:
        editor = ListEditor(store.listings, settings.lists.max_entries, clock.now_ms)
        yield Desk(store.listings, editor, clock.now_ms(), settings.ingest.numeric_ids)
    finally:
        store.close()


def added(desk: Desk, key: EntityKey, effect: str, expires_ms: int, why: str, who: str) -> Listing:
    """Add one entry and return it; raises InvalidInput."""
    listing = Listing(key.kind, key.id, cast(Effect, effect), expires_ms, why, who, desk.now_ms)
    check(listing, numeric_ids=desk.numeric_ids)
    desk.editor.add([listing])
    return listing


def expiry_of(text: str, now_ms: int) -> int:
    """Return the time that a duration from now, or a date or time (UTC), names; 0 for "". Raises InvalidInput."""
    if not text:
        return 0
    duration = _DURATION.fullmatch(text)
    if duration:
        return now_ms + int(duration[1]) * _UNITS_MS[duration[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        sentence = "is neither a duration (45m, 12h, 30d, 8w) nor a date or time (2027-01-31, 2027-01-31T18:00)"
        raise InvalidInput([Violation("expires", sentence)]) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return int(at.timestamp() * 1000)


def who_am_i() -> str:
    """Return the login name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise BadSetting("this process has no login name: say who does it with --who") from None


def entries_of(file: Path, desk: Desk, who: str) -> list[Listing]:
    """Return the entries of a CSV file; raises InvalidInput that names the wrong lines, never what they hold."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            if set(reader.fieldnames or ()) != set(COLUMNS):
                raise InvalidInput([Violation(f"{file}", f"must begin with a line that names {','.join(COLUMNS)}")])
            return _entries(reader, desk, who)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not CSV in UTF-8"
        raise InvalidInput([Violation(f"{file}", f"cannot be read: {reason}")]) from error


def _entries(reader: csv.DictReader[str], desk: Desk, who: str) -> list[Listing]:
    listings: dict[EntityKey, Listing] = {}
    problems: list[Violation] = []
    for row in reader:
        where = f"line {reader.line_num}:"
        found = _entry(row, desk, who)
        if isinstance(found, Listing):
            if found.key in listings:
                problems.append(Violation(where, "id is named by an earlier line, too"))
            listings[found.key] = found
        else:
            problems += [Violation(f"{where} {one.field}", one.description) for one in found]
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise InvalidInput(problems)
    return [*listings.values()]


def _entry(row: dict[str, str | None], desk: Desk, who: str) -> Listing | list[Violation]:
    """Return the entry of a line, or what is wrong with it."""
    if None in row or None in row.values():
        return [Violation("line", "has not as many fields as the first one")]
    text = {name: (row[name] or "").strip() for name in COLUMNS}
    if text["kind"].upper() not in EntityKind.__members__:
        return [Violation("kind", f"must be one of {', '.join(one.name.lower() for one in EntityKind)}")]
    try:
        expires_ms = expiry_of(text["expires"], desk.now_ms)
    except InvalidInput as error:
        return [*error.violations]
    kind, effect = EntityKind[text["kind"].upper()], cast(Effect, text["effect"].lower())
    listing = Listing(kind, text["id"], effect, expires_ms, text["why"], who, desk.now_ms)
    return problems_of(listing, numeric_ids=desk.numeric_ids) or listing
