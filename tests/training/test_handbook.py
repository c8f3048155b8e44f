"""The handbook benchmark keeps to the published protocol, and the service gives the scores that it computed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.errors import BadSetting
from training.benchmark.handbook import (
    Benchmark,
    Options,
    Transactions,
    import_handbook,
    judged_rows,
    learned_rows,
    run,
    transactions_of,
    weeks_of,
)
from training.benchmark.online import check_online
from training.data.events import silent
from training.learning.fit import PARAMETERS

FIRST_DAY = date(2018, 7, 1)
DAYS = 30
WEEK = FIRST_DAY + timedelta(15)
OPTIONS = Options(WEEK, weeks=2, train_days=7, parameters={**PARAMETERS, "num_iterations": 10})


def handbook_frame(days: int = DAYS, daily: int = 60, seed: int = 1) -> pl.DataFrame:
    """Return transactions in the columns of the handbook, a tenth of them fraud of large amounts."""
    rng = np.random.default_rng(seed)
    count = days * daily
    seconds = np.sort(rng.integers(0, days * 86_400, count))
    fraud = rng.random(count) < 0.1
    return pl.DataFrame(
        {
            "TRANSACTION_ID": np.arange(count, dtype=np.int32),
            "CUSTOMER_ID": rng.integers(0, 200, count).astype(np.int16),
            "TERMINAL_ID": rng.integers(0, 40, count).astype(np.int16),
            "TX_AMOUNT": np.round(rng.lognormal(3, 1, count) * np.where(fraud, 5, 1), 2),
            "TX_FRAUD": fraud.astype(np.int8),
            "TX_FRAUD_SCENARIO": fraud.astype(np.int8),
            "TX_DATETIME": seconds * 1000,
        }
    ).with_columns(TX_DATETIME=pl.lit(FIRST_DAY).cast(pl.Datetime("ms")) + pl.duration(milliseconds="TX_DATETIME"))


def imported(folder: Path, frame: pl.DataFrame) -> Path:
    """Return the event file of a frame."""
    data = folder / "transactions.parquet"
    frame.write_parquet(data)
    import_handbook(data, folder / "events.parquet", silent)
    return folder / "events.parquet"


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Import a small file in the shape of the handbook's."""
    return imported(tmp_path_factory.mktemp("handbook"), handbook_frame())


@pytest.fixture(scope="module")
def baseline(events: Path) -> Benchmark:
    """Run two weeks on the small file."""
    return run(events, OPTIONS, silent)


@pytest.mark.skipif("HANDBOOK_DATA" not in os.environ, reason="HANDBOOK_DATA does not name the handbook's file")
def test_the_baseline_week_has_the_published_rows(tmp_path: Path) -> None:
    """The baseline week trains on 67,240 rows with 598 frauds and tests on 58,264 with 385."""
    import_handbook(Path(os.environ["HANDBOOK_DATA"]), tmp_path / "events.parquet", silent)
    transactions = transactions_of(tmp_path / "events.parquet")
    learned = learned_rows(transactions, date(2018, 8, 8), 7)
    judged = judged_rows(transactions, date(2018, 8, 8))
    assert (learned.size, transactions.fraud[learned].sum()) == (67_240, 598)
    assert (judged.size, transactions.fraud[judged].sum()) == (58_264, 385)


def test_compromised_customers_are_not_judged(events: Path) -> None:
    """A row counts unless its customer had a fraud in the training week or since, as known eight days before."""
    transactions = transactions_of(events)
    begin = (WEEK - date(1970, 1, 1)).days
    expected = []
    for row, (day, customer) in enumerate(zip(transactions.day, transactions.customer, strict=True)):
        if not begin <= day < begin + 7:
            continue
        frauds = transactions.day[(transactions.customer == customer) & (transactions.fraud == 1)]
        in_training = (frauds >= begin - 14) & (frauds <= begin - 8)
        since = (frauds >= begin - 8) & (frauds <= day - 8)
        if not (in_training | since).any():
            expected.append(row)
    assert judged_rows(transactions, WEEK).tolist() == expected


def test_every_row_of_the_weeks_is_scored(baseline: Benchmark, tmp_path: Path) -> None:
    """The scores file holds each transaction of the weeks once, also of customers that are not judged."""
    baseline.write_scores(tmp_path / "scores.parquet")
    written = pl.read_parquet(tmp_path / "scores.parquet")
    begin = (WEEK - FIRST_DAY).days
    frame = handbook_frame()
    day = (frame["TX_DATETIME"].dt.date() - FIRST_DAY).dt.total_days()
    expected = frame.filter((day >= begin) & (day < begin + 14))["TRANSACTION_ID"].to_list()
    assert written["transaction_id"].to_list() == expected
    assert written["score"].is_between(0, 1).all()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda frame: frame.with_columns(pl.col("CUSTOMER_ID") + 500), id="customer ids"),
        pytest.param(lambda frame: frame.with_columns(pl.col("TERMINAL_ID") + 500), id="terminal ids"),
        pytest.param(lambda frame: frame.with_columns(TX_FRAUD_SCENARIO=3), id="scenario"),
        pytest.param(
            lambda frame: frame.with_columns(
                TX_FRAUD=pl.when(pl.col("TX_DATETIME").dt.date() < WEEK).then("TX_FRAUD").otherwise(0)
            ),
            id="labels of the weeks",
        ),
    ],
)
def test_what_must_not_be_an_input_is_none(
    baseline: Benchmark, tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    """Renumbering ids, changing the scenario or the labels of the week itself changes none of its scores."""
    changed = run(imported(tmp_path, change(handbook_frame())), OPTIONS._replace(weeks=1), silent)
    week = ~np.isnan(changed.scores)
    assert np.array_equal(changed.scores[week], baseline.scores[week])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"first_test_week": FIRST_DAY + timedelta(13)}, "the first test week can be 2018-07-15"),
        ({"train_days": 20}, "the first test week can be 2018-07-28"),
        (
            {"first_test_week": FIRST_DAY + timedelta(24), "weeks": None},
            "does not hold a whole test week from 2018-07-25 on",
        ),
        ({"weeks": 3}, "does not hold 3 test weeks from 2018-07-16 on"),
    ],
)
def test_weeks_that_the_file_does_not_hold_are_one_sentence(
    events: Path, changes: dict[str, object], sentence: str
) -> None:
    """What is asked beyond the file is refused in words."""
    with pytest.raises(BadSetting, match=sentence):
        weeks_of(transactions_of(events), OPTIONS._replace(**changes))  # type: ignore[arg-type]


def test_all_whole_weeks_are_tested_by_default() -> None:
    """Without a number of weeks, all that the file holds whole are tested."""
    day = np.arange((FIRST_DAY - date(1970, 1, 1)).days, (FIRST_DAY - date(1970, 1, 1)).days + DAYS)
    transactions = Transactions(day, day, day, np.zeros(DAYS, np.int8))
    assert weeks_of(transactions, OPTIONS._replace(weeks=None)) == [WEEK, WEEK + timedelta(7)]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """A file without one of the columns is refused with the name of the column."""
    with pytest.raises(BadSetting, match="TERMINAL_ID"):
        imported(tmp_path, handbook_frame(days=1).drop("TERMINAL_ID"))


def test_the_service_gives_the_scores_that_were_computed_offline(
    events: Path, baseline: Benchmark, tmp_path: Path
) -> None:
    """Every feature and every score of two weeks of payments, one by one through gRPC, equals the offline one."""
    compared = check_online(events, tmp_path, baseline, OPTIONS, silent)
    assert compared.first == ""
    assert (compared.payments, compared.differences) == (int((~np.isnan(baseline.scores)).sum()), 0)
