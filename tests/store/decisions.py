"""Decisions as tests need them."""

from __future__ import annotations

from typing import Any

from service.core.decision import Decision, DecisionRecord, MissingCause, ReasonShown, Thresholds, VersionScore
from service.core.event import EntityKey, EntityKind
from service.served import Served
from tests.make import NOW_MS, make_purchase


def make_decision(purchase_id: str = "p-1", **fields: Any) -> DecisionRecord:
    """Return a decision with something in every field."""
    values: dict[str, Any] = {
        "purchase": make_purchase(purchase_id),
        "decided_at_ms": NOW_MS,
        "score": 0.125,
        "decision": Decision.REVIEW,
        "thresholds": Thresholds(0.1, 0.5),
        "scores": (VersionScore(7, -1.5, 0.125, shadow=False), VersionScore(8, 0.1, 0.3, shadow=True)),
        "model_versions": (7,),
        "lineup_revision": 12,
        "row_layout": "0123456789abcdef",
        "row": b"\x00" * 16,
        "revisions": ((EntityKey(EntityKind.USER, "u-1"), 3), (EntityKey(EntityKind.CARD, "c-1"), 0)),
        "missing": {EntityKind.CARD: MissingCause.UNKNOWN},
        "degraded": False,
        "profile_age_ms": 52_000,
        "recorded": False,
        "reasons": (ReasonShown("user_tenure", "the account is new", 0.4),),
        "given_up": ("shadow",),
    }
    return DecisionRecord(**(values | fields))


def make_served(purchase_id: str = "p-1", **fields: Any) -> Served:
    """Return a decision that was answered, a millisecond for each stage."""
    return Served(make_decision(purchase_id, **fields), 1.0, 1.001, 1.002, 1.003, 1.004)
