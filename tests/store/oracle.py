"""The naive oracle of the store tests: profiles worked out from the event log and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from service.core.event import FOLLOW_UPS, EntityKey, EventKind
from service.core.profile import SCHEMAS, Habits, Image, ProfileState, Update, updates_of
from service.store.protocol import LoggedEvent, Outcome, Status, Store, Submission


def whole_log(store: Store, cursor: str = "", limit: int = 500) -> list[LoggedEvent]:
    """Return all that the event log holds after a cursor, read page by page."""
    log: list[LoggedEvent] = []
    while True:
        page = store.events(cursor, limit)
        log += page.events
        if page.cursor == cursor:
            return log
        cursor = page.cursor


def profiles_of(log: Sequence[LoggedEvent], habits: Habits = "attempts") -> dict[EntityKey, Image]:
    """Return the profile of every entity that the log names.

    Each entity's updates are applied in the order of the revisions that the log names, which must be
    1, 2, 3 and so on without a gap or a repeat.
    """
    logged = {one.event.event_id: one for one in log}
    assert len(logged) == len(log), "the log holds an event twice"
    history: dict[EntityKey, dict[int, Update]] = defaultdict(dict)
    for one in log:
        updates = _updates(one, logged, habits)
        assert tuple(update.key for update in updates) == tuple(key for key, _ in one.revisions), one
        for update, (key, revision) in zip(updates, one.revisions, strict=True):
            assert revision not in history[key], f"{key} got revision {revision} twice"
            history[key][revision] = update
    return {key: _image(key, updates) for key, updates in history.items()}


def _updates(one: LoggedEvent, logged: dict[str, LoggedEvent], habits: Habits) -> list[Update]:
    event = one.event
    purchase = logged[event.purchase_id].event if event.kind in FOLLOW_UPS else None
    confirmed_at_ms = 0
    if event.kind is EventKind.FRAUD_CLEARED and one.revisions:
        # It has revisions, so it took back a confirmation, which must have come before it.
        confirmation = logged[f"fraud:{event.purchase_id}"]
        assert all(mine > theirs for (_, mine), (_, theirs) in zip(one.revisions, confirmation.revisions, strict=True))
        confirmed_at_ms = confirmation.event.event_time_ms
    return updates_of(event, purchase, confirmed_at_ms, habits)


def _image(key: EntityKey, updates: dict[int, Update]) -> Image:
    state = ProfileState(SCHEMAS[key.kind])
    for expected in range(1, len(updates) + 1):
        assert state.apply(updates[expected]) == expected
    return state.image()


def assert_whole(store: Store, habits: Habits = "attempts") -> list[LoggedEvent]:
    """Check that every profile equals the oracle's, and return the log."""
    log = whole_log(store)
    for key, image in profiles_of(log, habits).items():
        assert store.profile(key) == image, key
    return log


def settle(store: Store, submissions: Iterable[Submission], attempts: int = 50) -> list[Outcome]:
    """Apply events and repeat those that are RETRY, as a caller does; return the last outcome of each."""
    wanted = list(submissions)
    outcomes = store.apply(wanted)
    for _ in range(attempts):
        again = [index for index, outcome in enumerate(outcomes) if outcome.status is Status.RETRY]
        if not again:
            break
        for index, outcome in zip(again, store.apply([wanted[index] for index in again]), strict=True):
            outcomes[index] = outcome
    return outcomes
