"""Preparing: the rows of a source, divided by time into what is learned from, chosen by and judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.core.features import BY_NAME, FEATURES, Feature
from service.core.profile import Habits
from service.errors import BadSetting
from training.data.events import Progress
from training.learning.champion import Champion
from training.learning.dataset import Dataset, TimeSplit, load_dataset, split_by_time
from training.learning.evidence import Rows
from training.learning.facts import Truth
from training.learning.learn import Lesson
from training.learning.options import TrainOptions
from training.learning.origin import Origin
from training.replay.cluster import Cluster
from training.snapshot.read import Snapshot


class Prepared(NamedTuple):
    """What a training works on; `parts` by name: train, validation and, when there is one, test.

    `dataset` has the features of the champion behind those of the candidate.
    """

    origin: Origin
    habits: Habits
    features: tuple[Feature, ...]
    champion: Champion | None
    dataset: Dataset
    split: TimeSplit
    parts: Mapping[str, Rows]

    @property
    def judging(self) -> Rows:
        """Return the rows of the part that judges: the test part, or validation when there is none."""
        return self.parts.get("test", self.parts["validation"])

    def lesson(self) -> Lesson:
        """Return what may be learned from and chosen by: everything but the test part."""
        train, validation = self.parts["train"], self.parts["validation"]
        return Lesson(
            features=self.features,
            train=train,
            train_time_ms=self.dataset.time_ms[train.places],
            validation=validation,
            validation_amount_minor=self.dataset.amount_minor[validation.places],
        )

    def selection(self) -> dict[str, int]:
        """Return how many purchases there are of each truth, and how many were let through by chance."""
        named = {truth.name.lower(): int((self.dataset.truth == truth).sum()) for truth in Truth}
        return {**named, "control": int((self.dataset.weight != 1.0).sum())}


def chosen_features(names: Sequence[str]) -> tuple[Feature, ...]:
    """Return the features of these names, all of them for none. Raises BadSetting that names an unknown one."""
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise BadSetting(f"feature {unknown[0]!r} is not declared; docs/features.md lists those that are")
    return tuple(BY_NAME[name] for name in names) or FEATURES


def prepare(
    source: Path | Snapshot,
    origin: Origin,
    champion: Champion | None,
    options: TrainOptions,
    progress: Progress,
    cluster: Cluster | None,
    scratch: Path,
) -> Prepared:
    """Replay a source and divide it; the matrix is a file in `scratch`. Raises BadSetting when it is too little."""
    habits = origin.habits or options.habits
    features = chosen_features(options.features)
    needed = features if champion is None else tuple(dict.fromkeys((*features, *champion.features)))
    dataset = load_dataset(source, needed, habits, cluster=cluster, scratch=scratch, progress=progress)
    if not dataset.time_ms.size:
        raise BadSetting(f"{origin.name}: holds no purchases")
    split = split_by_time(
        int(dataset.time_ms.min()),
        options.cutoff_ms or dataset.newest_ms,
        options.label_delay_ms,
        options.validation_share,
        options.test_share,
    )
    parts = _parts(dataset, split, len(features), options)
    return Prepared(origin, habits, features, champion, dataset, split, parts)


def _parts(dataset: Dataset, split: TimeSplit, columns: int, options: TrainOptions) -> dict[str, Rows]:
    """Return the rows of each part by its name, with the labels that were known when the next one began.

    Purchases whose truth cannot come are in no part; those that were let through by chance stand for them.
    """
    weighted = bool((dataset.weight != 1.0).any())
    parts = {}
    for name, part in split._asdict().items():
        if part is None:
            continue
        places = np.flatnonzero(part.rows(dataset) & dataset.usable)
        labels = dataset.labels_as_of(part.as_of_ms, options.label_delay_ms)[places]
        if not labels.any() or labels.all():
            raise BadSetting(
                f"the {name} part holds {labels.size} purchases, {int(labels.sum())} of them known to be fraud: "
                "it needs both kinds; give more history"
            )
        weights = dataset.weight[places] if weighted else None
        parts[name] = Rows(places, dataset.matrix[places, :columns], labels, weights, dataset.card[places])
    return parts
