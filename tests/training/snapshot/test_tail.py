"""An export goes on in the log that it read, whatever that let go of since, and not in that of an older copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.core.event import Event, EventKind, Settlement
from service.errors import BadSetting
from service.forget import Request
from service.forget import forget as forget_in_store
from service.settings import LmdbSettings
from service.store.lmdb_backup import back_up
from service.store.protocol import Entry, Store
from service.vault import forget_person, vault_path
from tests.make import NOW_MS, make_event
from tests.store.places import TEST_SIZE_BYTES, Place
from tests.training.snapshot.scenes import holds_the_logs, logged, purchases, record, rows, take
from training.data.events import silent
from training.snapshot.folder import snapshots
from training.snapshot.read import open_snapshot
from training.snapshot.restore import restore
from training.snapshot.vault import forget as destroy
from training.snapshot.verify import verify

PERSON = "person-last"
REFUSED = "is not the one that the last snapshot was taken of.* --snapshots"
WITHOUT_DECISIONS, WITH_DECISIONS = 100, 101
"""Amounts: a purchase of an odd one has a decision."""


def at_once(count: int, name: str, amount_minor: int, event_time_ms: int = NOW_MS) -> list[Event]:
    """Return purchases that nothing but their ids tells from others of the same moment."""
    return purchases(count, name, amount_minor=amount_minor, event_time_ms=event_time_ms)


def leave(_store: Store) -> None:
    """Change nothing."""


def drop_first(store: Store) -> None:
    """Take out the first entry of each log, as when somebody is forgotten or retention was run."""
    drop(store, slice(0, 1))


def drop(store: Store, which: slice) -> None:
    """Take entries out of both logs."""
    events, decisions = store.events("", 1000), store.decision_log("", 1000)
    ids = [one.event.event_id for one in events.events]
    store.drop_events([Entry(*one) for one in list(zip(events.places, ids, strict=True))[which]])
    ids = [one.purchase.purchase_id for one in decisions.decisions]
    store.drop_decisions([Entry(*one) for one in list(zip(decisions.places, ids, strict=True))[which]])


class OlderCopy:
    """An embedded store of seven purchases; a copy of it that can come back."""

    def __init__(self, folder: Path, amount_minor: int) -> None:
        """Fill it and copy it."""
        self.place = Place("lmdb", str(folder / "store"))
        self._copy = folder / "copy"
        with closing(self.place.open()) as store:
            record(store, at_once(7, "a", amount_minor))
        back_up(LmdbSettings(path=Path(self.place.where), max_size_bytes=TEST_SIZE_BYTES), self._copy)

    def come_back(self) -> None:
        """Put the copy in the place of the store."""
        shutil.rmtree(self.place.where)
        shutil.copytree(self._copy, self.place.where)


@pytest.mark.parametrize("amount_minor", [WITHOUT_DECISIONS, WITH_DECISIONS])
@pytest.mark.parametrize("change", [leave, drop_first])
@pytest.mark.parametrize("count", [1, 3, 5, 2000])
@pytest.mark.parametrize("later_ms", [0, 7])
def test_an_older_copy_is_refused(
    tmp_path: Path, folder: Path, amount_minor: int, change: Callable[[Store], None], count: int, later_ms: int
) -> None:
    """However long its log has become, whenever its events happened, and whatever it let go of since."""
    older = OlderCopy(tmp_path, amount_minor)
    with closing(older.place.open()) as store:
        record(store, at_once(3, "b", amount_minor))
        take(store, folder)
    older.come_back()
    with closing(older.place.open()) as store:
        change(store)
        record(store, at_once(count, "c", amount_minor, NOW_MS + later_ms))
        with pytest.raises(BadSetting, match=REFUSED):
            take(store, folder)
    assert snapshots(folder) == ["s000001"]
    assert verify(folder, ["s000001"], silent).findings == ()


def test_an_older_copy_is_refused_after_somebody_was_forgotten(tmp_path: Path, folder: Path) -> None:
    """That the snapshot's last entries name nobody any more lets no others pass for them."""
    older = OlderCopy(tmp_path, WITHOUT_DECISIONS)
    with closing(older.place.open()) as store:
        record(store, purchases(3, "b", amount_minor=WITHOUT_DECISIONS, user_id=PERSON))
        take(store, folder)
        forget(store, folder)
    older.come_back()
    with closing(older.place.open()) as store:
        record(store, purchases(5, "c", amount_minor=WITHOUT_DECISIONS))
        with pytest.raises(BadSetting, match=REFUSED):
            take(store, folder)


def test_an_older_copy_from_which_nothing_was_exported_since_goes_on(tmp_path: Path, folder: Path) -> None:
    """A copy that has all that was exported misses nothing: other events come after it than before, and all are new."""
    older = OlderCopy(tmp_path, WITH_DECISIONS)
    with closing(older.place.open()) as store:
        take(store, folder)
        record(store, at_once(3, "b", WITH_DECISIONS))
    older.come_back()
    with closing(older.place.open()) as store:
        record(store, at_once(5, "c", WITH_DECISIONS))
        assert take(store, folder).events == 5
        holds_the_logs(store, folder)


def test_a_log_that_was_put_back_whole_goes_on(embedded: Store, folder: Path, tmp_path: Path) -> None:
    """A store that is made anew out of the snapshot has the log that was exported."""
    record(embedded, purchases(30, "a", amount_minor=WITHOUT_DECISIONS))
    take(embedded, folder)
    with closing(Place("lmdb", str(tmp_path / "fresh")).open()) as fresh:
        restore(open_snapshot(folder, "latest"), fresh, silent)
        assert not take(fresh, folder).made
        record(fresh, purchases(5, "b"))
        take(fresh, folder)
        holds_the_logs(fresh, folder)


# --- what a healthy log loses -------------------------------------------------------------------


def forget(store: Store, *folders: Path) -> None:
    """Forget the person of the last entries."""
    forget_in_store(store, Request(PERSON, "asked for it", "ada", folders), datetime(2026, 7, 30, tzinfo=UTC))


def forget_here(store: Store, folder: Path) -> None:
    """Forget the person, in this folder as well."""
    forget(store, folder)


def forget_elsewhere(store: Store, _folder: Path) -> None:
    """Forget the person without naming this folder."""
    forget(store)


def forget_twice(store: Store, folder: Path) -> None:
    """Forget the person without naming this folder, and then once more with it."""
    forget(store)
    forget(store, folder)


def begin_to_forget(_store: Store, folder: Path) -> None:
    """Forget the person in the vault, and break off before the store."""
    forget_person(folder, PERSON, {("user", PERSON): "erased:1"}, lambda _kind, id_: f"erased:{id_}")


def destroy_key(_store: Store, folder: Path) -> None:
    """Let the person's pseudonym lead nowhere."""
    assert destroy(folder, "user", PERSON)


def lose_the_vault(_store: Store, folder: Path) -> None:
    """Let all pseudonyms lead nowhere."""
    vault_path(folder).unlink()


def let_go_of_the_last(store: Store, _folder: Path) -> None:
    """Drop the last entries of both logs."""
    drop(store, slice(-2, None))


def let_go_of_some(store: Store, _folder: Path) -> None:
    """Drop every other entry of both logs."""
    drop(store, slice(None, None, 2))


def let_go_of_all(store: Store, _folder: Path) -> None:
    """Drop both logs, as when a life set too short has ended."""
    drop(store, slice(None))


HEALTHY: Sequence[Callable[[Store, Path], None]] = (
    forget_here,
    forget_elsewhere,
    forget_twice,
    begin_to_forget,
    destroy_key,
    lose_the_vault,
    let_go_of_the_last,
    let_go_of_some,
    let_go_of_all,
)


def last_entries() -> list[Event]:
    """Return purchases of a person, who has a card of their own, and what follows, with an id of the caller's."""
    bought = purchases(4, "last", amount_minor=WITH_DECISIONS, user_id=PERSON, card_hash="card-last")
    about = {"purchase_id": bought[0].purchase_id, "event_time_ms": NOW_MS + 7}
    return [
        *bought,
        make_event(EventKind.FRAUD_CONFIRMED, **about),
        make_event(EventKind.CARD_REPORTED, card_hash="card-last", event_time_ms=NOW_MS + 8),
        make_event(EventKind.PURCHASE_SETTLED, settlement=Settlement.REFUNDED, event_id="ticket-9", **about),
    ]


@pytest.mark.parametrize("change", HEALTHY)
def test_a_healthy_log_goes_on(store: Store, folder: Path, change: Callable[[Store, Path], None]) -> None:
    """Whoever was forgotten and whatever was let go of since, the next snapshot holds what is new and no more."""
    record(store, [*purchases(6, "a", amount_minor=WITH_DECISIONS), *last_entries()])
    take(store, folder)
    change(store, folder)
    assert not take(store, folder).made
    record(store, purchases(5, "b", amount_minor=WITH_DECISIONS))
    taken = take(store, folder)
    assert (taken.events, taken.decisions, taken.manifest.rows_events) == (5, 5, 18)
    new = [row["purchase_id"] for row in rows(open_snapshot(folder, "latest"), "events")][-5:]
    assert new == [one.event.purchase_id for one in logged(store)][-5:]


@pytest.mark.parametrize("which", [slice(-2, None), slice(None)])
def test_what_was_let_go_of_before_the_export_is_not_missed(store: Store, folder: Path, which: slice) -> None:
    """A log whose last places are empty, or all of them, is known again, and goes on behind them."""
    record(store, purchases(6, "a", amount_minor=WITH_DECISIONS))
    drop(store, which)
    for _ in range(2):
        take(store, folder)
        holds_the_logs(store, folder)
    record(store, purchases(5, "b", amount_minor=WITH_DECISIONS))
    assert take(store, folder).events == 5
    holds_the_logs(store, folder)
