"""The handbook benchmark: the published protocol of the Fraud Detection Handbook, week by week.

Le Borgne, Siblini, Lebichot, Bontempi: "Reproducible Machine Learning for Credit Card Fraud Detection", 2022.
For a test week that begins on day D: train on the days that end on D - 8, so that every label has had its
seven days; test on the days D to D + 6 without the customers that were known to be compromised.

The file is imported by the built-in mapping `handbook`: user = CUSTOMER_ID, card = one for each customer, seller =
TERMINAL_ID, no item; a fraud is confirmed seven days after the purchase, which is our construction. Raw ids
are never an input; the scenario is not even read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.event import EventKind
from service.core.features import FEATURES, Feature
from service.core.windows import DAY_MS
from service.errors import BadSetting
from training.data.events import Progress, frames
from training.data.importer import import_file
from training.data.mapping import HANDBOOK
from training.learning.fit import PARAMETERS, Parameter, fit
from training.learning.model import Model
from training.metrics import Column, Labels, average_precision, card_precision, roc_auc
from training.replay.kernel import Integers
from training.replay.stream import Matrix, Rows, replay_all

LABEL_DELAY_DAYS: Final = 7
WEEK_DAYS: Final = 7
TOP_CARDS: Final = 100
FIRST_TEST_WEEK: Final = date(2018, 8, 8)


class Options(NamedTuple):
    """What is asked of the benchmark; `weeks` None = all that the file holds whole."""

    first_test_week: date = FIRST_TEST_WEEK
    weeks: int | None = None
    train_days: int = 7
    seed: int = 7
    parameters: Mapping[str, Parameter] = PARAMETERS
    features: Sequence[Feature] = FEATURES


@dataclass(frozen=True, slots=True)
class Transactions:
    """The purchases of an event file as columns, in recorded order; `day` counts from 1970."""

    id: Integers
    day: Integers
    customer: Integers
    fraud: Labels


class WeekModel(NamedTuple):
    """What was trained for one week, on how many rows and frauds."""

    first_day: date
    model: Model
    rows: int
    frauds: int


class WeekResult(NamedTuple):
    """One test week: how it was trained, and how well the rows that count were ranked."""

    first_day: date
    auc: float
    ap: float
    cp100: float
    train_rows: int
    train_frauds: int
    test_rows: int
    test_frauds: int


def import_handbook(data: Path, out: Path, progress: Progress) -> None:
    """Write the file's events. Raises BadSetting or InvalidInput, in one sentence, when it cannot be used."""
    import_file(data, HANDBOOK, out, progress, strict=True)


def transactions_of(events: Path) -> Transactions:
    """Return what the protocol needs of the purchases of an imported file."""
    columns = ("kind", "event_time_ms", "user_id", "purchase_id", "label")
    purchase = pl.col("kind") == EventKind.PURCHASE
    frame = pl.concat(piece.filter(purchase) for piece in frames(events, columns))
    prefix = HANDBOOK.prefixes["purchase_id"]
    return Transactions(
        frame["purchase_id"].str.strip_prefix(prefix).cast(pl.Int64).to_numpy(),
        frame["event_time_ms"].to_numpy() // DAY_MS,
        frame["user_id"].rank("dense").to_numpy().astype(np.int64),
        frame["label"].to_numpy().astype(np.int8),
    )


def weeks_of(transactions: Transactions, options: Options) -> list[date]:
    """Return the first days of the test weeks. Raises BadSetting when the file does not hold what is asked."""
    first, last = (_date(int(transactions.day[at])) for at in (0, -1))
    earliest = first + timedelta(options.train_days + LABEL_DELAY_DAYS)
    if options.first_test_week < earliest:
        raise BadSetting(
            f"the file begins on {first}: with {options.train_days} days of training and {LABEL_DELAY_DAYS} of delay "
            f"the first test week can be {earliest}, not {options.first_test_week}"
        )
    whole = ((last - options.first_test_week).days + 1) // WEEK_DAYS
    weeks = whole if options.weeks is None else options.weeks
    if not 1 <= weeks <= whole:
        asked = "a whole test week" if options.weeks is None else f"{options.weeks} test weeks"
        raise BadSetting(f"the file ends on {last} and does not hold {asked} from {options.first_test_week} on")
    return [options.first_test_week + timedelta(WEEK_DAYS * week) for week in range(weeks)]


def learned_rows(transactions: Transactions, first_day: date, train_days: int) -> npt.NDArray[np.intp]:
    """Return the rows to train on: the days that end a label delay before the test week."""
    end = _day(first_day) - LABEL_DELAY_DAYS
    return np.flatnonzero((transactions.day >= end - train_days) & (transactions.day < end))


def week_rows(transactions: Transactions, first_day: date) -> npt.NDArray[np.intp]:
    """Return all rows of a test week."""
    begin = _day(first_day)
    return np.flatnonzero((transactions.day >= begin) & (transactions.day < begin + WEEK_DAYS))


def judged_rows(transactions: Transactions, first_day: date) -> npt.NDArray[np.intp]:
    """Return the rows of a test week that count: without customers that were known to be compromised.

    Known is who had a fraud in the training week (the last seven days of training, however many there
    are, so that the test is the same), or between the last training day and eight days before the test day.
    """
    begin, day = _day(first_day), transactions.day
    fraud = transactions.fraud == 1
    trained = fraud & (day >= begin - LABEL_DELAY_DAYS - WEEK_DAYS) & (day < begin - LABEL_DELAY_DAYS)
    kept = []
    for today in range(begin, begin + WEEK_DAYS):
        since = fraud & (day >= begin - LABEL_DELAY_DAYS - 1) & (day <= today - LABEL_DELAY_DAYS - 1)
        known = np.unique(transactions.customer[trained | since])
        kept.append(np.flatnonzero((day == today) & ~np.isin(transactions.customer, known)))
    return np.concatenate(kept)


def train_week(transactions: Transactions, matrix: Matrix, first_day: date, options: Options) -> WeekModel:
    """Train for one week, with labels that are known on its first day.

    Calibrated on the rows that it was trained on: strictly increasing, so the ranking is the model's.
    """
    rows = learned_rows(transactions, first_day, options.train_days)
    labels = transactions.fraud[rows]
    if not labels.any() or labels.all():
        raise BadSetting(f"the {options.train_days} days of training for {first_day} hold no fraud to learn from")
    text = fit(matrix[rows], labels, options.features, options.seed, options.parameters)
    return WeekModel(first_day, Model(text, matrix[rows], labels), rows.size, int(labels.sum()))


def judge_week(transactions: Transactions, trained: WeekModel, scores: Column) -> WeekResult:
    """Return how well one score for each transaction of the file ranks the rows of a week that count."""
    rows = judged_rows(transactions, trained.first_day)
    labels, score = transactions.fraud[rows], scores[rows]
    return WeekResult(
        trained.first_day,
        roc_auc(labels, score),
        average_precision(labels, score),
        card_precision(transactions.day[rows], transactions.customer[rows], labels, score, TOP_CARDS),
        trained.rows,
        trained.frauds,
        rows.size,
        int(labels.sum()),
    )


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What the protocol gave: for each week its model and its result; `scores` is NaN outside of the weeks.

    `rows` are those of all transactions, in their order.
    """

    transactions: Transactions
    rows: Rows
    models: tuple[WeekModel, ...]
    weeks: tuple[WeekResult, ...]
    scores: Column

    def write_scores(self, out: Path) -> None:
        """Write `transaction_id, score` for every row of the weeks, in the order of time. Raises BadSetting."""
        scored = ~np.isnan(self.scores)
        table = pl.DataFrame({"transaction_id": self.transactions.id[scored], "score": self.scores[scored]})
        try:
            table.write_parquet(out)
        except OSError as error:
            raise BadSetting(f"scores file {out}: {error.strerror or error}") from error


def mean_of(weeks: Sequence[WeekResult]) -> dict[str, float]:
    """Return the means over the weeks of what is measured."""
    return {name: float(np.mean([getattr(week, name) for week in weeks])) for name in ("auc", "ap", "cp100")}


def run(events: Path, options: Options, progress: Progress) -> Benchmark:
    """Run the protocol on an imported file. Raises BadSetting when file and options do not fit together.

    Memory: 8 bytes for each feature of each transaction, and what one training needs.
    """
    transactions = transactions_of(events)
    first_days = weeks_of(transactions, options)
    progress("replaying", 0, transactions.id.size)
    rows = replay_all(partial(frames, events), options.features)
    assert rows.positions.size == transactions.id.size, "every transaction has a row"
    progress("replaying", transactions.id.size, transactions.id.size)
    models, weeks = [], []
    scores = np.full(transactions.id.size, np.nan)
    for done, first_day in enumerate(first_days):
        progress("training", done, len(first_days))
        trained = train_week(transactions, rows.matrix, first_day, options)
        week = week_rows(transactions, first_day)
        scores[week] = trained.model.scores(rows.matrix[week])
        models.append(trained)
        weeks.append(judge_week(transactions, trained, scores))
    progress("training", len(first_days), len(first_days))
    return Benchmark(transactions, rows, tuple(models), tuple(weeks), scores)


def _day(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY_MS / 1000, UTC).date()
