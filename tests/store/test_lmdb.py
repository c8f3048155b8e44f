"""What is the embedded store's own: its size, its processes, its directory."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag

import lmdb
import pytest

from service.core.event import KINDS, EntityKey, EntityKind
from service.core.profile import EMPTY
from service.errors import BadSetting, StoreUnavailable
from service.settings import LmdbSettings
from service.store.lmdb import LmdbStore
from service.store.lmdb_tables import FORMAT, FORMAT_KEY, Tables, encode_image, profile_key, put_number
from service.store.protocol import Status, Submission, View
from tests.make import make_event, make_purchase
from tests.store.oracle import assert_whole, whole_log
from tests.store.places import Place
from tests.store.writer import Errand, run

MEBIBYTE = 1 << 20
USER = EntityKey(EntityKind.USER, "u-1")

_processes = multiprocessing.get_context("spawn")


def open_store(path: Path, max_size_bytes: int = 1 << 30) -> LmdbStore:
    """Open a store of a size."""
    return LmdbStore(LmdbSettings(path=path, max_size_bytes=max_size_bytes), "attempts", 1000)


def fill(path: Path, events: int) -> None:
    """Let another process, which may use far more bytes, write purchases of many users."""
    purchases = [make_purchase(f"other-{number}", user_id=f"other-{number}") for number in range(events)]
    batches = [purchases[at : at + 100] for at in range(0, events, 100)]
    errand = Errand(Place("lmdb", str(path)), batches, path / "journal", retries=True)
    process = _processes.Process(target=run, args=(errand,))
    process.start()
    process.join()
    assert process.exitcode == 0


def is_refused(call: Callable[[], object]) -> bool:
    """Tell whether a call raises StoreUnavailable."""
    try:
        call()
    except StoreUnavailable:
        return True
    return False


def test_a_full_store_says_which_setting_to_raise(tmp_path: Path) -> None:
    """What finds no room is RETRY and leaves no trace; with more room the same events are applied."""
    submissions = [Submission(make_purchase(f"p-{number}", user_id=f"u-{number}")) for number in range(2000)]
    store = open_store(tmp_path, MEBIBYTE)
    statuses = []
    for at in range(0, 2000, 50):
        outcomes = store.apply(submissions[at : at + 50])
        statuses += [outcome.status for outcome in outcomes]
        if outcomes[0].status is Status.RETRY:
            break
    assert set(statuses) == {Status.APPLIED, Status.RETRY}
    assert all("store.lmdb.max_size_bytes" in outcome.reason for outcome in outcomes)
    assert "store.lmdb.max_size_bytes" in store.check()
    assert len(assert_whole(store)) == statuses.count(Status.APPLIED)
    store.close()
    store = open_store(tmp_path, 64 * MEBIBYTE)
    assert store.check() == ""
    again = [outcome.status for outcome in store.apply(submissions)]
    assert again.count(Status.DUPLICATE) == statuses.count(Status.APPLIED)
    assert again.count(Status.APPLIED) == 2000 - statuses.count(Status.APPLIED)
    assert len(assert_whole(store)) == 2000
    store.close()


def test_a_store_follows_when_another_process_makes_it_larger(tmp_path: Path) -> None:
    """A process that may use less reads and writes on, while its threads read all the time."""
    store = open_store(tmp_path, MEBIBYTE)
    store.apply([Submission(make_purchase("p-1"))])
    mine = store.profile(USER)
    grown = Flag()

    def read(_: int) -> set[View]:
        views = set()
        while not grown.is_set():
            [view] = store.read([make_purchase("p-2", seller_id="", item_id="", card_hash="")], 1.0)
            views.add(view)
            time.sleep(0.001)
        return views

    with ThreadPoolExecutor(4) as threads:
        reading = [threads.submit(read, number) for number in range(4)]
        fill(tmp_path, 2000)
        assert (tmp_path / "data.mdb").stat().st_size > MEBIBYTE
        [outcome] = store.apply([Submission(make_purchase("p-3", user_id="u-3"))])
        grown.set()
        views = set().union(*(one.result() for one in reading))
    assert outcome.status is Status.APPLIED
    right = View((mine, None, None, None), (), None)
    unread = View((None, None, None, None), (EntityKind.USER,), None)
    assert right in views
    assert views <= {right, unread}
    assert len(assert_whole(store)) == 2002
    store.close()


def test_two_processes_have_one_order(tmp_path: Path) -> None:
    """What another process committed is read at once, and the log goes on behind it."""
    store = open_store(tmp_path)
    store.apply([Submission(make_purchase("p-1"))])
    fill(tmp_path, 200)
    store.apply([Submission(make_event(user_id="other-7", purchase_id="p-2"))])
    log = whole_log(store)
    assert [one.event.event_id for one in (log[0], log[-1])] == ["p-1", "p-2"]
    assert log[-1].revisions[0] == (EntityKey(EntityKind.USER, "other-7"), 2)
    store.close()


def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    """A store that was opened before a fork answers nothing in the child, and the parent's goes on."""
    store = open_store(tmp_path)
    store.apply([Submission(make_purchase())])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        calls = (store.parked, lambda: store.profile(USER), lambda: store.apply([Submission(make_purchase("p-2"))]))
        refused = [is_refused(call) for call in calls]
        [view] = store.read([make_purchase()], 1.0)
        store.close()
        os.write(writer, b"refused" if all(refused) and len(view.unreadable) == 4 and store.check() else b"served")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"refused"
    os.close(reader)
    os.close(writer)
    assert store.apply([Submission(make_purchase("p-2"))])[0].status is Status.APPLIED
    store.close()


@pytest.mark.parametrize("kind", ["file", "no database", "no permission", "open already"])
def test_an_unusable_directory_is_a_bad_setting(tmp_path: Path, kind: str) -> None:
    """One sentence names the setting and the path."""
    path = tmp_path / "store"
    opened = None
    if kind == "file":
        path.write_text("not a directory")
    elif kind == "no database":
        path.mkdir()
        (path / "data.mdb").write_bytes(b"\x01" * 8192)
    elif kind == "no permission":
        path = Path("/proc/store")
    else:
        opened = open_store(path)
    with pytest.raises(BadSetting, match=f"store.lmdb.path: {path} cannot be used"):
        open_store(path)
    if opened is not None:
        opened.close()


def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A release that does not know the format neither reads nor changes it."""
    open_store(tmp_path).close()
    with lmdb.open(str(tmp_path), max_dbs=Tables.COUNT) as environment, environment.begin(write=True) as transaction:
        put_number(transaction, Tables(environment, transaction), FORMAT_KEY, FORMAT + 1)
    with pytest.raises(BadSetting, match=f"format is {FORMAT + 1}"):
        open_store(tmp_path)


def test_a_profile_of_a_newer_layout_is_unreadable(tmp_path: Path) -> None:
    """It is flagged in a view, and what touches it waits alone, as after a release was taken back."""
    open_store(tmp_path).close()
    image = (1_000_000, *EMPTY[EntityKind.USER][1:])
    with lmdb.open(str(tmp_path), max_dbs=Tables.COUNT) as environment, environment.begin(write=True) as transaction:
        key = profile_key(EntityKind.USER, "u-1")
        transaction.put(key, encode_image(image), db=Tables(environment, transaction).profiles)
    store = open_store(tmp_path)
    bad, good = store.read([make_purchase(), make_purchase("p-2", user_id="u-2")], 1.0)
    assert bad == View((None, None, None, None), tuple(KINDS), None)
    assert good.unreadable == ()
    with pytest.raises(StoreUnavailable, match="layout"):
        store.profile(USER)
    waits, applied = store.apply([Submission(make_purchase()), Submission(make_purchase("p-2", user_id="u-2"))])
    assert (waits.status, applied.status) == (Status.RETRY, Status.APPLIED)
    assert "layout" in waits.reason
    assert applied.revisions == tuple((key, 1) for key in make_purchase("p-2", user_id="u-2").keys())
    assert len(assert_whole(store)) == 1
    store.close()
