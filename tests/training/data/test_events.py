"""The event file: what is written comes back, names itself, and breaks no rule of the wire."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from service.core.event import Event, EventKind, Settlement, derived_id
from service.errors import BadSetting
from tests.make import NOW_MS, make_event, make_purchase, make_stream
from training.data import event_rules, events


def _write(path: Path, *recorded: Event, **columns: list[Any]) -> events.EventFile:
    frame = events.frame_of(recorded).with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    return events.write(path, [frame], {"made_by": "test"})


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    """Events of all kinds, in batches of any size, are equal to those that were written."""
    recorded = make_stream(seed=3, count=200)
    _write(tmp_path / "events.parquet", *recorded)
    batches = list(events.batches(tmp_path / "events.parquet", size=7))
    assert [event for batch in batches for event in batch] == recorded
    assert {len(batch) for batch in batches[:-1]} == {7}


def test_file_says_what_it_is(tmp_path: Path) -> None:
    """The footer gives rows, content hash and origin as they were when the file was written."""
    path = tmp_path / "new" / "events.parquet"
    written = _write(path, make_purchase(), make_event(EventKind.FRAUD_CONFIRMED))
    assert events.about(path) == written
    assert (written.rows, written.origin) == (2, {"made_by": "test"})


def test_columns_are_those_of_the_schema(tmp_path: Path) -> None:
    """A scan gives every column of the schema in order and type, completed with zero, "" and null."""
    path = tmp_path / "events.parquet"
    events.write(path, [pl.DataFrame({"event_id": ["p-1"], "kind": [4]})], {})
    frame = events.scan(path).collect()
    assert dict(frame.schema) == events.SCHEMA
    assert frame.row(0) == ("p-1", 4, 0, 0, "", "", "", "", "", 0, "", 0, 0, None, None, "")


def test_hash_does_not_depend_on_pieces(tmp_path: Path) -> None:
    """The same rows have the same content hash, whole or in pieces."""
    frame = events.frame_of(make_stream(seed=5, count=50))
    whole = events.write(tmp_path / "whole.parquet", [frame], {})
    pieces = events.write(tmp_path / "pieces.parquet", [frame[:1], frame[1:1], frame[1:30], frame[30:]], {})
    assert whole.content_hash == pieces.content_hash


@pytest.mark.parametrize("column", events.SCHEMA)
def test_hash_depends_on_every_column(tmp_path: Path, column: str) -> None:
    """Another value in any column is another content hash."""
    before = _write(tmp_path / "before.parquet", make_purchase())
    value = "x" if events.SCHEMA[column] == pl.String else 3
    after = _write(tmp_path / "after.parquet", make_purchase(), **{column: [value]})
    assert before.content_hash != after.content_hash


def test_hash_tells_where_a_text_ends(tmp_path: Path) -> None:
    """The same characters divided otherwise among rows are another content hash."""
    first = _write(tmp_path / "a.parquet", make_purchase(user_id="ab"), make_purchase("p-2", user_id="c"))
    second = _write(tmp_path / "b.parquet", make_purchase(user_id="a"), make_purchase("p-2", user_id="bc"))
    assert first.content_hash != second.content_hash


def test_derived_ids_are_those_of_the_core() -> None:
    """Event ids made over columns equal those that the core derives from each event."""
    recorded = make_stream(seed=11, count=300)
    frame = events.with_event_ids(events.frame_of(recorded))
    assert frame.get_column("event_id").to_list() == [derived_id(event) for event in recorded]


def test_broken_write_leaves_the_old_file(tmp_path: Path) -> None:
    """When the rows cannot be made, what was at the path stays and nothing else is left behind."""
    path = tmp_path / "events.parquet"
    old = _write(path, make_purchase())

    def frames() -> Iterator[pl.DataFrame]:
        yield events.frame_of([make_purchase("p-2")])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        events.write(path, frames(), {})
    assert events.about(path) == old
    assert list(tmp_path.iterdir()) == [path]


def test_file_without_rows_reads_as_no_events(tmp_path: Path) -> None:
    """A file of nothing is an event file: no batches, no findings."""
    _write(tmp_path / "events.parquet")
    assert list(events.batches(tmp_path / "events.parquet")) == []
    assert event_rules.problems_of(tmp_path / "events.parquet") == event_rules.Findings(0, 0, ())


def test_number_that_names_no_kind_is_refused() -> None:
    """An unknown kind is an error, not an event of some other kind."""
    frame = events.frame_of([make_purchase()]).with_columns(kind=pl.lit(9, dtype=pl.UInt8))
    with pytest.raises(ValueError, match="kind"):
        events.events_of(frame)


def test_file_that_is_no_event_file_is_refused_by_name(tmp_path: Path) -> None:
    """A missing file, text and a Parquet file of other columns give one sentence that names the file."""
    (tmp_path / "text").write_text("hello")
    pl.DataFrame({"event_id": ["p-1"]}).write_parquet(tmp_path / "other")
    events.complete(pl.DataFrame({"kind": [4]})).write_parquet(tmp_path / "unnamed")
    for name, words in (
        ("absent", "No such file"),
        ("text", "is not a Parquet file"),
        ("other", "has no column kind"),
        ("unnamed", "schema version None"),
    ):
        with pytest.raises(BadSetting, match=rf"event file .*{name}: .*{words}"):
            events.scan(tmp_path / name)


# --- rules --------------------------------------------------------------------------------------


def test_stream_of_all_kinds_breaks_no_rule(tmp_path: Path) -> None:
    """Valid events of all kinds in recorded order have no findings."""
    recorded = sorted(make_stream(seed=2, count=300, orderly=True), key=lambda event: event.ingest_time_ms)
    _write(tmp_path / "events.parquet", *recorded)
    findings = event_rules.problems_of(tmp_path / "events.parquet")
    assert findings == event_rules.Findings(len(recorded), 0, ())


@pytest.mark.parametrize(
    ("event", "column", "words"),
    [
        (make_event(event_id="x" * 161, kind=EventKind.CARD_REPORTED), "event_id", "1 to 160"),
        (make_event(event_id="ä", kind=EventKind.CARD_REPORTED), "event_id", "characters out of"),
        (make_purchase(event_id="p-other"), "event_id", "the purchase_id of a purchase"),
        (make_purchase("fraud:1"), "purchase_id", "must not begin with"),
        (make_purchase(purchase_id="p 1"), "purchase_id", "characters out of"),
        (make_purchase(user_id=""), "user_id", "must be given"),
        (make_purchase(user_id="u\n1"), "user_id", "characters out of"),
        (make_purchase(seller_id="s" * 129), "seller_id", "0 to 128|1 to 128"),
        (make_purchase(item_id="i-1 "), "item_id", "characters out of"),
        (make_purchase(card_hash="4111111111111111"), "card_hash", "card number"),
        (make_purchase(card_hash="4111-1111-1111-1111"), "card_hash", "card number"),
        (make_purchase(user_id="4111111111111111"), "user_id", "card number"),
        (make_event(EventKind.FRAUD_CONFIRMED, user_id="u-1"), "user_id", "must be empty"),
        (make_event(EventKind.FRAUD_CLEARED, purchase_id=""), "purchase_id", "must be given"),
        (make_event(EventKind.ITEM_LISTED, item_id=""), "item_id", "must be given"),
        (make_event(EventKind.CARD_REPORTED, card_hash=""), "card_hash", "must be given"),
        (make_purchase(event_time_ms=0, ingest_time_ms=NOW_MS), "event_time_ms", "between the years"),
        (make_purchase(event_time_ms=NOW_MS * 1000, ingest_time_ms=NOW_MS), "event_time_ms", "between the years"),
        (make_purchase(ingest_time_ms=NOW_MS - 300_001), "ingest_time_ms", "more than five minutes"),
        (make_purchase(amount_minor=-1), "amount_minor", "must be 0 to"),
        (make_purchase(amount_minor=10**12 + 1), "amount_minor", "must be 0 to"),
        (make_event(EventKind.CARD_REPORTED, amount_minor=1), "amount_minor", "must be 0 for"),
        (make_purchase(quantity=0), "quantity", "1 to 1000000"),
        (make_purchase(quantity=10**6 + 1), "quantity", "1 to 1000000"),
        (make_event(EventKind.CARD_REPORTED, quantity=1), "quantity", "must be 0"),
        (make_purchase(currency="eur"), "currency", "three capital letters"),
        (make_event(EventKind.CARD_REPORTED, currency="EUR"), "currency", "must be empty"),
        (make_event(EventKind.PURCHASE_SETTLED, settlement=Settlement.NONE), "settlement", "1 to 4"),
        (make_purchase(settlement=Settlement.COMPLETED), "settlement", "must be 0"),
    ],
)
def test_bad_field_is_named(tmp_path: Path, event: Event, column: str, words: str) -> None:
    """One field that breaks its rule is found at its row and column, in the words of its rule."""
    path = tmp_path / "events.parquet"
    _write(path, make_purchase("p-good", event_time_ms=NOW_MS - 300_001), event)
    findings = event_rules.problems_of(path)
    assert findings.bad_rows == 1
    named = [finding for finding in findings.first if finding.column == column and re.search(words, finding.rule)]
    assert [finding.row for finding in named] == [2]


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"label": [2], "label_time_ms": [NOW_MS]}, "label"),
        ({"label": [1]}, "label_time_ms"),
        ({"label_time_ms": [NOW_MS]}, "label_time_ms"),
        ({"label": [1], "label_time_ms": [NOW_MS - 1]}, "label_time_ms"),
        ({"pattern": ["Stolen card"]}, "pattern"),
    ],
)
def test_bad_label_is_named(tmp_path: Path, columns: dict[str, list[Any]], column: str) -> None:
    """A label that is neither fraud nor honest, or without its time, and an odd pattern are found."""
    _write(tmp_path / "events.parquet", make_purchase(), **columns)
    findings = event_rules.problems_of(tmp_path / "events.parquet")
    assert [(finding.row, finding.column) for finding in findings.first] == [(1, column)]


def test_repeated_id_is_found_on_both_rows(tmp_path: Path) -> None:
    """An event id that comes twice is a finding on each of its rows."""
    _write(tmp_path / "events.parquet", make_purchase("p-1"), make_purchase("p-2"), make_purchase("p-1"))
    findings = event_rules.problems_of(tmp_path / "events.parquet")
    assert [(finding.row, finding.rule) for finding in findings.first] == [
        (1, event_rules.UNIQUE),
        (3, event_rules.UNIQUE),
    ]


def test_order_is_checked_across_pieces(tmp_path: Path) -> None:
    """A row that was known before the one above it is found, also where a new piece begins."""
    path = tmp_path / "events.parquet"
    count = events.ROW_GROUP_ROWS + 1
    frame = pl.DataFrame(
        {
            "kind": pl.repeat(1, count, eager=True),
            "user_id": [f"u-{number}" for number in range(count)],
            "event_time_ms": [*range(NOW_MS, NOW_MS + count - 1), NOW_MS],
            "ingest_time_ms": [*range(NOW_MS, NOW_MS + count - 1), NOW_MS],
        }
    )
    events.write(path, [events.with_event_ids(events.complete(frame))], {})
    findings = event_rules.problems_of(path)
    assert [(finding.row, finding.column) for finding in findings.first] == [(count, "ingest_time_ms")]


def test_only_the_first_findings_are_kept(tmp_path: Path) -> None:
    """All bad rows are counted; the list of findings is bounded."""
    _write(tmp_path / "events.parquet", *(make_purchase(f"p-{number}", user_id="") for number in range(50)))
    findings = event_rules.problems_of(tmp_path / "events.parquet")
    assert (findings.bad_rows, len(findings.first)) == (50, event_rules.MAX_FINDINGS)


def test_numeric_ids_may_be_allowed(tmp_path: Path) -> None:
    """Where numeric ids are allowed, those other than a card's may look like card numbers."""
    number = "4111111111111111"
    _write(tmp_path / "events.parquet", make_purchase(user_id=number, card_hash=number))
    findings = event_rules.problems_of(tmp_path / "events.parquet", numeric_ids=True)
    assert [finding.column for finding in findings.first] == ["card_hash"]
