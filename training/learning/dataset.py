"""Datasets: rows with what is known of their truth, divided by time with gaps.

Labels are as of a moment: a fraud counts once its label had arrived, and a purchase younger than the
label delay is not used at all, whether its label had arrived or not: otherwise the frauds that are found fast
would stand for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from service.core.features import Feature
from service.core.profile import Habits
from service.core.windows import DAY_MS
from service.errors import BadSetting
from training.data.events import Progress, about, frames, silent
from training.learning.facts import Truth, Truths, facts_of_events
from training.learning.facts_of_snapshot import facts_of_snapshot
from training.metrics import Labels
from training.replay.by_entity import Spread, parts_for, replay_snapshot, replay_stream_by_entity
from training.replay.cluster import Cluster, LocalThreads
from training.replay.kernel import Integers, Reals
from training.replay.order import EventSource, Flags
from training.replay.stream import Matrix, replay_all
from training.snapshot.read import Snapshot

Source = Path | Snapshot | EventSource
"""Where events come from: an event file, a snapshot, or whoever gives columns in recorded order."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows of all purchases of a source, in recorded order.

    `matrix` is rows by `features`, a file that is mapped into memory when a scratch folder was given.
    `positions` are the places of the purchases in the source; the columns from `time_ms` to `weight` are
    those of `training.learning.facts.Facts`: `label` is 1 for fraud and 0 else as all that is recorded says, `known_ms`
    when that was first said (0: nobody said, it counts with the label delay), `cleared_ms` when a confirmation
    was taken back (0: never), `pattern` names the fraud for reports, `card` numbers the card or else the user
    (-1: neither), `truth` is a `Truth`, `weight` is how many purchases one stands for. `newest_ms` is when the
    last event of the source became known. `unsound` counts the rows that read a profile of which a snapshot
    lacks updates.
    """

    features: tuple[Feature, ...]
    matrix: Matrix
    positions: Integers
    time_ms: Integers
    label: Labels
    known_ms: Integers
    pattern: pl.Series
    newest_ms: int
    cleared_ms: Integers
    amount_minor: Integers
    card: Integers
    truth: Truths
    weight: Reals
    unsound: int = 0

    @property
    def usable(self) -> Flags:
        """Tell which purchases have a truth to learn from: all but the declined ones of which nobody knows."""
        usable: Flags = self.truth != Truth.UNKNOWN
        return usable

    def labels_as_of(self, at_ms: int, label_delay_ms: int) -> Labels:
        """Return 1 for each purchase that was known to be fraud, and not cleared, at a moment; else 0."""
        known_ms = np.where(self.known_ms > 0, self.known_ms, self.time_ms + label_delay_ms)
        confirmed = ((self.label == 1) | (self.cleared_ms > 0)) & (known_ms <= at_ms)
        cleared = (self.cleared_ms > 0) & (self.cleared_ms <= at_ms)
        labels: Labels = (confirmed & ~cleared).astype(np.int8)
        return labels


def load_dataset(
    source: Source,
    features: Sequence[Feature],
    habits: Habits,
    *,
    cluster: Cluster | None = None,
    scratch: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Replay a source and keep what is needed to learn from it.

    Events of a file take effect in their order in it, those of a snapshot in the order of the revisions that
    they got. With `scratch`, a folder with room for 8 bytes for each feature of each purchase, the matrix is a
    file there, which the caller deletes; otherwise it is in memory. Rows are the same on any `cluster`. Raises
    BadSetting when the source cannot be read, or was recorded with other habits.
    """
    if isinstance(source, Snapshot):
        return _of_snapshot(source, features, habits, Spread(cluster or LocalThreads(), scratch=scratch), progress)
    events = partial(frames, source.absolute()) if isinstance(source, Path) else source
    if cluster is None:
        rows = replay_all(events, features, habits, scratch, progress)
    else:
        parts = parts_for(about(source).rows) if isinstance(source, Path) else 0
        rows = replay_stream_by_entity(events, features, habits, Spread(cluster, parts, scratch), progress).rows
    facts = facts_of_events(events, rows.positions)
    return Dataset(tuple(features), **rows._asdict(), **facts._asdict())


def _of_snapshot(
    snapshot: Snapshot,
    features: Sequence[Feature],
    habits: Habits,
    spread: Spread,
    progress: Progress,
) -> Dataset:
    made_of = snapshot.manifest.habits
    if made_of != habits:
        raise BadSetting(
            f"snapshot {snapshot.manifest.id}: habits are made of {made_of} in its store, not of {habits}: "
            f"give --habits {made_of}"
        )
    rows, sound = replay_snapshot(snapshot, features, spread, progress)
    facts = facts_of_snapshot(snapshot, rows.positions)
    unsound = int(sound.size - np.count_nonzero(sound))
    return Dataset(tuple(features), **rows._asdict(), **facts._asdict(), unsound=unsound)


class Part(NamedTuple):
    """A part of a split: from `begin_ms` until just before `end_ms`, with the labels known at `as_of_ms`."""

    begin_ms: int
    end_ms: int
    as_of_ms: int

    def rows(self, dataset: Dataset) -> Flags:
        """Tell which rows belong to it."""
        inside: Flags = (dataset.time_ms >= self.begin_ms) & (dataset.time_ms < self.end_ms)
        return inside


class TimeSplit(NamedTuple):
    """Train, then a gap, validation, a gap, test (None when none is wanted)."""

    train: Part
    validation: Part
    test: Part | None


def split_by_time(
    begin_ms: int, cutoff_ms: int, label_delay_ms: int, validation_share: float, test_share: float
) -> TimeSplit:
    """Divide the time whose labels have matured at the cutoff, with gaps of one label delay.

    The shares are of the time that remains without the gaps. Each part learns what was known when the
    next one begins, and no more. Raises BadSetting when the gaps leave less than a day to each part.
    """
    matured_ms = cutoff_ms - label_delay_ms - begin_ms
    gaps = 2 if test_share else 1
    usable_ms = matured_ms - gaps * label_delay_ms
    validation_ms, test_ms = int(usable_ms * validation_share), int(usable_ms * test_share)
    shortest_ms = min(usable_ms - validation_ms - test_ms, validation_ms, test_ms if test_share else DAY_MS)
    if shortest_ms < DAY_MS:
        raise BadSetting(
            f"{matured_ms / DAY_MS:.1f} days of purchases with matured labels are too few to divide with {gaps} gaps "
            f"of {label_delay_ms / DAY_MS:g} days: give more history, a shorter label delay or no test part"
        )
    end_ms = cutoff_ms - label_delay_ms
    test = None
    as_of_ms = cutoff_ms
    if test_share:
        test = Part(end_ms - test_ms, end_ms, as_of_ms)
        as_of_ms = test.begin_ms
        end_ms = as_of_ms - label_delay_ms
    validation = Part(end_ms - validation_ms, end_ms, as_of_ms)
    train = Part(begin_ms, validation.begin_ms - label_delay_ms, validation.begin_ms)
    return TimeSplit(train, validation, test)
