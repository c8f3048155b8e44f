"""What another policy, other thresholds, another version or a blend would have decided on what was served.

Then against now, on matured purchases. A backtest holds everything else as it was: what the other decisions
would have changed in the profiles, or in what fraudsters do, it does not know. What was declined and not let
through has no truth, whatever is decided now: it is counted by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.decision import Decision
from training.data.whole_file import whole_file
from training.learning.facts import Truth
from training.metrics import Column

Decisions = npt.NDArray[np.uint8]

TRUTHS: Final = ("fraud", "honest", "unknown")
"""What a purchase was, as a backtest tells it apart."""


class Limits(NamedTuple):
    """Scores from which purchases are reviewed and declined: of all of them, or of each."""

    review: Column | float
    decline: Column | float


class Tally(NamedTuple):
    """How many purchases, and how much they come to; a control row counts for all that it stands for."""

    purchases: float
    amount_minor: float


class Side(NamedTuple):
    """What was, or would have been, decided.

    `decided` counts purchases by decision; `tallies` has, by decision and then by what the purchase was
    ("fraud", "honest", "unknown"), how many and how much. Caught is what was reviewed or declined.
    """

    decided: Mapping[str, int]
    tallies: Mapping[str, Mapping[str, Tally]]

    def stopped(self, truth: str) -> Tally:
        """Return what was reviewed or declined of the frauds, the honest or the unknown purchases."""
        review, decline = (self.tallies[name][truth] for name in ("review", "decline"))
        return Tally(review.purchases + decline.purchases, review.amount_minor + decline.amount_minor)

    def passed(self, truth: str) -> Tally:
        """Return what was approved of them."""
        return self.tallies["approve"][truth]


class Backtest(NamedTuple):
    """Then and now, and the purchases that are decided otherwise.

    `changed` has the purchases whose decision changes: `purchase_id`, `event_time_ms`, `amount_minor`,
    `score_then`, `score_now`, `decision_then`, `decision_now` (words) and `truth`.
    """

    then: Side
    now: Side
    changed: pl.DataFrame


def decisions_of(scores: Column, thresholds: Limits) -> Decisions:
    """Return `service.core.decision.decide` of each element, by the thresholds alone."""
    decided = np.where(scores >= thresholds.review, int(Decision.REVIEW), int(Decision.APPROVE))
    return np.where(scores >= thresholds.decline, int(Decision.DECLINE), decided).astype(np.uint8)


def judged_decisions(frame: pl.DataFrame) -> Decisions:
    """Return what was decided: a control row would have been declined."""
    decision = frame["decision"].to_numpy()
    return np.where(frame["control"].to_numpy(), int(Decision.DECLINE), decision).astype(np.uint8)


def score_decisions(frame: pl.DataFrame) -> Decisions:
    """Return what the score alone decided, where it was told from the whole, else the whole."""
    told = frame["score_decision"].to_numpy()
    return np.where(told > 0, told, judged_decisions(frame)).astype(np.uint8)


def limits_as_before(scores: Column, then: Decisions) -> Limits:
    """Return thresholds by which as many are reviewed and declined as were, or fewer where scores are equal."""
    ranked = np.sort(scores)[::-1]
    declined = int((then == int(Decision.DECLINE)).sum())
    stopped = declined + int((then == int(Decision.REVIEW)).sum())
    return Limits(_reached_by(ranked, stopped), _reached_by(ranked, declined))


def recorded_limits(frame: pl.DataFrame) -> Limits:
    """Return the thresholds by which each purchase was decided."""
    return Limits(frame["review_threshold"].to_numpy(), frame["decline_threshold"].to_numpy())


def backtest(frame: pl.DataFrame, scores: Column, now: Decisions) -> Backtest:
    """Compare what was decided for the purchases of `frame`, as of `Outcomes`, with what is decided now.

    `scores` are those that `now` was made of.
    """
    words = {int(one): one.name.lower() for one in Decision}
    truth = (
        pl.when(pl.col("truth") == int(Truth.UNKNOWN))
        .then(pl.lit("unknown"))
        .when(pl.col("label") == 1)
        .then(pl.lit("fraud"))
        .otherwise(pl.lit("honest"))
    )
    decided = frame.with_columns(
        truth.alias("truth"),
        pl.when(pl.col("truth") == int(Truth.UNKNOWN)).then(1.0).otherwise("weight").alias("weight"),
        pl.Series("decision_then", judged_decisions(frame)).replace_strict(words, return_dtype=pl.String()),
        pl.Series("decision_now", now).replace_strict(words, return_dtype=pl.String()),
        pl.Series("score_now", scores),
        pl.col("score").alias("score_then"),
    )
    changed = decided.filter(pl.col("decision_then") != pl.col("decision_now"))
    columns = ("purchase_id", "event_time_ms", "amount_minor", "score_then", "score_now")
    return Backtest(
        _side(decided, "decision_then"),
        _side(decided, "decision_now"),
        changed.select(*columns, "decision_then", "decision_now", "truth", "weight"),
    )


def caught_by_pattern(frame: pl.DataFrame, now: Decisions, patterns: pl.DataFrame) -> list[dict[str, str | float]]:
    """Return, for each pattern of fraud, the frauds and how many of them were, and are now, reviewed or declined.

    `patterns` has `purchase_id` and `pattern`, as an event file of `training simulate` knows it.
    """
    stopped = int(Decision.REVIEW)
    frauds = (
        frame.with_columns(pl.Series("then", judged_decisions(frame)), pl.Series("now", now))
        .filter((pl.col("label") == 1) & (pl.col("truth") != int(Truth.UNKNOWN)))
        .join(patterns.unique("purchase_id"), on="purchase_id", how="left")
        .with_columns(pl.col("pattern").fill_null("").replace("", "not named"))
    )
    found = frauds.group_by("pattern").agg(
        pl.col("weight").sum().alias("frauds"),
        (pl.col("weight") * (pl.col("then") >= stopped)).sum().alias("caught_then"),
        (pl.col("weight") * (pl.col("now") >= stopped)).sum().alias("caught_now"),
    )
    return found.sort("pattern").to_dicts()


def pattern_names(pieces: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return `purchase_id` and `pattern` of the purchases of an event file that were simulated as fraud."""
    return pl.concat([piece.filter((pl.col("pattern") != "") & (pl.col("purchase_id") != "")) for piece in pieces])


def write_changed(path: Path, changed: pl.DataFrame) -> None:
    """Write the purchases that are decided otherwise, as Parquet that its owner alone can read.

    Raises BadSetting when the disk refuses.
    """
    with (
        whole_file(path, str(path)) as partial,
        os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
    ):
        changed.write_parquet(file)


def _reached_by(ranked: Column, count: int) -> float:
    """Return the lowest threshold that at most `count` of the scores, given from the highest down, reach."""
    higher = ranked if count >= ranked.size else ranked[ranked > ranked[count]]
    return float(higher[-1]) if higher.size else 1.0


def _side(decided: pl.DataFrame, column: str) -> Side:
    amount = (pl.col("weight") * pl.col("amount_minor")).sum().alias("amount")
    counted = decided.group_by(column, "truth").agg(pl.len(), pl.col("weight").sum(), amount)
    found = {(row[0], row[1]): row[2:] for row in counted.iter_rows()}
    words = [one.name.lower() for one in Decision]
    return Side(
        {word: sum(found.get((word, truth), (0,))[0] for truth in TRUTHS) for word in words},
        {word: {truth: Tally(*found.get((word, truth), (0, 0.0, 0.0))[1:]) for truth in TRUTHS} for word in words},
    )
