"""MLflow: a run is also logged there, when the package is installed and MLFLOW_TRACKING_URI names a server.

What is kept in the folder of runs is what counts; a tracking server that does not answer spoils no training.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from training.console import ERR
from training.learning.runs import RUN_FILE, Run

EXPERIMENT: Final = "fraud-scoring"
"""The experiment that runs are logged to unless MLFLOW_EXPERIMENT_NAME says otherwise."""


def log_run(run: Run, path: Path) -> bool:
    """Log a run that ended, and tell whether it was: its parameters, its metrics and `run.json`."""
    if not os.environ.get("MLFLOW_TRACKING_URI") or find_spec("mlflow") is None:
        return False
    import mlflow  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415  optional

    measured = {
        f"{part}.{name}": interval.value for part, values in run.metrics.items() for name, interval in values.items()
    }
    if run.comparison is not None:
        measured["difference_to_champion"] = run.comparison.difference.value
    tags = {"run": run.id, "state": run.state, "recipe": run.recipe, "version": str(run.version or "")}
    if run.source is not None:
        tags |= {"source": run.source.id, "content_sha256": run.source.content_sha256}
    try:
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
        with mlflow.start_run(run_name=run.id, tags=tags):
            mlflow.log_params({**run.options, **run.parameters, **run.sampling})
            mlflow.log_metrics(measured)
            mlflow.log_artifact(str(path / RUN_FILE))
    except Exception as error:  # noqa: BLE001  whatever a tracking server does
        ERR.print(f"MLflow did not take run {run.id}: {type(error).__name__}", style="yellow")
        return False
    return True
