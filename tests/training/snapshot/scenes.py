"""What the snapshot tests record, and what a snapshot of it must hold, worked out entry by entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from service.core.decision import Decision, DecisionRecord
from service.core.event import FOLLOW_UPS, KINDS, EntityKind, Event, EventKind
from service.store.protocol import LoggedEvent, Store, Submission
from tests.make import NOW_MS, make_event, make_purchase, make_stream
from tests.store.decisions import make_decision
from training.data.events import Progress, silent
from training.snapshot.export import ExportOptions, Taken, take_snapshot
from training.snapshot.read import Snapshot, open_snapshot
from training.snapshot.schema import ENTITY_COLUMNS, MISSING_COLUMNS, REVISION_COLUMNS

NOW: Final = datetime(2026, 7, 30, 12, tzinfo=UTC)
LAYOUT: Final = "0123456789abcdef"
DAY_MS: Final = 86_400_000


def take(store: Store, folder: Path, progress: Progress = silent, **options: Any) -> Taken:
    """Take a snapshot in small chunks, as fast as it goes."""
    values: dict[str, Any] = {"max_events_per_s": 0, "chunk_events": 64, "chunk_decisions": 16}
    return take_snapshot(store, folder, ExportOptions("attempts", "EUR", **(values | options)), NOW, progress)


def record(store: Store, events: Iterable[Event]) -> None:
    """Apply events in batches, and keep a decision for every second purchase, which its event carries as well."""
    events = list(events)
    for start in range(0, len(events), 50):
        batch = events[start : start + 50]
        submissions = [Submission(event, _decision(event)) for event in batch]
        store.apply(submissions)
        store.put_decisions([one.decision for one in submissions if one.decision is not None])


def stream(seed: int, count: int, name: str = "") -> list[Event]:
    """Return a hard stream of events over many days, ids and all of `name`'s own."""
    return [_named(event, name) for event in make_stream(seed, count, entities=5)]


def purchases(count: int, name: str, *, days: int = 1, **fields: Any) -> list[Event]:
    """Return purchases of different people, spread over days."""
    return [
        make_purchase(
            f"order-{name}-{number:06d}",
            **{
                "event_time_ms": NOW_MS + number * days * DAY_MS // count,
                "user_id": f"person-{name}-{number % 7}",
                "seller_id": f"shop-{name}-{number % 3}",
                "item_id": f"thing-{name}-{number % 5}",
                "card_hash": f"card-{name}-{number % 9}",
                **fields,
            },
        )
        for number in range(count)
    ]


def logged(store: Store) -> list[LoggedEvent]:
    """Return the whole event log."""
    entries, cursor = [], ""
    while True:
        page = store.events(cursor, 500)
        entries += page.events
        if page.cursor == cursor:
            return entries
        cursor = page.cursor


def decided(store: Store) -> list[DecisionRecord]:
    """Return the whole decision log."""
    entries, cursor = [], ""
    while True:
        page = store.decision_log(cursor, 500)
        entries += page.decisions
        if page.cursor == cursor:
            return entries
        cursor = page.cursor


def rows(snapshot: Snapshot, kind: str) -> list[dict[str, Any]]:
    """Return every row of a snapshot, in its order."""
    pieces = snapshot.events() if kind == "events" else snapshot.decisions()
    return [row for piece in pieces for row in piece.iter_rows(named=True)]


def holds_the_logs(store: Store, folder: Path, id_: str = "latest") -> None:
    """Assert that a snapshot holds both logs, every value of every entry, in their order."""
    snapshot = open_snapshot(folder, id_)
    assert rows(snapshot, "events") == [event_row(at, one) for at, one in enumerate(logged(store))]
    assert rows(snapshot, "decisions") == [decision_row(at, one) for at, one in enumerate(decided(store))]


def event_row(position: int, entry: LoggedEvent) -> dict[str, Any]:
    """Return the row that an entry of the event log must become."""
    event, got = entry.event, {kind: (id_, revision) for (kind, id_), revision in entry.revisions}
    own = dict(zip(KINDS, (event.user_id, event.seller_id, event.item_id, event.card_hash), strict=True))
    touched = {kind: got.get(kind, ("", 0))[0] for kind in KINDS} if event.kind in FOLLOW_UPS else own
    return {
        "position": position,
        "event_id": event.event_id,
        "kind": int(event.kind),
        "event_time_ms": event.event_time_ms,
        "ingest_time_ms": event.ingest_time_ms,
        **_by_kind(ENTITY_COLUMNS, touched),
        "purchase_id": event.purchase_id,
        "amount_minor": event.amount_minor,
        "currency": event.currency,
        "quantity": event.quantity,
        "settlement": int(event.settlement),
        **_by_kind(REVISION_COLUMNS, {kind: got.get(kind, ("", 0))[1] for kind in KINDS}),
    }


def decision_row(position: int, record: DecisionRecord) -> dict[str, Any]:
    """Return the row that an entry of the decision log must become."""
    read = {kind: revision for (kind, _), revision in record.revisions}
    purchase = record.purchase
    return {
        "position": position,
        "purchase_id": purchase.purchase_id,
        "decided_at_ms": record.decided_at_ms,
        "event_time_ms": purchase.event_time_ms,
        "ingest_time_ms": purchase.ingest_time_ms,
        "user_id": purchase.user_id,
        "seller_id": purchase.seller_id,
        "item_id": purchase.item_id,
        "card_hash": purchase.card_hash,
        "amount_minor": purchase.amount_minor,
        "currency": purchase.currency,
        "quantity": purchase.quantity,
        "score": record.score,
        "decision": int(record.decision),
        "review_threshold": record.thresholds.review,
        "decline_threshold": record.thresholds.decline,
        "versions": [one.version for one in record.scores],
        "raw_scores": [one.raw_score for one in record.scores],
        "scores": [one.score for one in record.scores],
        "shadow": [one.shadow for one in record.scores],
        "model_versions": list(record.model_versions),
        "lineup_revision": record.lineup_revision,
        "row_layout": record.row_layout,
        "row": record.row,
        **_by_kind(REVISION_COLUMNS, {kind: read.get(kind) for kind in KINDS}),
        **_by_kind(MISSING_COLUMNS, {kind: int(record.missing.get(kind, 0)) for kind in KINDS}),
        "degraded": record.degraded,
        "recorded": record.recorded,
        "control": record.control,
        "control_share": record.control_share,
        "given_up": list(record.given_up),
        "reason_codes": [one.code for one in record.reasons],
        "profile_age_ms": record.profile_age_ms,
        "policy_version": record.policy_version,
        "rules": list(record.rules),
        "score_decision": int(record.score_decision or 0),
    }


def _by_kind(columns: Sequence[str], values: dict[EntityKind, Any]) -> dict[str, Any]:
    return dict(zip(columns, values.values(), strict=True))


def _decision(event: Event) -> DecisionRecord | None:
    if event.kind is not EventKind.PURCHASE or event.amount_minor % 2 == 0:
        return None
    fields: dict[str, Any] = {"purchase": event, "decided_at_ms": event.ingest_time_ms + 5, "row_layout": LAYOUT}
    if event.quantity > 1:
        return make_decision(**fields, scores=(), reasons=(), given_up=(), missing={}, revisions=(), control=True)
    return make_decision(**fields, policy_version=3, rules=("limit:a", "degraded"), score_decision=Decision.APPROVE)


def _named(event: Event, name: str) -> Event:
    if not name:
        return event
    fields = {
        field: f"{value}-{name}"
        for field in ("user_id", "seller_id", "item_id", "card_hash", "purchase_id")
        if (value := getattr(event, field))
    }
    return make_event(
        event.kind,
        **(
            {"event_time_ms": event.event_time_ms, "ingest_time_ms": event.ingest_time_ms}
            | {"amount_minor": event.amount_minor, "quantity": event.quantity, "settlement": event.settlement}
            | fields
        ),
    )


def ids_of(events: Iterable[Event]) -> Iterator[str]:
    """Yield every id that events name."""
    for event in events:
        yield from (
            id_ for id_ in (event.user_id, event.seller_id, event.item_id, event.card_hash, event.purchase_id) if id_
        )
        yield event.event_id
