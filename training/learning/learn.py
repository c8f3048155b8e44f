"""Learning: from the rows of two parts to a calibrated model with thresholds; the test part never comes here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from service.core.features import Feature
from service.core.windows import DAY_MS
from service.registry.manifest import ThresholdChoice
from training.learning.calibrate import cheapest_thresholds, choose_thresholds
from training.learning.evidence import Rows
from training.learning.fit import PARAMETERS, Material, Parameter, blanked, fit, grow
from training.learning.fit_dask import fit_distributed
from training.learning.model import Model
from training.learning.options import TrainOptions
from training.replay.cluster import Cluster, DaskCluster
from training.replay.kernel import Integers


class Choice(NamedTuple):
    """What is learned from, and how: LightGBM's parameters, whole, and which of the training rows."""

    parameters: Mapping[str, Parameter]
    history_days: float
    honest_share: float


class Lesson(NamedTuple):
    """The rows that a model learns from and those that it is chosen by; times and amounts are of these rows."""

    features: Sequence[Feature]
    train: Rows
    train_time_ms: Integers
    validation: Rows
    validation_amount_minor: Integers

    @property
    def watched(self) -> Material:
        """Return the validation rows."""
        return Material(self.validation.matrix, self.validation.labels, self.validation.weights)

    def days(self) -> float:
        """Return how long the training part is."""
        return float(np.ptp(self.train_time_ms)) / DAY_MS

    def sample(self, choice: Choice, options: TrainOptions) -> Material:
        """Return the rows to learn from: all or the newest, all or some of the honest ones, and blanked copies."""
        rows = self.train
        kept = np.ones(rows.labels.size, np.bool_)
        if choice.history_days:
            kept &= self.train_time_ms > self.train_time_ms.max() - choice.history_days * DAY_MS
        if choice.honest_share < 1.0:
            drawn = np.random.default_rng((options.seed, 1)).random(kept.size) < choice.honest_share
            kept &= drawn | (rows.labels == 1)
        matrix, labels, weights = rows.matrix, rows.labels, rows.weights
        if not kept.all():
            matrix, labels = matrix[kept], labels[kept]
            weights = None if weights is None else weights[kept]
        copied, copies = blanked(matrix, self.features, options.blank_share, options.seed)
        return Material(
            np.concatenate([matrix, copies]),
            np.concatenate([labels, labels[copied]]),
            None if weights is None else np.concatenate([weights, weights[copied]]),
        )


Fit = Callable[[Material, Sequence[Feature], int, Mapping[str, Parameter]], str]
"""Makes the text of a model of rows, features, seed and LightGBM's parameters: here or on a cluster."""


def fit_here(material: Material, features: Sequence[Feature], seed: int, parameters: Mapping[str, Parameter]) -> str:
    """Fit in this process."""
    return fit(material.matrix, material.labels, features, seed, parameters, material.weights)


def fit_on(cluster: Cluster | None) -> Fit:
    """Return what fits: the workers of a Dask cluster together, or else this process."""
    return partial(fit_distributed, cluster.client) if isinstance(cluster, DaskCluster) else fit_here


class Learned(NamedTuple):
    """A model with its thresholds, and how it was learned."""

    model: Model
    thresholds: ThresholdChoice
    choice: Choice


def stated(options: TrainOptions) -> Choice:
    """Return what the options say, with our parameters where they say nothing."""
    return Choice({**PARAMETERS, **options.parameters}, options.history_days, options.honest_share)


def learn(lesson: Lesson, choice: Choice, options: TrainOptions, fit: Fit) -> Learned:
    """Return what one choice gives; with `stop_after`, the number of trees is the best one on validation."""
    material = lesson.sample(choice, options)
    parameters = dict(choice.parameters)
    if options.stop_after:
        grown = grow(
            material, lesson.watched, lesson.features, options.seed, parameters, options.stop_after, _tell_nobody
        )
        parameters["num_iterations"] = grown.trees
    text = fit(material, lesson.features, options.seed, parameters)
    validation = lesson.validation
    model = Model(text, validation.matrix, validation.labels, validation.weights)
    return Learned(model, _thresholds(model, lesson, options), choice._replace(parameters=parameters))


def _thresholds(model: Model, lesson: Lesson, options: TrainOptions) -> ThresholdChoice:
    rows = lesson.validation
    scores = model.scores(rows.matrix)
    if options.costs is None:
        return choose_thresholds(
            scores,
            rows.labels,
            options.review_rate,
            options.decline_precision,
            options.least_declined,
            weights=rows.weights,
        )
    return cheapest_thresholds(
        scores, rows.labels, lesson.validation_amount_minor, options.costs, options.least_declined, weights=rows.weights
    )


def _tell_nobody(_trees: int, _precision: float) -> None:
    pass
