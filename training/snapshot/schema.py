"""The columns of a snapshot: what a partition of events or of decisions holds, in order.

Rows stand in the order of the store's log; `position` numbers them from 0 over the whole lineage, for
events and for decisions by themselves. Adding a column is a new `SCHEMA_VERSION`, and an entry of `ADDED`:
partitions are never written again, so those of earlier releases stay readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import polars as pl

from training.data.events import EVENT_COLUMNS, SCHEMA

SCHEMA_VERSION: Final = 2

Schema = Mapping[str, pl.DataType]

ENTITY_COLUMNS: Final = ("user_id", "seller_id", "item_id", "card_hash")
"""The columns that hold ids of entities, in the order of `service.core.event.KINDS`."""

REVISION_COLUMNS: Final = ("user_revision", "seller_revision", "item_revision", "card_revision")

MISSING_COLUMNS: Final = ("user_missing", "seller_missing", "item_missing", "card_missing")

ID_COLUMNS: Final = frozenset({*ENTITY_COLUMNS, "event_id", "purchase_id"})
"""The columns that hold ids, which a partition keeps as pseudonyms alone."""

EVENT_SCHEMA: Final[Schema] = MappingProxyType(
    {
        "position": pl.Int64(),
        **{name: SCHEMA[name] for name in EVENT_COLUMNS},
        **dict.fromkeys(REVISION_COLUMNS, pl.Int64()),
    }
)
"""Every column of an event.

The revision columns hold what the event got on each entity, 0 where it gave that entity none. The entity
columns of a follow-up (`service.core.event.FOLLOW_UPS`), which names a purchase alone, hold the entities
that it touched, "" where none.
"""

DECISION_SCHEMA: Final[Schema] = MappingProxyType(
    {
        "position": pl.Int64(),
        "purchase_id": pl.String(),
        "decided_at_ms": pl.Int64(),
        "event_time_ms": pl.Int64(),
        "ingest_time_ms": pl.Int64(),
        **dict.fromkeys(ENTITY_COLUMNS, pl.String()),
        "amount_minor": pl.Int64(),
        "currency": pl.String(),
        "quantity": pl.UInt32(),
        "score": pl.Float64(),
        "decision": pl.UInt8(),
        "review_threshold": pl.Float64(),
        "decline_threshold": pl.Float64(),
        "versions": pl.List(pl.UInt32()),
        "raw_scores": pl.List(pl.Float64()),
        "scores": pl.List(pl.Float64()),
        "shadow": pl.List(pl.Boolean()),
        "model_versions": pl.List(pl.UInt32()),
        "lineup_revision": pl.UInt64(),
        "row_layout": pl.String(),
        "row": pl.Binary(),
        **dict.fromkeys(REVISION_COLUMNS, pl.Int64()),
        **dict.fromkeys(MISSING_COLUMNS, pl.UInt8()),
        "degraded": pl.Boolean(),
        "recorded": pl.Boolean(),
        "control": pl.Boolean(),
        "control_share": pl.Float64(),
        "given_up": pl.List(pl.String()),
        "reason_codes": pl.List(pl.String()),
        "profile_age_ms": pl.Int64(),
        "policy_version": pl.UInt32(),
        "rules": pl.List(pl.String()),
        "score_decision": pl.UInt8(),
    }
)
"""Every column of a decision: one for each entry of the decision log, so a purchase may have several.

`versions`, `raw_scores`, `scores` and `shadow` are parallel, one entry for each version that scored. `row`
is little-endian float64 in the order that the manifest's `layouts[row_layout]` names. The revision columns
hold what was read, 0 for an unknown entity, null where nothing was read; the missing columns hold a
`service.core.decision.MissingCause`, 0 where the profile informed the score. `rules` are the codes of the rules that
held, `policy_version` is 0 where no policy was active, `score_decision` is 0 where nobody told the score's own decision
from the whole.
"""

ADDED: Final[Mapping[str, object]] = MappingProxyType({"policy_version": 0, "rules": [], "score_decision": 0})
"""What the columns hold that a partition of an earlier release has not: those of decisions since version 2."""

FIRST_DECISION_SCHEMA: Final[Schema] = MappingProxyType(
    {name: dtype for name, dtype in DECISION_SCHEMA.items() if name not in ADDED}
)
"""The columns of a decision in version 1."""
