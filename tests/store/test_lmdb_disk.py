"""An embedded store whose disk refuses writes: nothing is half done, and all goes on once it takes them again.

The disk is what the descriptors of this process lead to: they are made to lead elsewhere for a while.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event as Flag

import pytest

from service.core.event import KINDS, EntityKey, EntityKind
from service.errors import StoreUnavailable
from service.settings import LmdbSettings
from service.store.lmdb import LmdbStore
from service.store.protocol import Status, Submission, View
from tests.make import make_purchase
from tests.running import wait_until
from tests.store.listings import make_change, make_listing
from tests.store.oracle import assert_whole

USER = EntityKey(EntityKind.USER, "u-1")
FULL = "/dev/full"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store is."""
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> Iterator[LmdbStore]:
    """Open a store with one purchase in it."""
    opened = LmdbStore(LmdbSettings(path=path), "attempts", 1000)
    assert record(opened, "p-1") is Status.APPLIED
    yield opened
    opened.close()


def record(store: LmdbStore, purchase_id: str) -> Status:
    """Record a purchase and return what became of it."""
    [outcome] = store.apply([Submission(make_purchase(purchase_id))])
    return outcome.status


def view(store: LmdbStore) -> View:
    """Return what a score would be given."""
    [found] = store.read([make_purchase("p-new")], 1.0)
    return found


def is_recorded(store: LmdbStore, purchase_id: str) -> bool:
    """Record a purchase and tell whether that was promised."""
    try:
        return record(store, purchase_id) is Status.APPLIED
    except StoreUnavailable:
        return False


@contextmanager
def leading_to(elsewhere: str, path: Path, *, meta: bool = False) -> Iterator[None]:
    """Have what this process writes of a store go elsewhere: its pages, or the one alone that ends a commit."""
    [number] = [one for one in _descriptors(path / "data.mdb") if bool(_flags(one) & os.O_DSYNC) is meta]
    kept, other = os.dup(number), os.open(elsewhere, os.O_WRONLY if elsewhere == FULL else os.O_RDONLY)
    os.dup2(other, number, inheritable=False)
    try:
        yield
    finally:
        os.dup2(kept, number, inheritable=False)
        os.close(kept)
        os.close(other)


def _descriptors(path: Path) -> list[int]:
    numbers = [int(one.name) for one in Path("/proc/self/fd").iterdir()]
    return [one for one in numbers if Path(f"/proc/self/fd/{one}").resolve() == path]


def _flags(descriptor: int) -> int:
    [line] = [
        one for one in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines() if one.startswith("flags")
    ]
    return int(line.split()[1], 8)


def spoil(store: LmdbStore, path: Path) -> None:
    """Have the last page of a commit refused: LMDB then answers nothing more, until it is opened anew."""
    with leading_to(str(path / "data.mdb"), path, meta=True), pytest.raises(StoreUnavailable):
        record(store, "p-2")
    assert view(store).unreadable == tuple(KINDS)


def test_a_full_disk_is_told_and_reads_go_on(store: LmdbStore, path: Path) -> None:
    """What finds no room is RETRY with a reason and leaves no trace; with room the same event is applied."""
    before = view(store)
    with leading_to(FULL, path):
        [outcome] = store.apply([Submission(make_purchase("p-2"))])
        assert outcome.status is Status.RETRY
        assert outcome.reason == store.check() == f"the disk of the store is full: make room at {path}"
        assert view(store) == before
    assert record(store, "p-2") is Status.APPLIED
    assert store.check() == ""
    assert len(assert_whole(store)) == 2


def test_a_disk_that_refuses_writes_is_read_on(store: LmdbStore, path: Path) -> None:
    """A write raises and leaves no trace, reads see what was there, and the same event is applied afterwards."""
    before = view(store)
    with leading_to(str(path / "data.mdb"), path):
        assert not is_recorded(store, "p-2")
        assert view(store) == before
    assert record(store, "p-2") is Status.APPLIED
    assert len(assert_whole(store)) == 2


def test_a_store_that_lmdb_gave_up_is_opened_anew(store: LmdbStore, path: Path) -> None:
    """The first write after that does it, for everything that is kept in the store."""
    before = view(store)
    spoil(store, path)
    assert "opens the store anew" in store.check()
    assert record(store, "p-3") is Status.APPLIED
    assert store.check() == ""
    assert view(store) != before
    assert record(store, "p-2") is Status.APPLIED
    assert [one.event.event_id for one in assert_whole(store)] == ["p-1", "p-3", "p-2"]
    store.papers.put("folder", "name", b"content")
    assert store.papers.get("folder", "name") == b"content"
    assert store.listings.change(0, [make_change(1, make_listing())])
    assert len(store.listings.read().entries) == 1


def test_a_full_disk_may_have_it_given_up_as_well(store: LmdbStore, path: Path) -> None:
    """A disk without room for the last page of a commit is healed from like one that refuses it."""
    with leading_to(FULL, path, meta=True):
        assert not is_recorded(store, "p-2")
    wait_until(lambda: is_recorded(store, "p-2"))
    assert len(assert_whole(store)) == 2


def test_looking_after_it_opens_it_anew_where_nothing_is_written(store: LmdbStore, path: Path) -> None:
    """A service that only scores has its sweep to heal it."""
    before = view(store)
    spoil(store, path)
    store.sweep(0.0)
    assert view(store) == before


def test_it_is_not_opened_where_it_is_gone(store: LmdbStore, path: Path) -> None:
    """A store that cannot be opened anew says so, makes none in its place, and is found once it is back."""
    spoil(store, path)
    away = path.rename(path.with_name("away"))
    with pytest.raises(StoreUnavailable, match="cannot be opened anew"):
        record(store, "p-2")
    with pytest.raises(StoreUnavailable, match="a moment ago"):
        record(store, "p-2")
    assert view(store).unreadable == tuple(KINDS)
    assert not path.exists()
    away.rename(path)
    wait_until(lambda: is_recorded(store, "p-2"))
    assert len(assert_whole(store)) == 2


def test_threads_read_and_write_while_it_is_opened_anew(store: LmdbStore, path: Path) -> None:
    """Each read finds everything or nothing, and what was acknowledged is there once."""
    over = Flag()

    def read(_: int) -> set[tuple[EntityKind, ...]]:
        seen = set()
        while not over.is_set():
            seen.add(view(store).unreadable)
        return seen

    def write(number: int) -> list[str]:
        ids = [f"w-{number}-{n}" for n in range(20)]
        for one in ids:
            wait_until(partial(is_recorded, store, one), 10.0)
        return ids

    with ThreadPoolExecutor(4) as threads:
        reads = [threads.submit(read, number) for number in range(2)]
        for turn in range(5):
            spoil(store, path)
            writes = [threads.submit(write, 2 * turn + number) for number in range(2)]
            assert [len(one.result()) for one in writes] == [20, 20]
        over.set()
        seen = set().union(*(one.result() for one in reads))
    assert seen <= {(), tuple(KINDS)}
    assert len(assert_whole(store)) == 1 + 5 * 40


def test_what_was_closed_stays_closed(store: LmdbStore, path: Path) -> None:
    """Nothing opens it anew once it was closed."""
    spoil(store, path)
    store.close()
    assert not is_recorded(store, "p-2")
    assert _descriptors(path / "data.mdb") == []
