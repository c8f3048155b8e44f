"""The naive replay: every event applied to the profiles one by one, every purchase scored right before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.compiled import compile_row
from service.core.event import Event, EventKind
from service.core.features import Feature
from service.core.profile import Habits
from service.core.row import row_of
from training.data.events import EVENT_COLUMNS, SCHEMA
from training.replay.order import EventSource
from training.replay.profiles import Profiles


def frame_of(events: Sequence[Event]) -> pl.DataFrame:
    """Return events as the columns of an event file."""
    columns = {name: [getattr(event, name) for event in events] for name in EVENT_COLUMNS}
    return pl.DataFrame(columns, schema={name: SCHEMA[name] for name in EVENT_COLUMNS})


def in_pieces(frame: pl.DataFrame, rows: int) -> EventSource:
    """Return a source that gives a frame in pieces of so many rows."""

    def source(columns: Sequence[str]) -> Iterable[pl.DataFrame]:
        return (piece.select(columns) for piece in frame.iter_slices(rows))

    return source


def naive_rows(events: Sequence[Event], features: Sequence[Feature], habits: Habits) -> npt.NDArray[np.float64]:
    """Return the row of every purchase that did not come before, in recorded order."""
    row = compile_row([feature.formula for feature in features])
    profiles = Profiles(habits)
    seen: set[str] = set()
    rows = []
    for event in events:
        if event.kind is EventKind.PURCHASE and event.event_id not in seen:
            seen.add(event.event_id)
            rows.append(row_of(row, event, profiles.images(event)))
        profiles.record(event)
    return np.array(rows, np.float64).reshape(len(rows), len(features))
