"""A snapshot as an event file is taken by everything that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from service.core.event import EventKind
from service.core.features import FEATURES
from service.store.protocol import Store
from tests.make import NOW_MS, make_event
from tests.training.snapshot.scenes import logged, purchases, record, stream, take
from training.data.events import batches, scan, silent
from training.replay.rows_file import write_rows
from training.snapshot.event_file import write_event_file
from training.snapshot.read import open_snapshot


def test_it_holds_the_events_as_they_were(store: Store, folder: Path, tmp_path: Path) -> None:
    """Every event of the log stands there, in its order, with its ids and nothing added."""
    record(store, stream(4, 300))
    take(store, folder)
    file = write_event_file(open_snapshot(folder, "latest"), tmp_path / "events.parquet", silent)
    assert [event for batch in batches(file.path) for event in batch] == [entry.event for entry in logged(store)]


def test_labels_are_what_was_said_last(embedded: Store, folder: Path, tmp_path: Path) -> None:
    """Fraud from its confirmation on, honest from its clearing on, unknown where nobody said anything."""
    said: list[dict[str, Any]] = [
        {"kind": EventKind.FRAUD_CONFIRMED, "purchase_id": "order-a-000001", "ingest_time_ms": NOW_MS + 1},
        {"kind": EventKind.FRAUD_CONFIRMED, "purchase_id": "order-a-000002", "ingest_time_ms": NOW_MS + 2},
        {"kind": EventKind.FRAUD_CLEARED, "purchase_id": "order-a-000002", "ingest_time_ms": NOW_MS + 3},
    ]
    record(embedded, [*purchases(4, "a"), *(make_event(**fields) for fields in said)])
    take(embedded, folder)
    write_event_file(open_snapshot(folder, "latest"), tmp_path / "events.parquet", silent)
    labels = scan(tmp_path / "events.parquet").select("label", "label_time_ms").collect().rows()
    nobody = (None, None)
    assert labels == [nobody, (1, NOW_MS + 1), (0, NOW_MS + 3), nobody, *[nobody] * 3]


def test_rows_are_those_of_the_events(embedded: Store, folder: Path, tmp_path: Path) -> None:
    """Replay takes the file, and gives a row for each purchase."""
    record(embedded, purchases(20, "a"))
    take(embedded, folder)
    write_event_file(open_snapshot(folder, "latest"), tmp_path / "events.parquet", silent)
    assert write_rows(tmp_path / "events.parquet", tmp_path / "rows.parquet", FEATURES, "attempts", silent) == 20
    assert pl.read_parquet(tmp_path / "rows.parquet")["purchase_id"].to_list()[3] == "order-a-000003"


def test_it_can_be_made_without_keys(embedded: Store, folder: Path, tmp_path: Path) -> None:
    """With pseudonyms for ids it still holds every event once, fit to be recorded elsewhere."""
    record(embedded, stream(4, 300))
    take(embedded, folder)
    snapshot = open_snapshot(folder, "latest", reveal=False)
    file = write_event_file(snapshot, tmp_path / "events.parquet", silent)
    ids = scan(file.path).select("event_id").collect().to_series()
    assert (ids.len(), ids.n_unique()) == (len(logged(embedded)),) * 2
