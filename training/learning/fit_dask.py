"""Fitting on more than one machine: LightGBM's own distributed trainer, on the workers of a Dask cluster.

Each worker bins and counts its own rows, and the histograms are added up over the network; each feature's bins are
found from the rows of one worker. So the model is as good as that of one machine but not the same, and not the
same twice either: which worker finds which bins depends on ports that are drawn when it starts.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from service.core.features import Feature
from training.learning.fit import Material, Parameter, whole_parameters

if TYPE_CHECKING:
    from distributed import Client

_NAMES: Final = {
    "num_iterations": "n_estimators",
    "bin_construct_sample_cnt": "subsample_for_bin",
    "feature_fraction": "colsample_bytree",
    "min_sum_hessian_in_leaf": "min_child_weight",
    "min_data_in_leaf": "min_child_samples",
    "lambda_l1": "reg_alpha",
    "lambda_l2": "reg_lambda",
    "seed": "random_state",
}
"""The names of LightGBM's parameters in its trainer for Dask, where they are others: given by both, it warns."""

_OF_ONE_MACHINE: Final = ("num_threads",)
_OF_THE_NETWORK: Final = re.compile(r"^\[(machines|local_listen_port|time_out|num_machines): .*\]\n", re.MULTILINE)


def fit_distributed(
    client: Client, material: Material, features: Sequence[Feature], seed: int, parameters: Mapping[str, Parameter]
) -> str:
    """Return the text of a model that the workers of a cluster fit together, each on an equal share of the rows.

    Cost: the rows travel to the workers once, and stay there until the model is there.
    """
    from dask import array  # noqa: PLC0415  takes a second to import
    from dask.delayed import delayed  # noqa: PLC0415
    from lightgbm.dask import DaskLGBMClassifier  # noqa: PLC0415

    workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
    bounds = np.linspace(0, len(material.labels), len(workers) + 1).astype(np.int64)
    weights = np.ones(len(material.labels)) if material.weights is None else material.weights
    pieces = []
    for column in (material.matrix, material.labels, weights):
        shares = []
        for worker, begin, end in zip(workers, bounds, bounds[1:], strict=False):
            [share] = client.scatter([column[begin:end]], workers=[worker], hash=False)  # type: ignore[no-untyped-call]
            shape = (int(end - begin), *column.shape[1:])
            shares.append(array.from_delayed(delayed(share), shape, column.dtype))  # type: ignore[no-untyped-call]
        pieces.append(array.concatenate(shares))  # type: ignore[no-untyped-call]
    matrix, labels, weight = pieces
    given: dict[str, Any] = whole_parameters(features, seed, parameters)
    named = {_NAMES.get(name, name): value for name, value in given.items() if name not in _OF_ONE_MACHINE}
    trainer = DaskLGBMClassifier(client=client, tree_learner="data", **named)
    with warnings.catch_warnings():
        # It warns of a default of its own, which nobody set.
        warnings.filterwarnings("ignore", message="Parameter n_jobs will be ignored")
        trainer.fit(matrix, labels, sample_weight=weight, feature_name=[feature.name for feature in features])
    # The text ends in the parameters of the fit: addresses are nobody's business, and ports change with each.
    return _OF_THE_NETWORK.sub("", trainer.booster_.model_to_string())
