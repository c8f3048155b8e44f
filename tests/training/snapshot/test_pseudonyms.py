"""What stands in the files names nobody, and leads back to people only while their key exists."""

from __future__ import annotations

import multiprocessing
import os
import re
import sqlite3
import stat
from pathlib import Path

import polars as pl
import pytest

from service.core.event import EventKind, Settlement
from service.errors import BadSetting
from service.store.protocol import Store
from service.vault import ID_KINDS, IdKind, vault_path
from tests.make import NOW_MS, make_event
from tests.training.snapshot.scenes import holds_the_logs, ids_of, logged, purchases, record, rows, take
from training.snapshot.read import open_snapshot
from training.snapshot.vault import forget, opened

PSEUDONYM = re.compile(r"[usicpe]_[0-9a-f]{32}")


def record_people(store: Store) -> None:
    """Record events of every kind, with ids that cannot stand anywhere by chance, and two that callers made up."""
    purchase = purchases(30, "q")
    named = {"user_id": "person-q-1", "seller_id": "shop-q-1", "item_id": "thing-q-1", "card_hash": "card-q-1"}
    follow_up = {"purchase_id": "order-q-000003", "event_time_ms": NOW_MS + 5}
    record(
        store,
        [
            make_event(EventKind.USER_REGISTERED, user_id=named["user_id"]),
            make_event(EventKind.SELLER_REGISTERED, seller_id=named["seller_id"]),
            make_event(EventKind.ITEM_LISTED, item_id=named["item_id"], seller_id=named["seller_id"]),
            *purchase,
            make_event(EventKind.CARD_REPORTED, card_hash=named["card_hash"]),
            make_event(EventKind.FRAUD_CONFIRMED, **follow_up),
            make_event(EventKind.FRAUD_CLEARED, **follow_up),
            make_event(EventKind.PURCHASE_SETTLED, settlement=Settlement.COMPLETED, **follow_up),
            make_event(EventKind.CARD_REPORTED, card_hash=named["card_hash"], event_id="report-of-person-q-2"),
            make_event(EventKind.FRAUD_CONFIRMED, event_id="case-of-person-q-2", **follow_up),
        ],
    )


def test_no_id_stands_in_any_file(store: Store, folder: Path) -> None:
    """No id of anything, nor an event id that holds one, is found in the files, packed or unpacked."""
    record_people(store)
    take(store, folder)
    ids = set(ids_of(entry.event for entry in logged(store)))
    assert {"case-of-person-q-2", "listed:thing-q-1"} <= ids
    files = [path for path in folder.rglob("*") if path.is_file() and path != vault_path(folder)]
    unpacked = [pl.read_parquet(path) for path in files if path.suffix == ".parquet"]
    texts = [value for frame in unpacked for value in _texts(frame)]
    content = b"\n".join([path.read_bytes() for path in files] + [text.encode() for text in texts])
    assert [id_ for id_ in ids if id_.encode() in content] == []
    told = {"", "EUR", "shadow", "user_tenure", "0123456789abcdef", "limit:a", "degraded"}
    hidden = {text for text in texts if text not in told}
    assert [text for text in hidden if not PSEUDONYM.fullmatch(text)] == []


def test_ids_are_shown_to_who_has_the_keys(store: Store, folder: Path) -> None:
    """With the vault every id is as it was; without it, or when not asked for, pseudonyms stand for them."""
    record_people(store)
    take(store, folder)
    holds_the_logs(store, folder)
    hidden = open_snapshot(folder, "latest", reveal=False)
    vault_path(folder).rename(folder / "kept-elsewhere")
    locked = open_snapshot(folder, "latest")
    assert (hidden.has_keys(), locked.has_keys()) == (False, False)
    assert rows(locked, "events") == rows(hidden, "events")
    assert all(PSEUDONYM.fullmatch(row["user_id"]) for row in rows(locked, "decisions"))


def test_derived_event_ids_follow_the_pseudonym(embedded: Store, folder: Path) -> None:
    """A reader without keys still sees which purchase a confirmation is about, and event ids that are distinct."""
    record_people(embedded)
    take(embedded, folder)
    events = pl.concat(open_snapshot(folder, "latest", reveal=False).events())
    assert events["event_id"].n_unique() == events.height
    confirmed = events.filter(kind=int(EventKind.FRAUD_CONFIRMED)).row(0, named=True)
    assert confirmed["event_id"] == f"fraud:{confirmed['purchase_id']}"
    assert confirmed["purchase_id"] in events.filter(kind=int(EventKind.PURCHASE))["event_id"].to_list()


def test_the_same_id_has_the_same_pseudonym(store: Store, folder: Path) -> None:
    """An id keeps its pseudonym over all snapshots of a folder; the same text of another kind has another."""
    record(store, purchases(7, "a", user_id="x", card_hash="x"))
    take(store, folder)
    record(store, purchases(7, "b", user_id="x", card_hash="x"))
    take(store, folder)
    frame = pl.concat(open_snapshot(folder, "latest", reveal=False).events(["user_id", "card_hash"]))
    assert frame.unique().height == 1
    assert frame["user_id"].item(0) != frame["card_hash"].item(0)


def test_forgetting_is_for_ever(store: Store, folder: Path) -> None:
    """When a person's row is destroyed their pseudonym stays in all snapshots, and leads nowhere."""
    record(store, purchases(14, "a"))
    take(store, folder)
    before = pl.concat(open_snapshot(folder, "latest", reveal=False).events(["user_id"]))
    assert (forget(folder, "user", "person-a-3"), forget(folder, "user", "person-a-3")) == (1, 0)
    shown = pl.concat(open_snapshot(folder, "latest").events(["user_id", "seller_id"]))
    assert shown["user_id"].to_list() == [
        pseudonym if number % 7 == 3 else f"person-a-{number % 7}" for number, pseudonym in enumerate(before["user_id"])
    ]
    assert b"person-a-3" not in vault_path(folder).read_bytes()
    assert b"person-a-4" in vault_path(folder).read_bytes()


def test_who_comes_back_is_somebody_else(store: Store, folder: Path) -> None:
    """An id that is exported again after it was forgotten gets another pseudonym."""
    record(store, purchases(1, "a", user_id="x"))
    take(store, folder)
    forget(folder, "user", "x")
    record(store, purchases(1, "b", user_id="x"))
    take(store, folder)
    shown = pl.concat(open_snapshot(folder, "latest").events(["user_id"]))
    assert PSEUDONYM.fullmatch(shown["user_id"].item(0))
    assert shown["user_id"].item(1) == "x"


def test_the_files_are_their_owners_alone(embedded: Store, folder: Path) -> None:
    """Nobody but their owner may read or enter anything of a folder of snapshots."""
    record(embedded, purchases(10, "a"))
    take(embedded, folder)
    everything = [folder, *folder.rglob("*")]
    assert [path for path in everything if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


@pytest.mark.parametrize("kind", ID_KINDS)
def test_a_vault_gives_back_what_it_took(tmp_path: Path, kind: IdKind) -> None:
    """Every id leads to its pseudonym and back, whatever it is made of; what was not kept is lost."""
    ids = pl.Series([f"{kind}:{number}@/+=" for number in range(1000)], dtype=pl.String)
    path = tmp_path / "vault.sqlite"
    with opened(path, writing=True) as vault:
        hidden = vault.hide(kind, ids)
        vault.keep()
        vault.hide(kind, pl.Series(["lost"]))
    with opened(path) as vault:
        assert vault.reveal(hidden["pseudonym"]).sort("id").equals(hidden.sort("id"))
        assert vault.hide(kind, ids).sort("id").equals(hidden.sort("id"))
    with opened(path, writing=True) as vault:
        assert vault.forget(kind, "lost") == 0


def test_another_vault_reveals_nothing(tmp_path: Path) -> None:
    """The numbers in pseudonyms of another vault are met by rows here, and still name nobody."""
    with opened(tmp_path / "a", writing=True) as vault:
        strange = vault.hide("user", pl.Series(["ann", "ben"]))
        vault.keep()
    with opened(tmp_path / "b", writing=True) as vault:
        vault.hide("user", pl.Series(["cat", "dan"]))
        vault.keep()
        assert set(vault.reveal(strange["pseudonym"])["pseudonym"]).isdisjoint(strange["pseudonym"])


def test_a_vault_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file that is no vault is named in one sentence."""
    (tmp_path / "vault.sqlite").write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(BadSetting, match=r"vault .*vault\.sqlite: "), opened(tmp_path / "vault.sqlite", writing=True):
        pass


def test_a_writer_that_died_is_no_hindrance(tmp_path: Path) -> None:
    """A vault whose writer was killed in the middle is read at once, as it was before."""
    path = tmp_path / "vault.sqlite"
    with opened(path, writing=True) as vault:
        hidden = vault.hide("user", pl.Series(["ann"]))
        vault.keep()
    died = multiprocessing.get_context("spawn").Process(target=die_writing, args=(path,))
    died.start()
    died.join()
    assert (died.exitcode, Path(f"{path}-journal").exists()) == (9, True)
    with opened(path) as vault:
        assert vault.reveal(hidden["pseudonym"])["id"].to_list() == ["ann"]


def die_writing(path: Path) -> None:
    """Leave a vault in the middle of a transaction that has reached the disk."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA cache_size = 2", "PRAGMA cache_spill = 2", "BEGIN"):
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO pseudonym (kind, id, tail) VALUES (1, ?, 'x')", ((str(n),) for n in range(9999))
    )
    os._exit(9)


def _texts(frame: pl.DataFrame) -> list[str]:
    flat = [frame.get_column(name) for name, dtype in frame.schema.items() if dtype == pl.String]
    lists = [frame.get_column(name).explode() for name, dtype in frame.schema.items() if dtype == pl.List(pl.String)]
    return [value for column in (*flat, *lists) for value in column.drop_nulls().to_list()]
