"""Where a training's data come from: an event file or a snapshot, and what each says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from service.core.profile import Habits
from service.registry.golden import Moment
from training.data import events
from training.data.hashes import hashes
from training.learning.facts import codes_of
from training.replay.kernel import Integers
from training.replay.moments import moments_by_revision
from training.replay.order import EventSource
from training.replay.profiles import moments_at
from training.snapshot.read import Snapshot

Moments = Callable[[Sequence[int]], list[Moment]]
"""Gives the purchases at some positions with the profiles as they were just before them."""


class Origin(NamedTuple):
    """What a source says of itself; `name` is for sentences, `habits` None where it leaves them open."""

    name: str
    id: str
    content_sha256: str
    rows: int
    habits: Habits | None
    currency: str | None
    """Of all amounts; None when nobody said, or when there are several."""
    events: EventSource

    def moments(self, habits: Habits) -> Moments:
        """Return what rebuilds single profiles out of it."""
        by = moments_at if self.habits is None else moments_by_revision
        return lambda positions: by(self.events, positions, habits)

    def purchases(self, positions: Integers, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield columns of the purchases at these positions, which rise, in pieces; reads the source once."""
        start = 0
        stored = () if self.habits is None else ("position",)
        for frame in self.events((*stored, *columns)):
            piece = frame if stored else frame.with_row_index("position", offset=start)
            start += frame.height
            wanted = np.isin(piece["position"].to_numpy(), positions, assume_unique=True)
            yield piece.filter(pl.Series(wanted, dtype=pl.Boolean)).select(columns)

    def sellers(self, positions: Integers) -> Integers:
        """Return a code of the seller of each of these purchases, -1 where there is none."""
        sellers = pl.concat(self.purchases(positions, ("seller_id",)))["seller_id"]
        named = (sellers != "").to_numpy()
        return codes_of(np.where(named, hashes(sellers), 0).astype(np.uint64))


def origin_of(source: Path | Snapshot) -> Origin:
    """Return what a source says of itself. Raises BadSetting when a file is no event file."""
    if isinstance(source, Snapshot):
        manifest = source.manifest
        return Origin(
            name=f"snapshot {manifest.id}",
            id=manifest.id,
            content_sha256=manifest.content_sha256,
            rows=manifest.rows_events,
            habits=manifest.habits,
            currency=manifest.currency,
            events=source.events,
        )
    file = events.about(source)
    return Origin(
        name=f"event file {source}",
        id=str(file.origin.get("made_by", source.name)),
        content_sha256=file.content_hash,
        rows=file.rows,
        habits=None,
        currency=_currency(source),
        events=partial(events.frames, source),
    )


def _currency(path: Path) -> str | None:
    named = events.scan(path).select(pl.col("currency").unique()).collect()["currency"].to_list()
    currencies = [currency for currency in named if currency]
    return currencies[0] if len(currencies) == 1 else None
