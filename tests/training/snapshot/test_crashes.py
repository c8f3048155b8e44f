"""An export that is interrupted, anywhere and however often, ends as one that was not."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadSetting, StoreUnavailable
from service.store.protocol import EventPage, Store
from tests.store.places import Place
from tests.training.snapshot import exporter
from tests.training.snapshot.scenes import holds_the_logs, purchases, record, stream, take
from training.data.events import silent
from training.snapshot.delete import delete_snapshot
from training.snapshot.folder import read_checkpoint, read_manifest, snapshots
from training.snapshot.verify import verify

KILLS = 6
MAX_LIFE_S = 0.6


class LostStore:
    """A store that is lost after so many pages of its event log."""

    def __init__(self, store: Store, pages: int) -> None:
        """Answer as `store` does, until then."""
        self._store = store
        self._pages = pages

    def __getattr__(self, name: str) -> Any:
        """Pass everything else on."""
        return getattr(self._store, name)

    def events(self, cursor: str, limit: int) -> EventPage:
        """Return a page, or be lost; single entries, by which the end of the log is found, do not count."""
        self._pages -= limit > 1
        if self._pages < 0:
            raise StoreUnavailable("lost")
        return self._store.events(cursor, limit)


def test_a_killed_export_goes_on(tmp_path: Path, folder: Path) -> None:
    """Killed at random moments it lists nothing that is not whole, and the next run ends as if nothing had been."""
    place = Place("lmdb", str(tmp_path / "store"))
    store = place.open()
    record(store, [*stream(3, 400), *purchases(400, "a", days=3)])
    store.close()
    context = multiprocessing.get_context("spawn")
    randomly = random.Random(5)
    killed = 0
    for _ in range(KILLS):
        process = context.Process(target=exporter.run, args=(place, folder))
        process.start()
        while process.is_alive() and not (folder / "partitions").exists():
            time.sleep(0.01)
        process.join(randomly.uniform(0, MAX_LIFE_S))
        killed += process.is_alive()
        process.kill()
        process.join()
        assert verify(folder, snapshots(folder), silent).findings == ()
    assert killed > 0
    store = place.open()
    take(store, folder)
    holds_the_logs(store, folder)
    assert verify(folder, snapshots(folder), silent).findings == ()
    assert _partitions(folder) == _listed(folder)
    store.close()


def test_an_export_is_whole_after_every_step(tmp_path: Path, folder: Path) -> None:
    """Interrupted before any one of its changes to files, it lists nothing half-done and the next run ends it."""
    place = Place("lmdb", str(tmp_path / "store"))
    process = multiprocessing.get_context("spawn").Process(target=exporter.run_to_every_step, args=(place, folder))
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("pages", range(5))
def test_a_lost_store_costs_one_chunk(embedded: Store, folder: Path, pages: int) -> None:
    """When the store is lost after any page, nothing is listed, and what was checkpointed is not read again."""
    record(embedded, purchases(300, "a", days=5))
    lost: Any = LostStore(embedded, pages)
    with pytest.raises(StoreUnavailable):
        take(lost, folder)
    assert snapshots(folder) == []
    checkpoint = read_checkpoint(folder)
    rows = checkpoint.rows_events if checkpoint else 0
    kept = {one.path: (folder / one.path).stat().st_mtime_ns for one in (checkpoint.partitions if checkpoint else ())}
    assert rows == 64 * pages
    take(embedded, folder)
    assert {path: (folder / path).stat().st_mtime_ns for path in kept} == kept
    holds_the_logs(embedded, folder)


def test_what_a_crash_left_is_removed(embedded: Store, folder: Path) -> None:
    """Files that no snapshot and no checkpoint lists are gone after the next run; those of others are not touched."""
    record(embedded, purchases(20, "a"))
    take(embedded, folder)
    day = folder / "partitions" / "events" / "2026-07-14"
    for name in ("s000002-000002.parquet", "notes.txt"):
        (day / name).write_bytes(b"half")
    take(embedded, folder)
    assert sorted(path.name for path in day.iterdir()) == ["notes.txt", "s000001-000001.parquet"]


def test_a_checkpoint_of_another_parent_is_not_gone_on_from(embedded: Store, folder: Path) -> None:
    """An export that was interrupted before its parent was deleted begins anew."""
    record(embedded, purchases(100, "a"))
    take(embedded, folder)
    record(embedded, purchases(200, "b"))
    lost: Any = LostStore(embedded, 4)
    with pytest.raises(StoreUnavailable):
        take(lost, folder)
    assert read_checkpoint(folder) is not None
    delete_snapshot(folder, "s000001")
    manifest = take(embedded, folder).manifest
    assert (manifest.id, manifest.parent) == ("s000002", None)
    holds_the_logs(embedded, folder)
    assert _partitions(folder) == _listed(folder)


def test_two_at_once_are_refused(embedded: Store, folder: Path) -> None:
    """While one export runs, another says that it does, and changes nothing."""
    record(embedded, purchases(20, "a"))
    met: list[str] = []

    def meet(_what: str, _done: int, _total: int) -> None:
        with pytest.raises(BadSetting, match="another process") as refused:
            take(embedded, folder)
        met.append(str(refused.value))

    take(embedded, folder, meet)
    assert met
    assert snapshots(folder) == ["s000001"]


def _partitions(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob("partitions/*/*/*")}


def _listed(folder: Path) -> set[str]:
    return {one.path for id_ in snapshots(folder) for one in read_manifest(folder, id_).partitions}
