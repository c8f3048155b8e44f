"""LightGBM's distributed trainer on a cluster of two processes gives a model as good as that of one."""

from __future__ import annotations

import numpy as np
import pytest
from distributed import Client, LocalCluster

from service.core.features import FEATURES
from service.registry.booster import Booster
from training.learning.fit import PARAMETERS, Material, fit
from training.learning.fit_dask import fit_distributed
from training.metrics import average_precision

COLUMNS = FEATURES[:6]


def test_two_workers_fit_one_model() -> None:
    """It has our features and as many trees, ranks as well, and names no address of the cluster."""
    rng = np.random.default_rng(5)
    matrix = rng.random((4_000, len(COLUMNS)))
    labels = (matrix[:, 0] + matrix[:, 3] + rng.normal(0, 0.2, 4_000) > 1.5).astype(np.int8)
    learned, judged = slice(3_000), slice(3_000, 4_000)
    parameters = {**PARAMETERS, "num_iterations": 20, "num_threads": 1}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        material = Material(matrix[learned], labels[learned], np.ones(3_000))
        text = fit_distributed(client, material, COLUMNS, 7, parameters)
    together, alone = (
        Booster(one.encode()) for one in (text, fit(matrix[learned], labels[learned], COLUMNS, 7, parameters))
    )
    precision = [average_precision(labels[judged], one.raw_scores(matrix[judged])) for one in (together, alone)]
    assert (together.names, together.trees) == (alone.names, 20)
    assert precision[0] == pytest.approx(precision[1], abs=0.05)
    assert "127.0.0.1" not in text
