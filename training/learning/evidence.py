"""What a version brings along to be believed: metrics, golden cases, and what its inputs looked like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.core.compiled import compile_row
from service.core.event import KINDS
from service.core.features import Feature
from service.core.row import row_of
from service.registry.golden import Golden, Moment, make_golden
from service.registry.manifest import Baseline, Histogram, Interval
from training.learning.fit import without
from training.learning.model import Model
from training.learning.origin import Moments
from training.metrics import Column, Labels, Metric, average_precision, estimate, recall_at, roc_auc
from training.replay.kernel import Integers
from training.replay.stream import Matrix

GOLDEN_MOMENTS: Final = 8
SCORE_EDGES: Final = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
FEATURE_EDGES: Final = tuple(np.linspace(0.0, 1.0, 21).tolist())


class Rows(NamedTuple):
    """The rows of one part of a split; `places` are theirs in the dataset.

    `weights` say how many purchases each stands for (None: one), `card` which card or else user it is of.
    """

    places: npt.NDArray[np.intp]
    matrix: Matrix
    labels: Labels
    weights: Column | None = None
    card: Integers | None = None


def metrics_of(
    model: Model, parts: Mapping[str, Rows], features: Sequence[Feature], review_rate: float, seed: int
) -> dict[str, dict[str, Interval]]:
    """Return the metrics of each part, and what `validation` loses without one profile and without any."""
    wanted: dict[str, Metric] = {
        "average_precision": average_precision,
        "roc_auc": roc_auc,
        f"recall_at_{review_rate:g}": recall_at(review_rate),
    }
    found = {}
    for name, part in parts.items():
        scores = model.scores(part.matrix)
        estimates = {
            what: estimate(metric, part.labels, scores, seed, groups=part.card, weights=part.weights)
            for what, metric in wanted.items()
        }
        found[name] = {what: Interval(value=one.value, low=one.low, high=one.high) for what, one in estimates.items()}
        found[name] |= _level(part.labels, scores, part.weights)
    validation = parts["validation"]
    missing = {kind.name.lower(): (kind,) for kind in KINDS} | {"any": KINDS}
    for name, kinds in missing.items():
        scores = model.scores(without(validation.matrix, features, kinds))
        value = average_precision(validation.labels, scores, validation.weights)
        level = _level(validation.labels, scores, validation.weights)
        found[f"validation_without_{name}_profile"] = {"average_precision": Interval(value=value)} | level
    return found


def _level(labels: Labels, scores: Column, weights: Column | None) -> dict[str, Interval]:
    """Return what scores say on average and what was: they agree when the score is a probability."""
    means = (("mean_score", scores), ("fraud_share", labels.astype(np.float64)))
    return {name: Interval(value=float(np.average(column, weights=weights))) for name, column in means}


def golden_of(
    model: Model,
    features: Sequence[Feature],
    positions: Integers,
    matrix: Matrix,
    moments: Moments,
    seed: int,
) -> Golden:
    """Return golden cases from these rows: the riskiest, the least risky, others, and one without any profile.

    `positions` are the places of the rows in the source, whose `moments` are their profiles, rebuilt event by
    event; a row that replay made otherwise is a broken invariant.
    """
    ranked = np.argsort(model.booster.raw_scores(matrix), kind="stable")
    others = np.random.default_rng(seed).choice(ranked, min(GOLDEN_MOMENTS - 2, ranked.size), replace=False)
    chosen = np.unique(np.append(others, ranked[[0, -1]]))
    seen = moments(positions[chosen].tolist())
    compute = compile_row([feature.formula for feature in features])
    for replayed, moment in zip(matrix[chosen], seen, strict=True):
        served = np.array(row_of(compute, moment.purchase, moment.images))
        assert np.array_equal(served, replayed, equal_nan=True), "replay differs from the profiles"
    unread = Moment(seen[-1].purchase, (None,) * len(KINDS))
    return make_golden(features, model, [*seen, unread])


def baseline_of(model: Model, matrix: Matrix, features: Sequence[Feature]) -> Baseline:
    """Return what features and score looked like over these rows."""
    columns = {feature.name: _histogram(matrix[:, at], FEATURE_EDGES) for at, feature in enumerate(features)}
    return Baseline(features=columns, score=_histogram(model.scores(matrix), SCORE_EDGES))


def _histogram(column: Column, edges: tuple[float, ...]) -> Histogram:
    known = column[~np.isnan(column)]
    counts, _ = np.histogram(known, edges)
    return Histogram(edges=edges, counts=tuple(counts.tolist()), unknown=int(column.size - known.size))
