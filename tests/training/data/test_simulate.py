"""The simulated market: seeded, lawful, and with the truth where it belongs."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from pydantic import ValidationError

from service.core.event import EventKind, Settlement
from service.core.windows import DAY_MS
from service.errors import BadSetting
from training.data import events
from training.data.event_rules import problems_of
from training.simulate import PATTERNS, MarketSettings, SimulationSummary, simulate

SMALL: Final = MarketSettings(purchases=10_000)


def _simulate(out: Path, settings: MarketSettings = SMALL) -> SimulationSummary:
    return simulate(settings, out, lambda _what, _done, _total: None)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> SimulationSummary:
    """Simulate the small market once for all tests that only look at it."""
    return _simulate(tmp_path_factory.mktemp("market") / "events.parquet")


@pytest.fixture(scope="module")
def market(summary: SimulationSummary) -> pl.DataFrame:
    """Return the events of the small market."""
    return events.scan(summary.file.path).collect()


def _of(market: pl.DataFrame, kind: EventKind) -> pl.DataFrame:
    return market.filter(pl.col("kind") == int(kind))


def _counts(column: pl.Series) -> dict[str, int]:
    return dict(zip(*column.value_counts().get_columns(), strict=True))


def test_same_settings_give_the_same_columns(tmp_path: Path, summary: SimulationSummary) -> None:
    """Two runs with the same settings write equal columns."""
    again = _simulate(tmp_path / "again.parquet")
    assert again.file.content_hash == summary.file.content_hash
    assert events.scan(again.file.path).collect().equals(events.scan(summary.file.path).collect())


@pytest.mark.parametrize("change", [{"seed": 8}, {"days": 59}, {"fraud_rate": 0.02}, {"currency": "USD"}])
def test_other_settings_give_other_columns(
    tmp_path: Path, summary: SimulationSummary, change: dict[str, int | float | str]
) -> None:
    """Another seed, or any other setting, is another market."""
    other = _simulate(tmp_path / "other.parquet", SMALL.model_copy(update=change))
    assert other.file.content_hash != summary.file.content_hash


@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        MarketSettings(purchases=1_000, fraud_rate=0.0),
        MarketSettings(purchases=1_000, fraud_rate=0.2, days=14, late_rate=0.5, mistake_rate=1.0),
        MarketSettings(purchases=1_000, users=10, sellers=1, items=1, days=730, last_day=date(2024, 2, 29)),
    ],
)
def test_every_market_obeys_the_rules(tmp_path: Path, settings: MarketSettings) -> None:
    """Small or odd, a market has exactly the purchases asked for and breaks no rule of the wire."""
    summary = _simulate(tmp_path / "events.parquet", settings)
    findings = problems_of(tmp_path / "events.parquet")
    assert (summary.purchases, findings.first) == (settings.purchases, ())


def test_file_names_its_settings(summary: SimulationSummary) -> None:
    """The origin in the file is enough to simulate it again."""
    origin = events.about(summary.file.path).origin
    assert MarketSettings.model_validate(origin["settings"]) == SMALL


def test_summary_counts_the_file(summary: SimulationSummary, market: pl.DataFrame) -> None:
    """Counts of kinds and patterns, and the time range, are those of the rows."""
    purchases = _of(market, EventKind.PURCHASE)
    assert summary.events == {kind.name.lower(): _of(market, kind).height for kind in EventKind}
    assert summary.patterns == _counts(purchases.filter(pl.col("pattern") != "").get_column("pattern"))
    assert summary.frauds == purchases.filter(pl.col("label") == 1).height
    assert summary.first_event_ms == market.get_column("event_time_ms").min()
    assert summary.last_event_ms == market.get_column("ingest_time_ms").max()


def test_every_kind_of_event_and_every_pattern_is_there(summary: SimulationSummary, market: pl.DataFrame) -> None:
    """A default market has all kinds of events, settlements and fraud patterns."""
    settlements = set(_of(market, EventKind.PURCHASE_SETTLED).get_column("settlement"))
    assert all(summary.events.values())
    assert list(summary.patterns) == [pattern.name for pattern in PATTERNS]
    assert all(summary.patterns.values())
    assert settlements == {int(one) for one in Settlement if one}


def test_fraud_is_as_rare_as_asked(tmp_path: Path) -> None:
    """The share of fraud lies within a fifth of the setting."""
    summary = _simulate(tmp_path / "events.parquet", MarketSettings(purchases=20_000, fraud_rate=0.05))
    assert 0.8 <= summary.frauds / (20_000 * 0.05) <= 1.2


def test_pattern_and_label_agree(market: pl.DataFrame) -> None:
    """A purchase has a pattern exactly when its label says fraud; every purchase has a label."""
    purchases = _of(market, EventKind.PURCHASE)
    assert purchases.get_column("label").null_count() == 0
    assert ((purchases.get_column("pattern") != "") == (purchases.get_column("label") == 1)).all()


def test_purchases_come_before_their_follow_ups(market: pl.DataFrame) -> None:
    """Settlements, confirmations and clearances stand below the purchase that they name."""
    rows = market.with_row_index("row")
    purchases = _of(rows, EventKind.PURCHASE).select("purchase_id", bought="row")
    follow_ups = rows.filter((pl.col("kind") != int(EventKind.PURCHASE)) & (pl.col("purchase_id") != ""))
    joined = follow_ups.join(purchases, on="purchase_id", how="left")
    assert (joined.get_column("bought") < joined.get_column("row")).all()


def test_truth_arrives_with_the_confirmation(market: pl.DataFrame) -> None:
    """A fraud's label time is the event time of its confirmation, or lies after the last event."""
    frauds = _of(market, EventKind.PURCHASE).filter(pl.col("label") == 1)
    confirmed = _of(market, EventKind.FRAUD_CONFIRMED).select("purchase_id", confirmed_ms="event_time_ms")
    joined = frauds.join(confirmed, on="purchase_id", how="left")
    known = joined.filter(pl.col("confirmed_ms").is_not_null())
    assert known.height
    assert (known.get_column("label_time_ms") == known.get_column("confirmed_ms")).all()
    assert (joined.filter(pl.col("confirmed_ms").is_null()).get_column("label_time_ms") >= SMALL.end_ms).all()


def test_clearances_take_back_mistakes(tmp_path: Path) -> None:
    """Only honest purchases are cleared, each after it was confirmed."""
    _simulate(tmp_path / "events.parquet", SMALL.model_copy(update={"mistake_rate": 0.5}))
    market = events.scan(tmp_path / "events.parquet").collect()
    cleared = _of(market, EventKind.FRAUD_CLEARED).select("purchase_id", cleared_ms="event_time_ms")
    confirmed = _of(market, EventKind.FRAUD_CONFIRMED).select("purchase_id", confirmed_ms="event_time_ms")
    labels = _of(market, EventKind.PURCHASE).select("purchase_id", "label")
    joined = cleared.join(confirmed, on="purchase_id").join(labels, on="purchase_id")
    assert joined.height == cleared.height > 0
    assert (joined.get_column("cleared_ms") > joined.get_column("confirmed_ms")).all()
    assert set(joined.get_column("label")) == {0}


def test_nobody_acts_before_registering(market: pl.DataFrame) -> None:
    """Every user and seller of a purchase had registered by then."""
    purchases = _of(market, EventKind.PURCHASE)
    for kind, column in ((EventKind.USER_REGISTERED, "user_id"), (EventKind.SELLER_REGISTERED, "seller_id")):
        registered = _of(market, kind).select(column, registered_ms="event_time_ms")
        joined = purchases.join(registered, on=column, how="left")
        assert (joined.get_column("registered_ms") <= joined.get_column("event_time_ms")).all()


def test_ids_do_not_tell_who_is_a_thief(market: pl.DataFrame) -> None:
    """Numbers of users follow their registration, those of purchases their time."""
    for kind, column in ((EventKind.USER_REGISTERED, "user_id"), (EventKind.PURCHASE, "purchase_id")):
        ids = _of(market, kind).sort("event_time_ms", column).get_column(column)
        assert ids.is_sorted()


def test_some_purchases_are_known_late(market: pl.DataFrame) -> None:
    """About one in a hundred purchases comes minutes to days late; the others come at once."""
    purchases = _of(market, EventKind.PURCHASE)
    delay = purchases.get_column("ingest_time_ms") - purchases.get_column("event_time_ms")
    late = delay.filter(delay > 0)
    assert 0.005 < len(late) / purchases.height < 0.02
    assert delay.is_between(0, 3 * DAY_MS).all()


def test_purchases_fill_the_days(market: pl.DataFrame) -> None:
    """Every day of the market has purchases, and no other day has."""
    days = set(_of(market, EventKind.PURCHASE).get_column("event_time_ms") // DAY_MS)
    assert days == set(range(SMALL.start_ms // DAY_MS, SMALL.end_ms // DAY_MS))


def test_last_day_shows_every_pattern(tmp_path: Path) -> None:
    """The default market has fraud of every pattern on its last day, which `make run` plays live."""
    settings = MarketSettings()
    _simulate(tmp_path / "events.parquet", settings)
    last = events.scan(tmp_path / "events.parquet").filter(pl.col("event_time_ms") >= settings.end_ms - DAY_MS)
    assert set(last.collect().get_column("pattern")) == {"", *(pattern.name for pattern in PATTERNS)}


def test_completed_settlements_can_be_left_out(tmp_path: Path) -> None:
    """Without them, every other event is as it was."""
    settings = SMALL.model_copy(update={"settle_completed": False})
    _simulate(tmp_path / "events.parquet", settings)
    _simulate(tmp_path / "all.parquet")
    completed = pl.col("settlement") == int(Settlement.COMPLETED)
    assert (
        events.scan(tmp_path / "events.parquet")
        .collect()
        .equals(events.scan(tmp_path / "all.parquet").filter(~completed).collect())
    )


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    """Progress begins with nothing done and ends with all rows of the file."""
    told: list[tuple[str, int, int]] = []
    summary = simulate(SMALL, tmp_path / "events.parquet", lambda *step: told.append(step))
    assert told[0] == ("writing events", 0, summary.file.rows)
    assert told[-1] == ("writing events", summary.file.rows, summary.file.rows)


def test_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    """A path below a file is refused by name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetting, match=r"event file .*file/events\.parquet: "):
        _simulate(tmp_path / "file" / "events.parquet")


def test_settings_are_described_and_bounded() -> None:
    """Every setting says what it is; one that is unknown or out of bounds is refused by name."""
    assert all(field.description for field in MarketSettings.model_fields.values())
    for name, value in (("fraud_rate", 0.5), ("purchases", 1), ("days", 1), ("colour", "red")):
        with pytest.raises(ValidationError, match=name):
            MarketSettings.model_validate({name: value})
