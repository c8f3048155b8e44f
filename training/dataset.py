"""Datasets: rows with what is known of their truth, divided by time with gaps.

Labels are as of a moment: a fraud counts once its label had arrived, and a purchase younger than the
label delay is not used at all, whether its label had arrived or not: otherwise the frauds that are found fast
would stand for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.event import EventKind
from service.core.features import Feature
from service.core.profile import Habits
from service.core.windows import DAY_MS
from service.errors import BadSetting
from training.kernel import Integers
from training.metrics import Labels
from training.order import EventSource
from training.replay import Matrix, replay_all

Flags = npt.NDArray[np.bool_]

_COLUMNS: Final = ("kind", "event_time_ms", "ingest_time_ms", "label", "label_time_ms", "pattern")


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows of all purchases of a stream, in recorded order.

    `positions` are their places in the stream; `label` is 1 for fraud and 0 else, `known_ms` when that
    label arrived (0: nobody said, it counts with the label delay), `pattern` names the fraud for reports.
    `newest_ms` is when the last event of the stream became known.
    """

    features: tuple[Feature, ...]
    matrix: Matrix
    positions: Integers
    time_ms: Integers
    label: Labels
    known_ms: Integers
    pattern: pl.Series
    newest_ms: int

    def labels_as_of(self, at_ms: int, label_delay_ms: int) -> Labels:
        """Return 1 for each purchase that was known to be fraud at a moment, else 0."""
        known_ms = np.where(self.known_ms > 0, self.known_ms, self.time_ms + label_delay_ms)
        labels: Labels = ((self.label == 1) & (known_ms <= at_ms)).astype(np.int8)
        return labels


def load_dataset(source: EventSource, features: Sequence[Feature], habits: Habits) -> Dataset:
    """Replay a stream and keep what is needed to learn from it: some 8 bytes a feature for each purchase."""
    rows = replay_all(source, features, habits)
    pieces = []
    newest_ms = 0
    for frame in source(_COLUMNS):
        newest_ms = max(newest_ms, _largest(frame["ingest_time_ms"]))
        pieces.append(frame.drop("ingest_time_ms"))
    position = np.cumsum([0, *(piece.height for piece in pieces)])
    kept = []
    for start, piece in zip(position, pieces, strict=False):
        begin, end = np.searchsorted(rows.positions, (start, start + piece.height))
        kept.append(piece[rows.positions[begin:end] - start])
    bought = pl.concat(kept)
    assert (bought["kind"] == EventKind.PURCHASE).all(), "rows stand at purchases"
    return Dataset(
        tuple(features),
        rows.matrix,
        rows.positions,
        bought["event_time_ms"].to_numpy(),
        bought["label"].fill_null(0).to_numpy().astype(np.int8),
        bought["label_time_ms"].fill_null(0).to_numpy(),
        bought["pattern"],
        newest_ms,
    )


def _largest(column: pl.Series) -> int:
    largest = column.max()
    return largest if isinstance(largest, int) else 0


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
