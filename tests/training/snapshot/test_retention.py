"""Letting go of what was kept for long enough, on every store: only what a verified snapshot holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.core.event import EventKind
from service.errors import BadSetting
from service.forget import Request, forget
from service.retention import Retained, retain
from service.settings import RetentionSettings
from service.store.protocol import Store
from service.verified import mark_path
from tests.make import NOW_MS, make_event
from tests.store.listings import make_change, make_listing
from tests.store.places import Place
from tests.training.snapshot.scenes import DAY_MS, NOW, decided, holds_the_logs, logged, purchases, record, rows, take
from training.data.events import silent
from training.snapshot.delete import delete_snapshot
from training.snapshot.folder import snapshots
from training.snapshot.read import open_snapshot
from training.snapshot.verify import verify

LATER_MS = NOW_MS + 100 * DAY_MS


def run(store: Store, folder: Path | None, now_ms: int = LATER_MS, **settings: Any) -> Retained:
    """Let go of what is older than 90 days, unless the settings say otherwise."""
    values: dict[str, Any] = {"events_days": 90, "decisions_days": 90} | settings
    return retain(store, RetentionSettings(verified_snapshots=folder, **values), now_ms)


def fill(store: Store, count: int = 60) -> None:
    """Record purchases over twenty days, with decisions on every second, in the order of their ingest."""
    record(store, [_known_at_once(event) for event in purchases(count, "a", days=20)])


def _known_at_once(event: Any) -> Any:
    event.ingest_time_ms = event.event_time_ms
    return event


def verified(store: Store, folder: Path) -> None:
    """Take a snapshot in small pieces and verify it."""
    take(store, folder)
    assert not verify(folder, snapshots(folder)[-1:], silent).findings


def test_what_is_old_and_held_goes(store: Store, folder: Path) -> None:
    """Events and decisions from before the time go, all others stay, and the next snapshot goes on without a gap."""
    fill(store)
    verified(store, folder)
    record(store, [_known_at_once(event) for event in purchases(60, "b", event_time_ms=LATER_MS)])
    verified(store, folder)
    events, decisions = logged(store), decided(store)
    old = [one for one in events if one.event.ingest_time_ms < LATER_MS - 90 * DAY_MS]
    retained = run(store, folder, decisions_days=0)
    assert retained == (len(old), 0, 0, "s000002")
    assert logged(store) == events[len(old) :]
    assert decided(store) == decisions
    assert store.recorded([old[0].event.event_id]) == [None]
    record(store, purchases(5, "c"))
    taken = take(store, folder)
    assert (taken.events, taken.manifest.rows_events) == (5, 125)
    assert [row["purchase_id"] for row in rows(open_snapshot(folder, "latest"), "events")][-5:] == [
        f"order-c-{number:06d}" for number in range(5)
    ]


def test_decisions_go_by_the_time_that_they_were_made(store: Store, folder: Path) -> None:
    """Every decision that is old enough and not among the last exported goes, and can no longer be asked for."""
    fill(store)
    verified(store, folder)
    record(store, purchases(60, "b", event_time_ms=LATER_MS))
    verified(store, folder)
    decisions = decided(store)
    retained = run(store, folder, events_days=0)
    left = decided(store)
    assert retained.decisions == len(decisions) - len(left) > 0
    assert left == decisions[retained.decisions :]
    assert store.decisions(decisions[0].purchase.purchase_id) == []
    assert len(logged(store)) == 120


def test_nothing_goes_without_a_verified_snapshot(store: Store, folder: Path) -> None:
    """No folder, no snapshot, one that nobody verified, or one whose file is gone: nothing is let go of."""
    fill(store)
    with pytest.raises(BadSetting, match="verified_snapshots"):
        run(store, None)
    with pytest.raises(BadSetting, match="none of 0"):
        run(store, folder)
    take(store, folder)
    with pytest.raises(BadSetting, match="none of 1 is verified"):
        run(store, folder)
    verify(folder, ["s000001"], silent)
    next((folder / "partitions" / "events").rglob("*.parquet")).unlink()
    with pytest.raises(BadSetting, match="none of 1 is verified"):
        run(store, folder)
    assert len(logged(store)) == 60


def test_a_snapshot_that_was_found_bad_is_verified_no_more(embedded: Store, folder: Path) -> None:
    """When a later look finds a file changed, the mark goes; when a snapshot is deleted, its mark goes with it."""
    fill(embedded)
    verified(embedded, folder)
    record(embedded, purchases(60, "b", event_time_ms=LATER_MS))
    verified(embedded, folder)
    file = next((folder / "partitions" / "events").rglob("s000002*.parquet"))
    file.write_bytes(bytes(file.stat().st_size))
    assert verify(folder, snapshots(folder), silent).findings
    assert run(embedded, folder, events_days=1).snapshot == "s000001"
    delete_snapshot(folder, "s000001")
    assert [path.suffix for path in (folder / "manifests").iterdir()].count(".verified") == 0


def test_a_snapshot_of_another_store_holds_nothing(store: Store, folder: Path, tmp_path: Path) -> None:
    """A verified snapshot counts only for the store that it was taken of."""
    other = Place("lmdb", str(tmp_path / "other")).open()
    record(other, purchases(80, "z", event_time_ms=NOW_MS + 5))
    verified(other, folder)
    other.close()
    fill(store)
    with pytest.raises(BadSetting, match="is not in this store"):
        run(store, folder)
    assert len(logged(store)) == 60


@pytest.mark.parametrize("changed", ["user_id", "purchase_id", "amount_minor"])
def test_other_entries_at_the_same_times_are_told_apart(
    embedded: Store, folder: Path, tmp_path: Path, changed: str
) -> None:
    """A log that came out of an older copy and goes on otherwise is refused, whatever sets its last entries apart."""
    fill(embedded)
    verified(embedded, folder)
    events = [_known_at_once(event) for event in purchases(60, "a", days=20)]
    setattr(events[-2], changed, {"amount_minor": 7}.get(changed, "somebody-else"))
    if changed == "purchase_id":
        events[-2].event_id = "somebody-else"
    other = Place("lmdb", str(tmp_path / "other")).open()
    record(other, events)
    with pytest.raises(BadSetting, match="is not in this store"):
        run(other, folder)
    assert len(logged(other)) == 60
    other.close()
    assert run(embedded, folder).snapshot == "s000001"


def test_a_store_that_forgot_somebody_is_known_again(store: Store, folder: Path) -> None:
    """Ids that were erased, in the log and in the vault, prove nothing against it."""
    record(store, [_known_at_once(event) for event in purchases(60, "a", days=20)])
    verified(store, folder)
    forget(store, Request("person-a-3", "asked for it", "ada", (folder,)), NOW)
    assert run(store, folder).snapshot == "s000001"


def test_a_mark_without_the_last_entries_is_none(embedded: Store, folder: Path) -> None:
    """A snapshot that an earlier release verified is to be verified again."""
    fill(embedded)
    verified(embedded, folder)
    path = mark_path(folder, "s000001")
    mark = json.loads(path.read_bytes())
    path.write_text(json.dumps({name: mark[name] for name in ("content_sha256", "verified_at")}), "utf-8")
    with pytest.raises(BadSetting, match="none of 1 is verified"):
        run(embedded, folder)
    assert not verify(folder, ["s000001"], silent).findings
    assert run(embedded, folder).snapshot == "s000001"


def test_one_run_is_bounded_and_the_next_goes_on(store: Store, folder: Path) -> None:
    """A run lets go of so many at most; runs after that come to the same end as one would have."""
    fill(store, 300)
    verified(store, folder)
    record(store, purchases(60, "b", event_time_ms=LATER_MS))
    verified(store, folder)
    runs = [run(store, folder, max_entries=90, decisions_days=0).events for _ in range(5)]
    assert runs == [90, 60, 0, 0, 0]
    assert logged(store)[0].event.event_id == "order-a-000150"


def test_a_store_that_lost_its_beginning_goes_on(store: Store, folder: Path) -> None:
    """After that, events are recorded, follow-ups of what is gone are parked, and repeats of it are new events."""
    fill(store)
    verified(store, folder)
    record(store, purchases(60, "b", event_time_ms=LATER_MS))
    verified(store, folder)
    gone = logged(store)[0].event
    assert run(store, folder).events > 0
    record(store, [make_event(EventKind.FRAUD_CONFIRMED, purchase_id=gone.purchase_id)])
    assert store.parked() == 1
    page = store.events("", 10)
    assert store.events(page.cursor, 1).events == logged(store)[10:11]
    end = store.events("", 1000).cursor
    assert store.events(end, 10).cursor == end


def test_the_audit_of_the_lists_has_an_end_of_its_own(store: Store) -> None:
    """Changes of the lists go by their own setting, without snapshots; entries stay."""
    assert store.listings.change(0, [make_change(1, make_listing("c-1"), at_ms=NOW_MS)])
    assert store.listings.change(1, [make_change(2, make_listing("c-2"), at_ms=LATER_MS)])
    retained = run(store, None, events_days=0, decisions_days=0, lists_audit_days=30)
    assert retained == (0, 0, 1, "")
    assert [change.number for change in store.listings.changes(0, 10)] == [2]
    assert len(store.listings.read().entries) == 2


def test_nothing_is_let_go_of_by_default(store: Store, folder: Path) -> None:
    """With the settings as they come everything is kept for ever."""
    fill(store)
    verified(store, folder)
    assert retain(store, RetentionSettings(), LATER_MS) == (0, 0, 0, "")
    holds_the_logs(store, folder)
