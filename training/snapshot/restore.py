"""A snapshot back into a store: the event log of a fresh place, out of which its profiles are made afterwards.

For a store that was lost, or whose events came to the end of their life: what the log held when the snapshot was
taken is put there as it was, with the revisions that each event got, so that decisions name the same profiles
as before. Decisions stay in the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from service.core.erasure import is_erased
from service.core.event import FOLLOW_UPS, KINDS, EntityKey
from service.errors import BadSetting
from service.store.protocol import LoggedEvent, Store
from training.data.events import EVENT_COLUMNS, Progress, events_of
from training.snapshot.log import event_log
from training.snapshot.manifest import LogMark
from training.snapshot.read import Snapshot
from training.snapshot.schema import ENTITY_COLUMNS, REVISION_COLUMNS

BATCH_EVENTS = 1000
"""Events that are put into the store at a time."""

_FOLLOW_UPS = [int(kind) for kind in FOLLOW_UPS]


def restore(snapshot: Snapshot, target: Store, progress: Progress) -> int:
    """Put the events of a snapshot into the log of a fresh store, and return how many the snapshot holds.

    To break it off and run it again is harmless: what is there stays. Nobody serves from `target` yet; make its
    profiles with `python -m service rebuild --alone`. Raises BadSetting when the ids cannot be revealed, or when
    `target` holds something else or a person who was forgotten since, StoreUnavailable. Cost: about 40 µs for an event.
    """
    if not (snapshot.reveal and snapshot.has_keys()):
        raise BadSetting(f"snapshot {snapshot.manifest.id}: without its vault the ids of a store cannot be restored")
    total, done = snapshot.manifest.rows_events, 0
    there = event_log(target, BATCH_EVENTS).end(LogMark())
    for batch in logged_events(snapshot):
        if not done:
            _check_fresh(target, batch[0], snapshot.manifest.id)
        if done < there:
            _check_nobody_comes_back(target, batch[: there - done])
        target.restore(batch)
        done += len(batch)
        progress("restoring events", done, total)
    return done


def logged_events(snapshot: Snapshot) -> Iterator[list[LoggedEvent]]:
    """Yield the events of a snapshot as its store's log held them, in its order and without their decisions."""
    follows = pl.col("kind").is_in(_FOLLOW_UPS)
    for piece in snapshot.events((*EVENT_COLUMNS, *REVISION_COLUMNS)):
        touched = piece.select(*ENTITY_COLUMNS, *REVISION_COLUMNS).rows()
        own = piece.with_columns(
            pl.when(follows).then(pl.lit("")).otherwise(name).alias(name) for name in ENTITY_COLUMNS
        )
        entries = []
        for event, row in zip(events_of(own), touched, strict=True):
            ids, revisions = row[: len(KINDS)], row[len(KINDS) :]
            got = zip(KINDS, ids, revisions, strict=True)
            entries.append(
                LoggedEvent(event, tuple((EntityKey(kind, id_), number) for kind, id_, number in got if number), None)
            )
        for start in range(0, len(entries), BATCH_EVENTS):
            yield entries[start : start + BATCH_EVENTS]


def _check_nobody_comes_back(target: Store, known: Sequence[LoggedEvent]) -> None:
    """Raise BadSetting when the store has events, by their place, under ids that were erased since.

    It is a copy from before somebody was forgotten: their events would be in it twice, under both ids.
    """
    erased = [one.event.event_id for one in known if _names_nobody(one)]
    if erased and None in target.recorded(erased):
        raise BadSetting(
            "the store is a copy from before somebody was forgotten, and would bring that person back: name a fresh "
            "place in the settings, and restore into that"
        )


def _names_nobody(logged: LoggedEvent) -> bool:
    return is_erased(logged.event.purchase_id) or any(is_erased(key.id) for key, _ in logged.revisions)


def _check_fresh(target: Store, first: LoggedEvent, id_: str) -> None:
    """Raise BadSetting when a store's log does not begin as the snapshot does."""
    there = target.events("", 1).events
    if there and there[0].event.event_id != first.event.event_id:
        raise BadSetting(f"the store holds something else than snapshot {id_}: name a fresh one in the settings")
