"""Gauges out of files: what the offline half found out, served along with what is live.

`python -m training compare --metrics var/metrics/compare.prom` judges the live versions on matured labels, once a
day perhaps, and ends. Its file is read here whenever Prometheus asks, so no collector of files is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

PREFIXES: Final = ("fraud_judged_", "fraud_drift_", "fraud_parity_")
"""Beginnings of the names that files may tell; nothing live has one of them."""

MAX_FILES: Final = 50
MAX_FILE_BYTES: Final = 1 << 20
"""Bounds of what is read; what lies beyond counts as not readable."""


class Files(Collector):
    """The `*.prom` files of a directory, which need not exist. Cost: a millisecond for each file."""

    def __init__(self, directory: Path, now_s: Callable[[], float] = time.time) -> None:
        """Get what it needs; nothing is read yet."""
        self._directory = directory
        self._now_s = now_s

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of all files, and how old each is; of two files with the same sample the first wins."""
        ages = GaugeMetricFamily(
            "fraud_metrics_file_age_seconds", "Time since a file of metrics was written.", labels=["file"]
        )
        bad = GaugeMetricFamily(
            "fraud_metrics_file_bad", "1 for a file of metrics that is not read: too large, or no gauges of ours.",
            labels=["file"],
        )  # fmt: skip
        found: dict[str, Metric] = {}
        for path in sorted(self._directory.glob("*.prom"))[:MAX_FILES]:
            try:
                age_s = self._now_s() - path.stat().st_mtime
                families = _read(path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                bad.add_metric([path.name], 1)
                continue
            ages.add_metric([path.name], age_s)
            bad.add_metric([path.name], 0)
            for family in families:
                _add(found.setdefault(family.name, Metric(family.name, family.documentation, "gauge")), family)
        yield from (ages, bad, *found.values())


def _read(path: Path) -> list[Metric]:
    """Return the gauges of a file. Raises OSError, and ValueError when it holds something else."""
    with path.open("rb") as file:
        text = file.read(MAX_FILE_BYTES + 1)
    if len(text) > MAX_FILE_BYTES:
        raise ValueError("too large")
    families = list(text_string_to_metric_families(text.decode()))
    for family in families:
        if family.type != "gauge" or not family.name.startswith(PREFIXES):
            raise ValueError(f"{family.name} is no gauge of the offline half")
    return families


def _add(metric: Metric, family: Metric) -> None:
    known = {(sample.name, tuple(sorted(sample.labels.items()))) for sample in metric.samples}
    for sample in family.samples:
        if (sample.name, tuple(sorted(sample.labels.items()))) not in known:
            metric.add_sample(sample.name, sample.labels, sample.value)
