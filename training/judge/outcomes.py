"""What became of the decisions that were served: each purchase once, with its matured label.

A label counts from the moment that it arrived: a FRAUD_CONFIRMED that was known at the cutoff makes a
purchase fraud, unless a later FRAUD_CLEARED took it back. Purchases younger than the label delay are left
out, labelled or not: otherwise the frauds that are found fast would stand for all.

What was declined, by us or by whoever settles, has no truth unless somebody said it: it was never shipped, so
no chargeback can come. What went through all the same is judged like anything else. Control rows, let through
by chance, stand for all that would have been declined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import polars as pl

from service.core.decision import Decision, MissingCause
from service.core.event import EventKind, Settlement
from service.core.windows import DAY_MS
from service.errors import BadSetting
from training.learning.facts import Truth, codes_of, payer
from training.metrics import Codes, Column, Labels
from training.snapshot.schema import EVENT_SCHEMA, MISSING_COLUMNS

LABEL_KINDS: Final = (int(EventKind.FRAUD_CONFIRMED), int(EventKind.FRAUD_CLEARED))

_NEWS_COLUMNS: Final = ("position", "kind", "ingest_time_ms", "purchase_id", "settlement")
_KEPT: Final = (
    "position",
    "purchase_id",
    "event_time_ms",
    "amount_minor",
    "score",
    "decision",
    "review_threshold",
    "decline_threshold",
    "degraded",
    "control",
    "control_share",
    "policy_version",
    "rules",
    "score_decision",
    *MISSING_COLUMNS,
)
_READ: Final = (
    *_KEPT,
    "decided_at_ms",
    "user_id",
    "card_hash",
    "recorded",
    "versions",
    "scores",
    "shadow",
)


class RecordedLog(Protocol):
    """What is read of a snapshot: both logs in recorded order, in pieces, with the columns that are asked for."""

    def events(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the events."""

    def decisions(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the decisions."""


@dataclass(frozen=True, slots=True)
class Maturity:
    """As of when outcomes are judged, and how old a purchase must be by then."""

    cutoff_ms: int
    label_delay_ms: int

    @property
    def end_ms(self) -> int:
        """Return the event time from which on purchases are too young."""
        return self.cutoff_ms - self.label_delay_ms


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One decision for each matured purchase, in the order of the decision log.

    Columns of `frame`: `position` of the decision in its log, `purchase_id`, `event_time_ms`,
    `amount_minor`; as served `score`, `decision`, `review_threshold`, `decline_threshold`, `degraded`, `control`,
    `policy_version`, `rules`, `score_decision` and `MISSING_COLUMNS`, as a snapshot has them; `label` (1 = fraud),
    `truth` (`training.learning.facts.Truth`), `weight` (how many purchases it stands for: 0 when its truth cannot
    come), `group` (card, or user where there was no card: they are right or wrong together), and for each version
    `score_<version>` and `shadow_<version>`, null where it did not score.

    Of several decisions of one purchase that one counts which was recorded with it, else the last one that
    was made before the purchase was known. `decisions` is how many were read, `young` how many of them
    belong to purchases that have not matured, `repeated` how many were for a purchase that another one
    stands for.
    """

    frame: pl.DataFrame
    versions: tuple[int, ...]
    maturity: Maturity
    decisions: int
    young: int
    repeated: int

    @property
    def judged(self) -> pl.DataFrame:
        """Return the purchases whose truth is known, or assumed because nobody said otherwise in time."""
        return self.frame.filter(pl.col("truth") != int(Truth.UNKNOWN))

    def shares(self) -> dict[str, int]:
        """Return what is known of the purchases: how far what is judged is a selection."""
        truth = self.frame["truth"]
        return {
            "purchases": self.frame.height,
            "judged": int((truth != int(Truth.UNKNOWN)).sum()),
            "frauds": int(self.judged["label"].sum()),
            "without_truth": int((truth == int(Truth.UNKNOWN)).sum()),
            "control": int(self.frame["control"].sum()),
            "degraded": int(self.frame["degraded"].sum()),
            "too_young": self.young,
            "repeated": self.repeated,
        }


def load_outcomes(log: RecordedLog, maturity: Maturity) -> Outcomes:
    """Join the decisions of a snapshot with what was known of them at the cutoff.

    Reads both logs once, in pieces, and holds some 300 bytes a decision: ids and scores, never rows. Raises
    BadSetting when no decision has matured.
    """
    pieces, versions = [], set()
    decisions = 0
    for piece in log.decisions(_READ):
        decisions += piece.height
        matured = piece.filter(
            (pl.col("event_time_ms") < maturity.end_ms) & (pl.col("decided_at_ms") <= maturity.cutoff_ms)
        )
        slim, scored = _slim(matured)
        pieces.append(slim)
        versions |= scored
    known = pl.concat(pieces, how="diagonal") if pieces else pl.DataFrame()
    if known.is_empty():
        raise BadSetting(
            f"none of the {decisions:,} decisions is older than the label delay of {maturity.label_delay_ms / DAY_MS:g}"
            " days at the cutoff: wait, or give a shorter --label-delay-days"
        )
    chosen = known.sort("preference", "position").unique("purchase_id", keep="last").sort("position")
    declined = chosen.filter(pl.col("decision") == int(Decision.DECLINE)).select("purchase_id")
    news = news_of(log, maturity.cutoff_ms, declined)
    told = chosen.drop("preference").join(news, on="purchase_id", how="left", maintain_order="left")
    return Outcomes(
        _with_truth(told),
        tuple(sorted(versions)),
        maturity,
        decisions,
        decisions - known.height,
        known.height - chosen.height,
    )


def news_of(log: RecordedLog, cutoff_ms: int, declined: pl.DataFrame) -> pl.DataFrame:
    """Return what had been said of purchases at the cutoff, one row for each of which something was.

    Columns are `purchase_id`, `said` (1 = fraud, 0 = cleared, null = neither), `refused` (a settlement says
    that it did not go through) and `completed` (that it did; told only of the `declined` purchases).
    """
    settled, kind = int(EventKind.PURCHASE_SETTLED), pl.col("kind")
    refused = (kind == settled) & (pl.col("settlement") == int(Settlement.DECLINED))
    completed = (kind == settled) & (pl.col("settlement") == int(Settlement.COMPLETED))
    pieces = [pl.DataFrame(schema={name: EVENT_SCHEMA[name] for name in _NEWS_COLUMNS})]
    for piece in log.events(_NEWS_COLUMNS):
        known = piece.filter(pl.col("ingest_time_ms") <= cutoff_ms)
        pieces.append(known.filter(kind.is_in(LABEL_KINDS) | refused))
        # Nearly every purchase is completed; who was not declined needs nobody to say so.
        pieces.append(known.filter(completed).join(declined, on="purchase_id", how="semi"))
    verdict = (kind == int(EventKind.FRAUD_CONFIRMED)).cast(pl.Int8).filter(kind.is_in(LABEL_KINDS)).last()
    told = pl.concat(pieces).sort("ingest_time_ms", "position").group_by("purchase_id", maintain_order=True)
    return told.agg(verdict.alias("said"), refused.any().alias("refused"), completed.any().alias("completed"))


def labels(frame: pl.DataFrame) -> Labels:
    """Return the labels of judged purchases as metrics take them."""
    return frame["label"].to_numpy()


def weights(frame: pl.DataFrame) -> Column:
    """Return how many purchases each one stands for."""
    return frame["weight"].to_numpy()


def groups(frame: pl.DataFrame) -> Codes:
    """Return which purchases belong together, for `training.metrics.draws`."""
    return frame["group"].to_numpy()


def scores_of(frame: pl.DataFrame, version: int) -> Column:
    """Return the scores of a version, NaN where it did not score."""
    return frame[f"score_{version}"].cast(pl.Float64()).fill_null(np.nan).to_numpy()


def holds_purchase() -> pl.Expr:
    """Tell which decisions were made when the purchase had been recorded: about the past, nobody acted on them."""
    return pl.any_horizontal(pl.col(name) == int(MissingCause.HOLDS_PURCHASE) for name in MISSING_COLUMNS)


def _slim(piece: pl.DataFrame) -> tuple[pl.DataFrame, set[int]]:
    """Return what is kept of a piece, with the scores as columns, and which versions scored."""
    preference = 2 * (~holds_purchase()).cast(pl.UInt8) + pl.col("recorded").cast(pl.UInt8)
    kept = piece.select(*_KEPT, preference.alias("preference")).with_columns(payer(piece).alias("payer"))
    lists = ("versions", "scores", "shadow")
    long = piece.select("position", *lists).explode(lists).drop_nulls("versions")
    versions = set(long["versions"].unique().to_list())
    for version in sorted(versions):
        mine = long.filter(pl.col("versions") == version).select(
            "position", pl.col("scores").alias(f"score_{version}"), pl.col("shadow").alias(f"shadow_{version}")
        )
        kept = kept.join(mine, on="position", how="left", maintain_order="left")
    return kept, versions


def _with_truth(frame: pl.DataFrame) -> pl.DataFrame:
    refused, completed = (pl.col(name).fill_null(value=False) for name in ("refused", "completed"))
    declined = (pl.col("decision") == int(Decision.DECLINE)) & ~pl.col("control")
    unknown = pl.col("said").is_null() & (refused | (declined & ~completed))
    truth = (
        pl.when(unknown)
        .then(pl.lit(int(Truth.UNKNOWN)))
        .when(pl.col("said").is_not_null())
        .then(pl.lit(int(Truth.SAID)))
        .otherwise(pl.lit(int(Truth.ASSUMED)))
        .cast(pl.UInt8)
    )
    weight = (
        # Where some of the would-be declines were let through, those stand for the others too.
        pl.when(unknown | (declined & (pl.col("control_share") > 0.0)))
        .then(0.0)
        .when(pl.col("control"))
        .then(1.0 / pl.col("control_share"))
        .otherwise(1.0)
    )
    label = pl.col("said").fill_null(0).alias("label")
    group = pl.Series("group", codes_of(frame["payer"].to_numpy()))
    whole = frame.with_columns(label, truth.alias("truth"), weight.alias("weight"), group)
    return whole.drop("said", "refused", "completed", "control_share", "payer")
