"""Forgetting a person of whom snapshots tell: the chain of snapshots goes on, and leads to nobody."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from service.core.event import EventKind, Settlement
from service.core.features import FEATURES
from service.errors import BadSetting
from service.forget import Request, forget
from service.receipts import Receipt
from service.store.protocol import Entry, Store
from service.vault import vault_path
from tests.make import NOW_MS, make_event, make_purchase
from tests.store.conftest import Bench
from tests.training.snapshot.scenes import holds_the_logs, logged, purchases, record, rows, take
from training.data.events import silent
from training.replay.by_entity import Spread, replay_snapshot
from training.replay.cluster import LocalThreads
from training.snapshot.folder import sole_export
from training.snapshot.read import open_snapshot
from training.snapshot.restore import restore
from training.snapshot.verify import verify

WORDS = ("person-a-3", "order-a-000003", "order-own", "card-own", "ticket-9")


def run(store: Store, *folders: Path) -> Receipt:
    """Forget a person."""
    return forget(store, Request("person-a-3", "asked for it", "ada", folders), datetime(2026, 7, 30, tzinfo=UTC))


def record_people(store: Store) -> None:
    """Record purchases of several people who share cards; the person has one that nobody else has."""
    record(store, [*purchases(28, "a"), make_purchase("order-own", user_id="person-a-3", card_hash="card-own")])


def record_more(store: Store) -> None:
    """Record what follows on purchases that a snapshot holds, and one event with an id of its own."""
    named = {"purchase_id": "order-a-000003", "event_time_ms": NOW_MS + 7}
    record(
        store,
        [
            make_event(EventKind.FRAUD_CONFIRMED, **named),
            make_event(EventKind.PURCHASE_SETTLED, settlement=Settlement.REFUNDED, event_id="ticket-9", **named),
            *purchases(14, "b"),
        ],
    )


def test_snapshots_go_on_after_somebody_is_forgotten(store: Store, folder: Path) -> None:
    """What was exported before and what is exported after name the same nobody, exactly as the store does."""
    record_people(store)
    take(store, folder)
    hidden = [row["user_id"] for row in rows(open_snapshot(folder, "latest", reveal=False), "events")]
    record_more(store)
    receipt = run(store, folder)
    assert receipt.pseudonyms == {str(folder): 7}
    taken = take(store, folder)
    snapshot = open_snapshot(folder, "latest", reveal=False)
    assert [row["user_id"] for row in rows(snapshot, "events")][: len(hidden)] == hidden
    followed = [row for row in rows(snapshot, "events") if row["kind"] == int(EventKind.FRAUD_CONFIRMED)]
    bought = {row["purchase_id"] for row in rows(snapshot, "events") if row["kind"] == int(EventKind.PURCHASE)}
    assert [row["purchase_id"] in bought for row in followed] == [True]
    shown = rows(open_snapshot(folder, "latest"), "events")
    assert [row["event_id"] for row in shown] == [one.event.event_id for one in logged(store)]
    assert not verify(folder, [taken.manifest.id], silent).findings


def test_every_row_is_replayed_as_it_was_served(embedded: Store, folder: Path, tmp_path: Path) -> None:
    """Replay of what is exported after that gives the rows of all purchases, of the person's too, bit for bit."""
    record_people(embedded)
    take(embedded, folder)
    record_more(embedded)
    take(embedded, tmp_path / "before")
    run(embedded, folder)
    take(embedded, folder)
    take(embedded, tmp_path / "afresh")
    spread = Spread(LocalThreads(), 3)
    before, after, afresh = (
        replay_snapshot(open_snapshot(one, "latest"), FEATURES, spread)
        for one in (tmp_path / "before", folder, tmp_path / "afresh")
    )
    assert all(one.sound.all() for one in (before, after, afresh))
    assert before.rows.matrix.tobytes() == after.rows.matrix.tobytes() == afresh.rows.matrix.tobytes()


def test_no_id_of_the_person_stands_in_any_file(store: Store, folder: Path) -> None:
    """Neither the vault nor what it reveals says who it was; others are there as before."""
    record_people(store)
    record_more(store)
    take(store, folder)
    run(store, folder)
    content = vault_path(folder).read_bytes()
    assert [word for word in WORDS if word.encode() in content] == []
    assert b"person-a-4" in content
    shown = pl.concat(open_snapshot(folder, "latest").events())
    assert [word for word in WORDS if word in str(shown.to_dicts())] == []


def test_what_only_snapshots_still_know_is_forgotten_too(store: Store, folder: Path) -> None:
    """Purchases that retention took out of the store lead nowhere either, by what the vault noted of them."""
    record_people(store)
    record_more(store)
    take(store, folder)
    page = store.events("", 1000)
    store.drop_events([Entry(place, one.event.event_id) for place, one in zip(page.places, page.events, strict=True)])
    run(store, folder)
    content = vault_path(folder).read_bytes()
    assert [word for word in WORDS if word.encode() in content] == ["card-own"]
    assert b"order-a-000004" in content


def test_a_vault_of_an_earlier_release_goes_on(store: Store, folder: Path) -> None:
    """A vault that does not say whose a purchase is learns it of what is exported from then on."""
    record_people(store)
    take(store, folder)
    with closing(sqlite3.connect(vault_path(folder))) as connection:
        connection.execute("ALTER TABLE pseudonym DROP COLUMN owner")
    record_more(store)
    take(store, folder)
    run(store, folder)
    holds_the_logs_of_events(store, folder)


def test_a_store_is_restored_without_the_person(bench: Bench, folder: Path, tmp_path: Path) -> None:
    """A snapshot from before makes a store that has the same nobody in the place of the person."""
    store = bench.open()
    record_people(store)
    take(store, folder)
    run(store, folder)
    there = [(one.event, one.revisions) for one in logged(store)]
    fresh = bench.place._replace(where=str(tmp_path / "fresh")) if bench.place.kind == "lmdb" else None
    if fresh is None:
        fresh = bench.place._replace(set_prefix=f"{bench.place.set_prefix}r-")
    target = fresh.open()
    try:
        restore(open_snapshot(folder, "latest"), target, silent)
        assert [(one.event, one.revisions) for one in logged(target)] == there
    finally:
        target.close()


def test_a_copy_from_before_brings_nobody_back(bench: Bench, embedded: Store, folder: Path) -> None:
    """Events newer than a copy are restored into it, but not when somebody was forgotten since it was made."""
    record_people(embedded)
    take(embedded, folder)
    copied = [*logged(embedded)]
    record_more(embedded)
    take(embedded, folder)
    copy = bench.place._replace(where=f"{bench.place.where}-copy", set_prefix=f"{bench.place.set_prefix}c-")
    if copy.kind == "aerospike":
        copy = copy._replace(where=bench.place.where)
    target = copy.open()
    try:
        target.restore(copied)
        restore(open_snapshot(folder, "latest"), target, silent)
        assert [one.event for one in logged(target)] == [one.event for one in logged(embedded)]
        run(embedded, folder)
        with pytest.raises(BadSetting, match="before somebody was forgotten"):
            restore(open_snapshot(folder, "latest"), target, silent)
        assert len(logged(target)) == len(logged(embedded))
    finally:
        target.close()


def test_who_comes_back_is_somebody_else(store: Store, folder: Path) -> None:
    """What the same id does later is exported under another pseudonym."""
    record(store, purchases(7, "a"))
    take(store, folder)
    run(store, folder)
    record(store, [make_purchase("order-new", user_id="person-a-3")])
    take(store, folder)
    hidden = [row["user_id"] for row in rows(open_snapshot(folder, "latest", reveal=False), "events")]
    assert hidden[-1] != hidden[3]
    holds_the_logs_of_events(store, folder)


def holds_the_logs_of_events(store: Store, folder: Path) -> None:
    """Assert that a snapshot shows the ids of the log."""
    shown = rows(open_snapshot(folder, "latest"), "events")
    assert [row["event_id"] for row in shown] == [one.event.event_id for one in logged(store)]


def test_nobody_is_forgotten_during_an_export(embedded: Store, folder: Path) -> None:
    """While somebody exports, forgetting is refused before it begins: the export would tell of the person again."""
    record(embedded, purchases(7, "a"))
    take(embedded, folder)
    with sole_export(folder), pytest.raises(BadSetting, match="another process"):
        run(embedded, folder)
    assert "person-a-3" in {one.event.user_id for one in logged(embedded)}
    holds_the_logs(embedded, folder)


def test_a_folder_without_a_vault_is_refused(embedded: Store, tmp_path: Path) -> None:
    """A wrong folder is told before anything is erased."""
    record(embedded, purchases(7, "a"))
    with pytest.raises(BadSetting, match="no vault"):
        run(embedded, tmp_path)
    assert "person-a-3" in {one.event.user_id for one in logged(embedded)}
