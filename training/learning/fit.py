"""Fitting: from rows and labels to the text of a LightGBM model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import lightgbm
import numpy as np
import numpy.typing as npt

from service.core.event import KINDS, EntityKind
from service.core.features import Feature
from service.core.formula import readings
from training.metrics import Column, Labels, average_precision
from training.replay.stream import Matrix

Parameter = bool | int | float | str
"""The value of one of LightGBM's parameters."""

PARAMETERS: Final[Mapping[str, Parameter]] = {
    "objective": "binary",
    "num_iterations": 150,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "max_bin": 4095,
    "bin_construct_sample_cnt": 1_000_000,
    "min_data_in_leaf": 20,
    "min_sum_hessian_in_leaf": 1.0,
    "lambda_l2": 1.0,
    "feature_fraction": 0.5,
    "boost_from_average": False,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 2,
    "verbosity": -1,
}
"""What LightGBM is given unless somebody says otherwise; docs/decisions says why."""


CHUNK_TREES: Final = 10
"""Trees between two looks at validation rows while a model grows."""


class Material(NamedTuple):
    """What is learned from, or judged on; `weights` say how many purchases a row stands for (None: one)."""

    matrix: Matrix
    labels: Labels
    weights: Column | None = None


class Grown(NamedTuple):
    """How well a model ranks rows that it did not learn from, and with how many trees it does so best."""

    trees: int
    average_precision: float


def fit(
    matrix: Matrix,
    labels: Labels,
    features: Sequence[Feature],
    seed: int,
    parameters: Mapping[str, Parameter],
    weights: Column | None = None,
) -> str:
    """Return the text of a model; equal input gives equal bytes. `parameters` are those of LightGBM, whole.

    Features that say so are held monotone. Cost: about 2 s for 70,000 rows of 55 features.
    """
    given = whole_parameters(features, seed, parameters)
    data = lightgbm.Dataset(
        matrix, labels, weight=weights, feature_name=[feature.name for feature in features], params=given
    )
    text: str = lightgbm.train(given, data).model_to_string()
    return text


def grow(
    learned: Material,
    watched: Material,
    features: Sequence[Feature],
    seed: int,
    parameters: Mapping[str, Parameter],
    patience_trees: int,
    tell: Callable[[int, float], None],
) -> Grown:
    """Return how many trees rank the watched rows best, and how well, without keeping the model.

    Looks after every `CHUNK_TREES` trees, and ends when `patience_trees` brought nothing. `tell(trees, average
    precision)` is called at each look and may end it by raising. `fit` with that many trees gives that model.
    """
    given = whole_parameters(features, seed, parameters)
    booster = lightgbm.Booster(
        given, lightgbm.Dataset(learned.matrix, learned.labels, weight=learned.weights, params=given)
    )
    limit = int(parameters["num_iterations"])
    best = Grown(0, -1.0)
    scores = np.zeros(watched.labels.size)
    for begin in range(0, limit, CHUNK_TREES):
        trees = min(begin + CHUNK_TREES, limit)
        for _ in range(begin, trees):
            booster.update()
        scores += booster.predict(watched.matrix, raw_score=True, start_iteration=begin, num_iteration=trees - begin)
        precision = average_precision(watched.labels, scores, watched.weights)
        if precision > best.average_precision:
            best = Grown(trees, precision)
        tell(trees, precision)
        if trees - best.trees >= patience_trees:
            break
    return best


def whole_parameters(
    features: Sequence[Feature], seed: int, parameters: Mapping[str, Parameter]
) -> dict[str, bool | int | float | str | list[int]]:
    """Return what LightGBM is given: the parameters, the seed, and which features are monotone."""
    given: dict[str, bool | int | float | str | list[int]] = {**parameters, "seed": seed}
    if any(feature.monotone for feature in features):
        given["monotone_constraints"] = [feature.monotone for feature in features]
    return given


def blanked(
    matrix: Matrix, features: Sequence[Feature], share: float, seed: int
) -> tuple[npt.NDArray[np.intp], Matrix]:
    """Return which rows were drawn, and copies of them as they would be with profiles that could not be read.

    Half of the copies have no profile at all, as when a read comes too late; the others lack one.
    """
    rng = np.random.default_rng(seed)
    drawn = np.flatnonzero(rng.random(len(matrix)) < share)
    lacking = rng.integers(0, 2 * len(KINDS), drawn.size)
    copies = matrix[drawn]
    for number, kind in enumerate(KINDS):
        one = lacking == number
        copies[one] = without(copies[one], features, (kind,))
    none = lacking >= len(KINDS)
    copies[none] = without(copies[none], features, KINDS)
    return drawn, copies


def without(matrix: Matrix, features: Sequence[Feature], kinds: Sequence[EntityKind]) -> Matrix:
    """Return rows as they would be had the profiles of these kinds not been read.

    A feature that depends on a profile that is not there is NaN: that is the law of formulas.
    """
    depends = [any(reading.kind in kinds for reading in readings([feature.formula])) for feature in features]
    copy = matrix.copy()
    copy[:, depends] = np.nan
    return copy
