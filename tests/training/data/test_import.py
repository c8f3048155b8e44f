"""The import: rows of other people's files become events, exactly, in order, and nothing is lost silently."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.event import Event, EventKind, Settlement
from service.core.windows import DAY_MS
from service.errors import BadSetting, InvalidInput
from tests.make import NOW_MS, make_event, make_purchase
from training.data import events, parse
from training.data.event_rules import problems_of
from training.data.importer import ImportSummary, import_file
from training.data.mapping import HANDBOOK, Mapping, load_mapping

APRIL_MS: Final = 1_522_540_831_000
"""2018-04-01T00:00:31Z."""

SHOP: Final = Mapping(
    name="shop",
    columns={
        "purchase_id": "id",
        "event_time_ms": "time",
        "user_id": "buyer",
        "seller_id": "shop",
        "amount_minor": "price",
        "label": "fraud",
    },
)


def _import(source: Path, mapping: Mapping, out: Path, *, strict: bool = False, hash_key: bytes = b"") -> ImportSummary:
    return import_file(source, mapping, out, lambda _what, _done, _total: None, strict=strict, hash_key=hash_key)


def _events(summary: ImportSummary) -> list[Event]:
    return [event for batch in events.batches(summary.file.path) for event in batch]


def _handbook(rows: Sequence[tuple[int, int, float, int]]) -> pl.DataFrame:
    """Return a file in the shape of the handbook's: (id, seconds, amount, fraud) by customer 596 at terminal 3156."""
    start = datetime(2018, 4, 1)  # noqa: DTZ001  the file names no zone
    return pl.DataFrame(
        {
            "TRANSACTION_ID": pl.Series([row[0] for row in rows], dtype=pl.Int32),
            "TX_DATETIME": pl.Series([start] * len(rows), dtype=pl.Datetime("ms"))
            + pl.Series([1000 * row[1] for row in rows]).cast(pl.Duration("ms")),
            "CUSTOMER_ID": pl.Series([596] * len(rows), dtype=pl.Int16),
            "TERMINAL_ID": pl.Series([3156] * len(rows), dtype=pl.Int16),
            "TX_AMOUNT": [row[2] for row in rows],
            "TX_FRAUD": pl.Series([row[3] for row in rows], dtype=pl.Int8),
            "TX_FRAUD_SCENARIO": pl.Series([2 * row[3] for row in rows], dtype=pl.Int8),
        }
    )


def _shop(**columns: list[Any]) -> pl.DataFrame:
    """Return rows for the mapping SHOP; every column has a good value unless it is given."""
    count = len(next(iter(columns.values())))
    usual: dict[str, list[Any]] = {
        "id": [f"p-{number}" for number in range(1, count + 1)],
        "time": ["2026-07-14 00:00:00"] * count,
        "buyer": ["u-1"] * count,
        "shop": ["s-1"] * count,
        "price": ["10.00"] * count,
        "fraud": ["0"] * count,
    }
    return pl.DataFrame({**usual, **columns})


# --- the handbook -------------------------------------------------------------------------------


def test_handbook_row_becomes_a_purchase(tmp_path: Path) -> None:
    """Customer, terminal and amount of a row are user with card, seller and minor units of a purchase."""
    _handbook([(0, 31, 57.16, 0)]).write_parquet(tmp_path / "data.parquet")
    summary = _import(tmp_path / "data.parquet", HANDBOOK, tmp_path / "events.parquet")
    assert _events(summary) == [
        make_purchase(
            "p-0",
            user_id="u-596",
            seller_id="s-3156",
            card_hash="c-596",
            item_id="",
            amount_minor=5716,
            event_time_ms=APRIL_MS,
        )
    ]


def test_handbook_fraud_is_confirmed_after_seven_days(tmp_path: Path) -> None:
    """A fraud label becomes one confirmation, seven days after the purchase to the millisecond."""
    _handbook([(0, 31, 57.16, 1)]).write_parquet(tmp_path / "data.parquet")
    summary = _import(tmp_path / "data.parquet", HANDBOOK, tmp_path / "events.parquet")
    assert _events(summary)[1:] == [
        make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-0", event_time_ms=APRIL_MS + 7 * DAY_MS)
    ]
    purchase = events.scan(summary.file.path).collect().row(0, named=True)
    assert (purchase["label"], purchase["label_time_ms"]) == (1, APRIL_MS + 7 * DAY_MS)
    assert (summary.purchases, summary.frauds) == (1, 1)


def test_confirmation_comes_before_purchases_of_its_millisecond(tmp_path: Path) -> None:
    """A confirmation that is due when a purchase happens stands before it."""
    week_s = 7 * DAY_MS // 1000
    _handbook([(0, 31, 1.0, 1), (1, 31 + week_s, 1.0, 0)]).write_parquet(tmp_path / "data.parquet")
    summary = _import(tmp_path / "data.parquet", HANDBOOK, tmp_path / "events.parquet")
    assert [event.event_id for event in _events(summary)] == ["p-0", "fraud:p-0", "p-1"]


def test_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    """Rows stand by time, then by transaction id, however the file has them."""
    frame = _handbook([(9, 31, 1.0, 0), (10, 31, 1.0, 1), (2, 31, 1.0, 1), (11, 5, 1.0, 0)])
    frame.write_parquet(tmp_path / "a.parquet")
    frame.reverse().write_parquet(tmp_path / "b.parquet")
    first = _import(tmp_path / "a.parquet", HANDBOOK, tmp_path / "a.events")
    second = _import(tmp_path / "b.parquet", HANDBOOK, tmp_path / "b.events")
    assert [event.event_id for event in _events(first)] == ["p-11", "p-2", "p-9", "p-10", "fraud:p-2", "fraud:p-10"]
    assert first.file.content_hash == second.file.content_hash


def test_scenario_is_never_read(tmp_path: Path) -> None:
    """Without the scenario, or with another, the events are the same and name no pattern."""
    frame = _handbook([(0, 31, 1.0, 1)])
    frame.write_parquet(tmp_path / "a.parquet")
    frame.drop("TX_FRAUD_SCENARIO").write_parquet(tmp_path / "b.parquet")
    first = _import(tmp_path / "a.parquet", HANDBOOK, tmp_path / "a.events")
    second = _import(tmp_path / "b.parquet", HANDBOOK, tmp_path / "b.events")
    assert first.file.content_hash == second.file.content_hash
    assert set(events.scan(first.file.path).collect().get_column("pattern")) == {""}


def test_real_handbook_imports_whole(tmp_path: Path) -> None:
    """Every transaction of the published file becomes a purchase, every fraud a confirmation, and no rule is broken."""
    if not os.environ.get("HANDBOOK_DATA"):
        pytest.skip("HANDBOOK_DATA does not name the handbook's Parquet")
    source = Path(os.environ["HANDBOOK_DATA"])
    summary = _import(source, HANDBOOK, tmp_path / "events.parquet")
    frauds = pl.scan_parquet(source).select(pl.len(), pl.col("TX_FRAUD").cast(pl.Int64).sum()).collect().row(0)
    assert (summary.purchases, summary.frauds) == frauds
    assert problems_of(summary.file.path).first == ()
    assert summary.file.rows == sum(frauds)


# --- other files --------------------------------------------------------------------------------


def test_formats_give_the_same_events(tmp_path: Path) -> None:
    """The same rows in CSV, JSON Lines and Parquet have the same content hash."""
    frame = _shop(price=["10.25", "0.07", "3"], fraud=["1", "0", "1"])
    numbers = frame.with_columns(pl.col("price").cast(pl.Float64), pl.col("fraud").cast(pl.Int64))
    frame.write_csv(tmp_path / "rows.csv")
    numbers.write_ndjson(tmp_path / "rows.jsonl")
    numbers.write_parquet(tmp_path / "rows.parquet")
    hashes = {
        _import(tmp_path / name, SHOP, tmp_path / "events").file.content_hash
        for name in ("rows.csv", "rows.jsonl", "rows.parquet")
    }
    assert len(hashes) == 1


def test_absent_values_take_the_defaults(tmp_path: Path) -> None:
    """Empty cells become absent entities, one item, the mapping's currency, known at once and no label."""
    mapping = SHOP.model_copy(
        update={
            "columns": {**SHOP.columns, "quantity": "count", "currency": "money", "ingest_time_ms": "known"},
            "currency": "USD",
        }
    )
    _shop(shop=[""], fraud=[""], count=[""], money=[""], known=[""]).write_csv(tmp_path / "rows.csv")
    summary = _import(tmp_path / "rows.csv", mapping, tmp_path / "events")
    (event,) = _events(summary)
    assert (event.seller_id, event.quantity, event.currency, event.ingest_time_ms) == ("", 1, "USD", NOW_MS)
    assert events.scan(summary.file.path).collect().get_column("label").to_list() == [None]


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    """Where no column holds the purchase id, it is the number of the row."""
    columns = {field: name for field, name in SHOP.columns.items() if field != "purchase_id"}
    _shop(buyer=["u-1", "u-2"]).write_csv(tmp_path / "rows.csv")
    summary = _import(tmp_path / "rows.csv", SHOP.model_copy(update={"columns": columns}), tmp_path / "events")
    assert [(event.event_id, event.user_id) for event in _events(summary)] == [("p-1", "u-1"), ("p-2", "u-2")]


def test_events_of_every_kind_can_be_mapped(tmp_path: Path) -> None:
    """With a column of kinds, registrations, settlements and confirmations come in too; labels confirm once."""
    mapping = Mapping(
        columns={
            "kind": "what",
            "event_time_ms": "time",
            "user_id": "buyer",
            "purchase_id": "id",
            "amount_minor": "price",
            "settlement": "end",
            "label": "fraud",
        }
    )
    pl.DataFrame(
        {
            "what": ["user_registered", "purchase", "purchase_settled", "fraud_confirmed"],
            "time": ["2026-07-14", "2026-07-15", "2026-07-16", "2026-07-17"],
            "buyer": ["u-1", "u-1", None, None],
            "id": [None, "p-1", "p-1", "p-1"],
            "price": [None, "1.00", None, None],
            "end": [None, None, "REFUNDED", None],
            "fraud": [None, "1", None, None],
        }
    ).write_csv(tmp_path / "rows.csv")
    summary = _import(tmp_path / "rows.csv", mapping, tmp_path / "events")
    found = _events(summary)
    assert [event.event_id for event in found] == [
        "registered:user:u-1",
        "p-1",
        "settled:p-1:REFUNDED",
        "fraud:p-1",
    ]
    assert found[2].settlement is Settlement.REFUNDED


def test_label_time_column_wins(tmp_path: Path) -> None:
    """A column that says when truth arrived decides the confirmation, which never precedes its purchase."""
    mapping = SHOP.model_copy(update={"columns": {**SHOP.columns, "label_time_ms": "known"}})
    frame = _shop(fraud=["1", "1", "1"], known=["2026-07-15", "2026-07-14", ""])
    frame.write_csv(tmp_path / "rows.csv")
    summary = _import(tmp_path / "rows.csv", mapping, tmp_path / "events")
    confirmed = {
        event.purchase_id: event.event_time_ms - NOW_MS
        for event in _events(summary)
        if event.kind is EventKind.FRAUD_CONFIRMED
    }
    assert confirmed == {"p-1": DAY_MS, "p-2": 1, "p-3": 7 * DAY_MS}


def test_hashed_ids_hide_what_they_stand_for(tmp_path: Path) -> None:
    """Card numbers come in as keyed hashes: equal for equal cards, other with another key, absent for none."""
    mapping = SHOP.model_copy(
        update={
            "columns": {**SHOP.columns, "card_hash": "card"},
            "hashed": ("card_hash",),
            "prefixes": {"card_hash": "c-"},
        }
    )
    _shop(card=["4111111111111111", "4111111111111111", ""]).write_csv(tmp_path / "rows.csv")
    first = _events(_import(tmp_path / "rows.csv", mapping, tmp_path / "events", hash_key=b"one"))
    other = _events(_import(tmp_path / "rows.csv", mapping, tmp_path / "events", hash_key=b"two"))
    assert first[0].card_hash == first[1].card_hash != other[0].card_hash
    assert (first[0].card_hash[:2], len(first[0].card_hash), first[2].card_hash) == ("c-", 18, "")
    with pytest.raises(BadSetting, match="needs a key"):
        _import(tmp_path / "rows.csv", mapping, tmp_path / "events")


# --- bad rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "field", "rule"),
    [
        ("id", "", "purchase_id", "must be given for this kind of event"),
        ("id", "p 2", "purchase_id", "must be 1 to 128 characters out of A-Z a-z 0-9 . _ : @ / + = -"),
        ("id", "p-1", "event_id", "must not come twice"),
        ("time", "", "event_time_ms", "must be milliseconds between the years 2000 and 2100"),
        ("time", "yesterday", "event_time_ms", "must be a time (time_format auto)"),
        ("time", "1970-01-01", "event_time_ms", "must be milliseconds between the years 2000 and 2100"),
        ("buyer", "", "user_id", "must be given for this kind of event"),
        ("buyer", "4111111111111111", "user_id", "must not look like a card number"),
        ("shop", "Müller", "seller_id", "must be 1 to 128 characters out of A-Z a-z 0-9 . _ : @ / + = -"),
        ("price", "", "amount_minor", "must be given for a purchase"),
        ("price", "ten", "amount_minor", "must be a decimal number"),
        ("price", "NaN", "amount_minor", "must be a decimal number"),
        ("price", "-1", "amount_minor", "must be 0 to 1000000000000"),
        ("price", "1e99", "amount_minor", "must be a decimal number"),
        ("fraud", "perhaps", "label", "must be 1 or 0, true or false, yes or no"),
    ],
)
def test_bad_row_is_left_out_and_named(tmp_path: Path, column: str, value: str, field: str, rule: str) -> None:
    """A row that breaks a rule is counted and named by row, column and rule; the others come in."""
    frame = _shop(fraud=["0", "0", "0"])
    values = frame.get_column(column).to_list()
    values[1] = value
    frame.with_columns(pl.Series(column, values)).write_csv(tmp_path / "rows.csv")
    summary = _import(tmp_path / "rows.csv", SHOP, tmp_path / "events")
    assert (summary.rows, summary.rejected) == (3, 1)
    assert (2, field, rule) in summary.findings
    assert [event.event_id for event in _events(summary)] == ["p-1", "p-3"]


def test_rejected_rows_are_all_listed_without_values(tmp_path: Path) -> None:
    """The file of rejected rows has one line for each broken rule and nothing of the rows themselves."""
    frame = _shop(price=["secret"] * 30 + ["1.00"])
    frame.write_csv(tmp_path / "rows.csv")
    summary = _import(tmp_path / "rows.csv", SHOP, tmp_path / "events")
    assert summary.rejected_path is not None
    rejected = pl.read_parquet(summary.rejected_path)
    assert rejected.get_column("row").to_list() == list(range(1, 31))
    assert (summary.rejected, len(summary.findings)) == (30, 20)
    assert b"secret" not in summary.rejected_path.read_bytes()


def test_good_import_leaves_no_list_of_rejected_rows(tmp_path: Path) -> None:
    """The list of an earlier try is gone when nothing is rejected any more."""
    (tmp_path / "events.rejected.parquet").write_text("old")
    _shop(price=["1.00"]).write_csv(tmp_path / "rows.csv")
    summary = _import(tmp_path / "rows.csv", SHOP, tmp_path / "events")
    assert summary.rejected_path is None
    assert not (tmp_path / "events.rejected.parquet").exists()


@pytest.mark.parametrize(("prices", "strict"), [(["x", "y"], False), (["x", "1.00"], True)])
def test_refused_import_writes_no_events(tmp_path: Path, prices: list[str], strict: bool) -> None:  # noqa: FBT001
    """All rows bad, or any in a strict import: an error that counts them, a list of them, and no event file."""
    _shop(price=prices).write_csv(tmp_path / "rows.csv")
    with pytest.raises(InvalidInput, match=r"rows\.csv has . bad rows of 2; .*events\.rejected\.parquet lists them"):
        _import(tmp_path / "rows.csv", SHOP, tmp_path / "events", strict=strict)
    assert (tmp_path / "events.rejected.parquet").exists()
    assert not (tmp_path / "events").exists()


def test_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """A missing file, a wrong suffix, a missing column, broken content and no rows are refused by name."""
    _shop(id=["p-1"]).drop("price").write_csv(tmp_path / "short.csv")
    (tmp_path / "broken.parquet").write_text("hello")
    (tmp_path / "broken.jsonl").write_text("{1}\n")
    (tmp_path / "rows.xlsx").write_text("")
    (tmp_path / "bare.csv").write_text("4111111111111111,5\n")
    (tmp_path / "long.csv").write_text("id,time,buyer,shop,price,fraud\np-1,2026-07-14,u-1,s-1,1.00,0,9\n")
    _shop(buyer=[["u-1"]]).write_parquet(tmp_path / "lists.parquet")
    for name, words in (
        ("absent.csv", "there is no such file"),
        ("rows.xlsx", r"suffix must be one of \.parquet, \.csv"),
        ("short.csv", "has no column price, which mapping shop names; it has id, time"),
        ("bare.csv", "it has 2 columns; is its first line a header"),
        ("long.csv", "cannot be read as .csv: it must be UTF-8, with a header and no row longer than that"),
        ("lists.parquet", "column buyer holds neither numbers, text, truth nor times"),
        ("broken.parquet", "cannot be read as .parquet"),
        ("broken.jsonl", "cannot be read as .jsonl"),
    ):
        with pytest.raises(BadSetting, match=f"import .*{name}: .*{words}"):
            _import(tmp_path / name, SHOP, tmp_path / "events")
    _shop(id=[]).write_csv(tmp_path / "empty.csv")
    with pytest.raises(InvalidInput, match="has no rows"):
        _import(tmp_path / "empty.csv", SHOP, tmp_path / "events")


# --- mappings -----------------------------------------------------------------------------------


def test_mapping_is_read_from_toml(tmp_path: Path) -> None:
    """A TOML file says what a mapping in code says, and is named after the file."""
    (tmp_path / "shop.toml").write_text(
        """
        time_zone = "Europe/Berlin"
        hashed = ["card_hash"]
        [columns]
        event_time_ms = "time"
        user_id = "buyer"
        amount_minor = "price"
        [prefixes]
        user_id = "u-"
        """
    )
    assert load_mapping(str(tmp_path / "shop.toml")) == Mapping(
        name="shop",
        time_zone="Europe/Berlin",
        hashed=("card_hash",),
        columns={"event_time_ms": "time", "user_id": "buyer", "amount_minor": "price"},
        prefixes={"user_id": "u-"},
    )


def test_handbook_is_built_in() -> None:
    """The name `handbook` needs no file."""
    assert load_mapping("handbook") is HANDBOOK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("columns", "not valid TOML"),
        ("", "columns: Field required"),
        ('[columns]\nevent_time_ms = "t"\nuser_id = "u"', "columns: must name the column of amount_minor"),
        ('[columns]\ncolour = "t"', "columns.colour"),
        ('time_zone = "Mars"\n[columns]\nkind = "k"\nevent_time_ms = "t"', "time_zone: must be a time zone"),
        ('colour = 1\n[columns]\nkind = "k"\nevent_time_ms = "t"', "colour: Extra inputs"),
    ],
)
def test_bad_mapping_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    """A mapping that cannot be used is refused by file and setting."""
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(BadSetting, match=rf"mapping .*bad\.toml: {words}"):
        load_mapping(str(tmp_path / "bad.toml"))


def test_unknown_mapping_names_the_built_in_ones() -> None:
    """A name that is neither built in nor a file says what is built in."""
    with pytest.raises(BadSetting, match="built in are: handbook"):
        load_mapping("handbok")


def test_every_setting_of_a_mapping_is_described() -> None:
    """Every setting says what it is."""
    assert all(field.description for field in Mapping.model_fields.values())


# --- values -------------------------------------------------------------------------------------


@given(st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=4), st.integers(0, 4))
def test_amounts_in_text_are_exact(amount: Decimal, decimals: int) -> None:
    """A decimal in text becomes exactly its minor units, rounded half to even, and says when it was rounded."""
    numbers, rounded = parse.scaled(pl.Series([str(amount)]), decimals)
    exact = amount.scaleb(decimals)
    expected = exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    assert (numbers.to_list(), rounded.to_list()) == ([int(expected)], [expected != exact])


@given(st.floats(-1e12, 1e12, allow_nan=False), st.integers(0, 4))
def test_amounts_in_floats_mean_what_they_print(amount: float, decimals: int) -> None:
    """A float becomes the minor units of the shortest decimal that it prints as."""
    numbers, _ = parse.scaled(pl.Series([amount]), decimals)
    expected = Decimal(repr(amount)).scaleb(decimals).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    assert numbers.to_list() == [int(expected)]


def test_two_decimals_in_floats_are_never_rounded() -> None:
    """Every price from 0.00 to 9999.99 in a float is its cents, without a rounding."""
    cents = list(range(1_000_000))
    numbers, rounded = parse.scaled(pl.Series([cent / 100 for cent in cents]), 2)
    assert numbers.to_list() == cents
    assert not rounded.any()


@pytest.mark.parametrize("text", ["", "abc", "1,5", "1_000", "Infinity", "nan", "0x10", "١٢", "1e30", "--1"])
def test_other_text_is_no_amount(text: str) -> None:
    """What is not a plain decimal, or does not fit, is null."""
    assert parse.scaled(pl.Series([text]), 2).numbers.to_list() == [None]


@pytest.mark.parametrize(
    ("text", "zone", "time_ms"),
    [
        ("2018-04-01 00:00:31", "UTC", APRIL_MS),
        ("2018-04-01T00:00:31Z", "UTC", APRIL_MS),
        ("2018-04-01T00:00:31.250", "UTC", APRIL_MS + 250),
        ("2018-04-01T02:00:31+02:00", "UTC", APRIL_MS),
        ("2018-03-31 19:30:31 -0430", "Europe/Berlin", APRIL_MS),
        ("2018-04-01 02:00:31", "Europe/Berlin", APRIL_MS),
        ("2018-04-01", "UTC", APRIL_MS - 31_000),
        ("2018-04-01 00:01", "UTC", APRIL_MS + 29_000),
        ("2018-03-25 02:30:00", "Europe/Berlin", None),
        ("2018-10-28 02:30:00", "Europe/Berlin", 1_540_686_600_000),
        ("01.04.2018", "UTC", None),
        ("2018-13-01", "UTC", None),
    ],
)
def test_times_in_text(text: str, zone: str, time_ms: int | None) -> None:
    """Times with and without zone become UTC; an hour that never was is null, one that came twice the earlier."""
    assert parse.times_ms(pl.Series([text]), "auto", zone).to_list() == [time_ms]


@pytest.mark.parametrize(
    ("value", "time_format", "time_ms"),
    [
        (1_522_540_831, "epoch_s", APRIL_MS),
        (1_522_540_831.25, "epoch_s", APRIL_MS + 250),
        ("1522540831.25", "epoch_s", APRIL_MS + 250),
        (APRIL_MS, "epoch_ms", APRIL_MS),
        ("x", "epoch_ms", None),
    ],
)
def test_times_in_numbers(value: float | str, time_format: Any, time_ms: int | None) -> None:
    """Seconds and milliseconds since the epoch, as numbers or text, are milliseconds."""
    assert parse.times_ms(pl.Series([value]), time_format, "UTC").to_list() == [time_ms]


def test_numbers_need_a_time_format() -> None:
    """Whether numbers are seconds or milliseconds is never guessed."""
    with pytest.raises(
        BadSetting, match="time_format must be epoch_s or epoch_ms, because column when holds no date-times"
    ):
        parse.times_ms(pl.Series("when", [1]), "auto", "UTC")


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1, 0, 2, None], [1, 0, None, None]),
        ([1.0, 0.0, 0.5], [1, 0, None]),
        ([True, False, None], [1, 0, None]),
        (["1", "False", " YES ", "legit", "maybe"], [1, 0, 1, 0, None]),
    ],
)
def test_labels(values: list[Any], labels: list[int | None]) -> None:
    """Numbers, booleans and the usual words are labels; anything else is none."""
    assert parse.labels(pl.Series(values)).to_list() == labels


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ([7, None], ["u-7", ""]),
        ([7.0, None, 7.5], ["u-7", "", None]),
        (["007", "", None], ["u-007", "", ""]),
    ],
)
def test_ids(values: list[Any], ids: list[str | None]) -> None:
    """Whole numbers and text are ids with their prefix, null is absent, a fraction is none."""
    assert parse.ids(pl.Series(values), "u-", None).to_list() == ids
