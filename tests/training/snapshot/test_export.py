"""Snapshots hold what the store's logs hold, on every store, and cost no more than what is new."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from service.core.event import EventKind
from service.errors import BadSetting
from service.store.protocol import Store, Submission
from tests.make import NOW_MS, make_event
from tests.store.conftest import Bench
from tests.store.decisions import make_decision
from tests.store.home import Home
from tests.store.places import Place
from tests.training.snapshot.scenes import (
    DAY_MS,
    LAYOUT,
    holds_the_logs,
    logged,
    purchases,
    record,
    rows,
    stream,
    take,
)
from training.data.events import silent
from training.snapshot.folder import read_manifest, snapshots
from training.snapshot.log import decision_log
from training.snapshot.manifest import LogMark
from training.snapshot.read import open_snapshot
from training.snapshot.verify import verify


def test_it_holds_both_logs(store: Store, folder: Path) -> None:
    """Every value of every entry of both logs is there, in the order of the log, whatever day it belongs to."""
    record(store, stream(1, 400))
    taken = take(store, folder)
    assert (taken.made, taken.events) == (True, len(logged(store)))
    holds_the_logs(store, folder)
    assert verify(folder, [taken.manifest.id], silent).findings == ()


def test_the_next_one_adds_what_is_new(store: Store, folder: Path) -> None:
    """A snapshot is its parent's partitions and what came since; the parent stays as it was."""
    record(store, stream(1, 150, "a"))
    first = take(store, folder).manifest
    before = rows(open_snapshot(folder, first.id), "events")
    record(store, stream(2, 150, "b"))
    second = take(store, folder).manifest
    assert (second.parent, second.partitions[: len(first.partitions)]) == (first.id, first.partitions)
    holds_the_logs(store, folder)
    assert rows(open_snapshot(folder, first.id), "events") == before


def test_nothing_new_costs_nothing(store: Store, folder: Path) -> None:
    """When nothing was recorded since, there is no new snapshot and not a byte is written."""
    record(store, purchases(40, "a"))
    first = take(store, folder)
    before = _files(folder)
    again = take(store, folder)
    assert (again.made, again.manifest, again.new_bytes) == (False, first.manifest, 0)
    assert _files(folder) == before


def test_an_unchanged_day_costs_nothing(store: Store, folder: Path) -> None:
    """A new snapshot adds files for the days that got something; every other file is its parent's, untouched."""
    record(store, purchases(40, "a", days=4))
    first = take(store, folder).manifest
    before = {one.path: (folder / one.path).stat().st_mtime_ns for one in first.partitions}
    record(store, purchases(10, "b"))
    second = take(store, folder)
    added = set(second.manifest.partitions) - set(first.partitions)
    assert {one.day for one in added} == {"2026-07-14"}
    assert second.new_bytes == sum(one.bytes for one in added)
    assert {path: (folder / path).stat().st_mtime_ns for path in before} == before


def test_a_late_commit_of_an_earlier_day_is_a_further_file_of_it(store: Store, folder: Path) -> None:
    """What becomes known today but belongs to a day that was exported is not lost: that day has one file more."""
    record(store, purchases(5, "a", days=2))
    take(store, folder)
    record(store, [make_event(EventKind.USER_REGISTERED, user_id="person-late", event_time_ms=NOW_MS)])
    taken = take(store, folder)
    days = [one.day for one in taken.manifest.partitions if one.kind == "events"]
    assert days.count("2026-07-14") == 2
    holds_the_logs(store, folder)


def test_an_empty_store_gives_an_empty_snapshot(store: Store, folder: Path) -> None:
    """The first snapshot of a store without events is there and holds nothing; the second goes on from it."""
    assert (take(store, folder).made, take(store, folder).made) == (True, False)
    record(store, purchases(3, "a"))
    assert take(store, folder).manifest.parent == "s000001"
    holds_the_logs(store, folder)


def test_it_names_the_columns_of_rows(store: Store, folder: Path) -> None:
    """The manifest holds the names of each row layout that a decision in it has, and keeps those of its parent."""
    store.put_row_layout(LAYOUT, ["user_tenure", "card_report_rate"])
    store.put_row_layout("fedcba9876543210", ["user_tenure"])
    store.put_decisions([make_decision()])
    assert take(store, folder).manifest.layouts == {LAYOUT: ("user_tenure", "card_report_rate")}
    store.put_decisions([make_decision("p-2", row_layout="fedcba9876543210")])
    assert set(take(store, folder).manifest.layouts) == {LAYOUT, "fedcba9876543210"}


def test_a_purchase_that_was_decided_twice_has_two_rows(store: Store, folder: Path) -> None:
    """Each entry of the decision log is a row of its own."""
    store.put_decisions([make_decision(decided_at_ms=NOW_MS), make_decision(decided_at_ms=NOW_MS + DAY_MS)])
    take(store, folder)
    assert [row["decided_at_ms"] for row in rows(open_snapshot(folder, "latest"), "decisions")] == [
        NOW_MS,
        NOW_MS + DAY_MS,
    ]


def test_nothing_is_missed_while_writers_write(bench: Bench, folder: Path) -> None:
    """Snapshots taken while four writers commit hold, in the end, every event once and in the order of the log."""
    store, stopped = bench.open(), threading.Event()
    writers = [threading.Thread(target=_write_until, args=(store, f"w{number}", stopped)) for number in range(4)]
    for writer in writers:
        writer.start()
    for _ in range(3):
        take(store, folder, chunk_events=500, chunk_decisions=500)
    stopped.set()
    for writer in writers:
        writer.join()
    take(store, folder)
    assert len(snapshots(folder)) > 1
    holds_the_logs(store, folder)
    assert verify(folder, snapshots(folder), silent).findings == ()


def test_decisions_never_name_a_revision_that_is_not_there(embedded: Store, folder: Path) -> None:
    """Decisions are read before events, so the events hold every revision that a decision of the snapshot read."""
    stopped = threading.Event()
    taker = threading.Thread(target=_take_until, args=(embedded, folder, stopped))
    taker.start()
    for event in purchases(150, "a", user_id="person"):
        revisions = embedded.apply([Submission(event)])[0].revisions
        embedded.put_decisions([make_decision(purchase=event, revisions=revisions)])
    stopped.set()
    taker.join()
    for id_ in snapshots(folder):
        snapshot = open_snapshot(folder, id_)
        got = max((row["user_revision"] for row in rows(snapshot, "events")), default=0)
        assert all(row["user_revision"] <= got for row in rows(snapshot, "decisions"))


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 1003, 3500])
def test_it_goes_as_far_as_the_log_went(embedded: Store, count: int) -> None:
    """The end of a log is found from its beginning and from its middle, to the entry."""
    embedded.put_decisions([make_decision()] * count)
    log = decision_log(embedded, 1)
    for place in {0, count // 2, count}:
        assert log.end(LogMark(cursor=str(place) if place else "")) == count


def test_another_store_is_refused(bench: Bench, folder: Path, tmp_path: Path) -> None:
    """A folder goes on from the log that it began with: that of another store is told apart, both ways round."""
    store = bench.open()
    record(store, purchases(30, "a"))
    take(store, folder)
    for count in (10, 60):
        other = Place("lmdb", str(tmp_path / f"other-{count}")).open()
        record(other, purchases(count, "b", event_time_ms=NOW_MS + 7))
        with pytest.raises(BadSetting, match="is not the one that the last snapshot was taken of"):
            take(other, folder)
        other.close()
    assert snapshots(folder) == ["s000001"]


def test_what_came_to_the_end_of_its_life_is_counted(aerospike_host: str, folder: Path) -> None:
    """Events whose life ended before they were exported are missing from the snapshot, and it says how many."""
    home = Home(aerospike_host)
    store = home.open(event_ttl_s=1)
    record(store, purchases(20, "a"))
    time.sleep(2.5)
    lasting = home.open()
    record(lasting, purchases(5, "b"))
    manifest = take(lasting, folder).manifest
    assert (manifest.rows_events, manifest.events.gone) == (5, 20)
    home.close()


def test_the_manifest_says_how_new_it_is(embedded: Store, folder: Path) -> None:
    """The newest ingest time is that of all events, in whatever order they stand."""
    record(embedded, purchases(3, "a", ingest_time_ms=NOW_MS + 9 * DAY_MS))
    take(embedded, folder)
    record(embedded, purchases(3, "b"))
    take(embedded, folder)
    assert read_manifest(folder, "latest").newest_ingest_ms == NOW_MS + 9 * DAY_MS


def _write_until(store: Store, name: str, stopped: threading.Event) -> None:
    """Record little streams with pauses, so that whoever reads the log gets to its end now and then."""
    number = 0
    while not stopped.wait(0.05):
        number += 1
        record(store, stream(number, 30, f"{name}-{number}"))


def _take_until(store: Store, folder: Path, stopped: threading.Event) -> None:
    while not stopped.is_set():
        take(store, folder)


def _files(folder: Path) -> dict[str, int]:
    return {
        path.as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name[0] != "."
    }
