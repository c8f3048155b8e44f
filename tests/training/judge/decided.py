"""A recorded log made by hand: decisions and events as a snapshot holds them, a test naming only what matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from service.core.decision import Decision
from service.core.event import Event, EventKind, Settlement
from service.core.windows import DAY_MS
from tests.make import NOW_MS, make_event
from training.data.events import frame_of
from training.snapshot.schema import DECISION_SCHEMA, EVENT_SCHEMA, MISSING_COLUMNS

OLD_MS = NOW_MS - 30 * DAY_MS
"""When made purchases happen: long matured."""

_DEFAULTS: Mapping[str, Any] = {
    "purchase_id": "p-1",
    "user_id": "u-1",
    "seller_id": "s-1",
    "item_id": "i-1",
    "card_hash": "c-1",
    "amount_minor": 1_000,
    "currency": "EUR",
    "quantity": 1,
    "score": 0.1,
    "decision": int(Decision.APPROVE),
    "review_threshold": 0.5,
    "decline_threshold": 0.9,
    "lineup_revision": 1,
    "row_layout": "",
    "row": b"",
    **dict.fromkeys(MISSING_COLUMNS, 0),
    "degraded": False,
    "recorded": False,
    "control": False,
    "control_share": 0.0,
    "given_up": [],
    "reason_codes": [],
    "profile_age_ms": -1,
    "policy_version": 0,
    "rules": [],
    "score_decision": 0,
}


def decision(purchase_id: str = "p-1", scores: Mapping[int, float] | None = None, **fields: Any) -> dict[str, Any]:
    """Return one decision; `scores` are those of the versions, the first of which answered."""
    by_version = {7: fields.get("score", 0.1)} if scores is None else dict(scores)
    versions = list(by_version)
    values = {
        **_DEFAULTS,
        "event_time_ms": OLD_MS,
        "versions": versions,
        "scores": list(by_version.values()),
        "raw_scores": list(by_version.values()),
        "shadow": [at > 0 for at in range(len(versions))],
        "model_versions": versions[:1],
        "score": next(iter(by_version.values()), 0.1),
        "purchase_id": purchase_id,
        **fields,
    }
    for name in ("ingest_time_ms", "decided_at_ms"):
        values.setdefault(name, values["event_time_ms"])
    return values


def confirmed(purchase_id: str = "p-1", at_ms: int = NOW_MS) -> Event:
    """Return the news, known at a time, that a purchase was fraud."""
    return make_event(EventKind.FRAUD_CONFIRMED, purchase_id=purchase_id, event_time_ms=at_ms)


def cleared(purchase_id: str = "p-1", at_ms: int = NOW_MS) -> Event:
    """Return the news, known at a time, that a purchase was no fraud."""
    return make_event(EventKind.FRAUD_CLEARED, purchase_id=purchase_id, event_time_ms=at_ms)


def settled(purchase_id: str, how: Settlement, at_ms: int = OLD_MS) -> Event:
    """Return the news, known at a time, of how a purchase ended."""
    return make_event(EventKind.PURCHASE_SETTLED, purchase_id=purchase_id, settlement=how, event_time_ms=at_ms)


class MadeLog:
    """Gives decisions and events in pieces of a few rows, as a snapshot gives them."""

    def __init__(self, decisions: Sequence[Mapping[str, Any]], events: Sequence[Event] = (), piece: int = 2) -> None:
        """Take them, numbered in their order."""
        numbered = [{**one, "position": at} for at, one in enumerate(decisions)]
        self._decisions = pl.DataFrame(numbered, schema=dict(DECISION_SCHEMA))
        made = frame_of(events).with_row_index("position").cast({"position": pl.Int64})
        revisions = [pl.lit(1, pl.Int64()).alias(name) for name in EVENT_SCHEMA if name.endswith("_revision")]
        self._events = made.with_columns(revisions).select(tuple(EVENT_SCHEMA))
        self._piece = piece

    def events(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the events."""
        return self._events.select(columns).iter_slices(self._piece)

    def decisions(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the decisions."""
        return self._decisions.select(columns).iter_slices(self._piece)
