"""Fitting: from rows and labels to the text of a LightGBM model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import lightgbm
import numpy as np
import numpy.typing as npt

from service.core.event import KINDS, EntityKind
from service.core.features import Feature
from service.core.formula import readings
from training.metrics import Labels
from training.replay import Matrix

Parameter = bool | int | float | str

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


def fit(
    matrix: Matrix, labels: Labels, features: Sequence[Feature], seed: int, parameters: Mapping[str, Parameter]
) -> str:
    """Return the text of a model; equal input gives equal bytes. `parameters` are those of LightGBM, whole.

    Features that say so are held monotone. Cost: about 2 s for 70,000 rows of 55 features.
    """
    given: dict[str, object] = {**parameters, "seed": seed}
    if any(feature.monotone for feature in features):
        given["monotone_constraints"] = [feature.monotone for feature in features]
    data = lightgbm.Dataset(
        matrix, labels, feature_name=[feature.name for feature in features], params=given, free_raw_data=True
    )
    text: str = lightgbm.train(given, data).model_to_string()
    return text


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
