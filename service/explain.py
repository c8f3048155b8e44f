"""A decision in names, for people and for JSON: what an analyst is shown."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from service.core.decision import DecisionRecord
from service.core.event import KINDS


def decision_document(record: DecisionRecord, names: Sequence[str]) -> dict[str, Any]:
    """Return a decision as plain values; unknown features are None. The card's hash is not shown."""
    purchase = record.purchase
    values = struct.unpack(f"<{len(record.row) // 8}d", record.row)
    labels = list(names) or [f"feature {at}" for at in range(len(values))]
    revisions = {key.kind: revision for key, revision in record.revisions}
    profiles = {}
    for kind in KINDS:
        cause = record.missing.get(kind)
        seen = f"revision {revisions[kind]}" if kind in revisions else "not read"
        profiles[kind.name.lower()] = seen if cause is None else cause.name.lower().replace("_", " ")
    return {
        "purchase": {
            "purchase_id": purchase.event_id,
            "user_id": purchase.user_id,
            "seller_id": purchase.seller_id,
            "item_id": purchase.item_id,
            "amount_minor": purchase.amount_minor,
            "currency": purchase.currency,
            "quantity": purchase.quantity,
            "event_time_ms": purchase.event_time_ms,
        },
        "decision": record.decision.name,
        "score": record.score,
        "thresholds": {"review": record.thresholds.review, "decline": record.thresholds.decline},
        "policy_version": record.policy_version,
        "rules": list(record.rules),
        "score_decision": None if record.score_decision is None else record.score_decision.name,
        "decided_at_ms": record.decided_at_ms,
        "lineup_revision": record.lineup_revision,
        "model_versions": list(record.model_versions),
        "scores": [
            {"version": one.version, "raw_score": one.raw_score, "score": one.score, "shadow": one.shadow}
            for one in record.scores
        ],
        "degraded": record.degraded,
        "recorded": record.recorded,
        "control": record.control,
        "control_share": record.control_share,
        "given_up": list(record.given_up),
        "profile_age_ms": record.profile_age_ms,
        "profiles": profiles,
        "reasons": [
            {"code": reason.code, "text": reason.text, "contribution": reason.contribution} for reason in record.reasons
        ],
        "row": {name: None if math.isnan(value) else value for name, value in zip(labels, values, strict=True)},
    }
