"""What is known of the purchases of a snapshot: what its events say of them, and what was decided.

Purchases are told apart by hashes of their pseudonyms; only what somebody said something about, and what was
declined or let through by chance, is held besides the columns themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from service.core.decision import Decision, MissingCause
from service.core.event import EventKind, Settlement
from training.data.hashes import Hashes, hashes
from training.learning.facts import Facts, codes_of, payer, truth_of
from training.replay.kernel import Integers
from training.snapshot.read import Snapshot
from training.snapshot.schema import MISSING_COLUMNS

_EVENT_COLUMNS: Final = (
    "position",
    "kind",
    "event_time_ms",
    "ingest_time_ms",
    "user_id",
    "card_hash",
    "purchase_id",
    "amount_minor",
    "settlement",
)
_DECISION_COLUMNS: Final = ("position", "purchase_id", "decision", "control", "control_share", "recorded")


def facts_of_snapshot(snapshot: Snapshot, positions: Integers) -> Facts:
    """Return the facts of all purchases of a snapshot, whose places in its log are `positions`.

    A label counts from when it was ingested. Cost: some 60 bytes for each purchase while it runs.
    """
    hidden = replace(snapshot, reveal=False)
    decided = _decided(hidden)
    rows, said, settled = [], [], []
    for frame in hidden.events(_EVENT_COLUMNS):
        whole = frame.with_columns(purchase=pl.Series(hashes(frame["purchase_id"])))
        bought = whole.filter(pl.col("kind") == int(EventKind.PURCHASE))
        rows.append(bought.select("position", "purchase", "event_time_ms", "amount_minor", card=payer(bought)))
        said.append(whole.filter(pl.col("kind").is_in(_VERDICTS)).select("purchase", "kind", "ingest_time_ms"))
        settled.append(whole.filter(pl.col("settlement").is_in(_ENDED)).select("purchase", "settlement"))
    if not rows:
        rows = [pl.DataFrame(schema=_ROW_SCHEMA)]
    purchases = pl.concat(rows)
    assert np.array_equal(purchases["position"].to_numpy(), positions), "rows stand at purchases"
    ends = pl.concat(settled) if settled else pl.DataFrame(schema={"purchase": pl.UInt64, "settlement": pl.UInt8})
    known = (
        purchases.drop("position")
        .join(_labels(said), on="purchase", how="left", maintain_order="left")
        .join(decided, on="purchase", how="left", maintain_order="left")
        .with_columns(
            refused=_among(ends, Settlement.DECLINED),
            completed=_among(ends, Settlement.COMPLETED),
            spoken=pl.col("known_ms").is_not_null(),
        )
        .with_columns(pl.col("label", "known_ms", "cleared_ms").fill_null(0), pl.col("weight").fill_null(1.0))
    )
    declined = known.select(pl.col("refused") | (pl.col("declined").fill_null(value=False) & ~pl.col("completed")))
    return Facts(
        time_ms=known["event_time_ms"].to_numpy(),
        label=known["label"].to_numpy(),
        known_ms=known["known_ms"].to_numpy(),
        cleared_ms=known["cleared_ms"].to_numpy(),
        pattern=pl.repeat("", known.height, eager=True).alias("pattern"),
        newest_ms=snapshot.manifest.newest_ingest_ms,
        amount_minor=known["amount_minor"].to_numpy(),
        card=codes_of(known["card"].to_numpy()),
        truth=truth_of(known["spoken"].to_numpy(), declined.to_series().to_numpy()),
        weight=known["weight"].to_numpy(),
    )


_VERDICTS: Final = [int(EventKind.FRAUD_CONFIRMED), int(EventKind.FRAUD_CLEARED)]
_ENDED: Final = [int(Settlement.COMPLETED), int(Settlement.DECLINED)]
_ROW_SCHEMA: Final = {
    "position": pl.Int64,
    "purchase": pl.UInt64,
    "event_time_ms": pl.Int64,
    "amount_minor": pl.Int64,
    "card": pl.UInt64,
}


def _among(ends: pl.DataFrame, settlement: Settlement) -> pl.Expr:
    chosen = ends.filter(pl.col("settlement") == int(settlement))["purchase"]
    return pl.col("purchase").is_in(chosen.implode())


def _labels(said: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return, for each purchase of which somebody said something, what and when.

    A clearance takes back the confirmation that arrived before it; alone, it says that the purchase is honest.
    """
    if not said:
        said = [pl.DataFrame(schema={"purchase": pl.UInt64, "kind": pl.UInt8, "ingest_time_ms": pl.Int64})]
    confirmed, cleared = (pl.col("ingest_time_ms").filter(pl.col("kind") == kind).min() for kind in _VERDICTS)
    taken_back = (pl.col("cleared") >= pl.col("confirmed")).fill_null(value=False)
    fraud = pl.col("confirmed").is_not_null()
    return (
        pl.concat(said)
        .group_by("purchase")
        .agg(confirmed=confirmed, cleared=cleared)
        .select(
            "purchase",
            label=(fraud & ~taken_back).cast(pl.Int8),
            known_ms=pl.coalesce("confirmed", "cleared"),
            cleared_ms=pl.when(taken_back).then("cleared").otherwise(0),
        )
    )


def _decided(hidden: Snapshot) -> pl.DataFrame:
    """Return the purchases that were declined, or that a decline was spared by chance, with what they stand for.

    Of several decisions the one counts that was made before the purchase was known, rather than after, that was
    recorded with it, rather than not, and that came last.
    """
    notable = [np.zeros(0, np.uint64)]
    for frame in hidden.decisions(("purchase_id", "decision", "control")):
        declined = pl.col("decision") == int(Decision.DECLINE)
        notable.append(np.unique(hashes(frame.filter(declined | pl.col("control"))["purchase_id"])))
    wanted: Hashes = np.unique(np.concatenate(notable))
    pieces = [
        pl.DataFrame(
            schema={
                "purchase": pl.UInt64,
                "declined": pl.Boolean,
                "weight": pl.Float64,
                "preference": pl.UInt8,
                "position": pl.Int64,
            }
        )
    ]
    late = pl.any_horizontal(pl.col(name) == int(MissingCause.HOLDS_PURCHASE) for name in MISSING_COLUMNS)
    for frame in hidden.decisions((*_DECISION_COLUMNS, *MISSING_COLUMNS)):
        purchase = hashes(frame["purchase_id"])
        pieces.append(
            frame.with_columns(purchase=pl.Series(purchase))
            .filter(pl.Series(np.isin(purchase, wanted)))
            .select(
                "purchase",
                declined=pl.col("decision") == int(Decision.DECLINE),
                weight=pl.when("control")
                .then(1.0 / pl.col("control_share"))
                # Where some of the would-be declines were let through, those stand for this one too.
                .when((pl.col("decision") == int(Decision.DECLINE)) & (pl.col("control_share") > 0.0))
                .then(0.0)
                .otherwise(1.0),
                preference=2 * (~late).cast(pl.UInt8) + pl.col("recorded").cast(pl.UInt8),
                position="position",
            )
        )
    ordered = pl.concat(pieces).sort("preference", "position")
    return ordered.unique("purchase", keep="last").select("purchase", "declined", "weight")
