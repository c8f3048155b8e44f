"""Families of samples as plain values: what a worker tells its supervisor, and how those of all become one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

WORKER: Final = "worker"
"""The label that tells workers apart, by their place from 0 on: few values, and a new process takes over the place."""

_OWN_PREFIX: Final = "process_"
"""Families that tell of one process: also their counters stay apart, so that one sees which worker is busy."""

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """A named number; labels in the order of their family."""

    name: str
    labels: Labels
    value: float


class Family(NamedTuple):
    """What belongs to one name: a `counter`, `gauge` or `histogram` with its samples."""

    name: str
    help_text: str
    kind: str
    samples: tuple[Sample, ...]

    @property
    def adds_up(self) -> bool:
        """Return whether its numbers of several workers are one sum."""
        return self.kind in {"counter", "histogram"} and not self.name.startswith(_OWN_PREFIX)

    def metric(self) -> Metric:
        """Return it as prometheus_client writes it."""
        metric = Metric(self.name, self.help_text, self.kind)
        for name, labels, value in self.samples:
            metric.add_sample(name, dict(labels), value)
        return metric


def collected(collector: Collector) -> list[Family]:
    """Return what a collector, or a whole registry, tells now; without the times at which counters were made."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            tuple(
                Sample(sample.name, tuple(sample.labels.items()), float(sample.value))
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ),
        )
        for metric in collector.collect()
    ]


def to_line(families: Sequence[Family]) -> bytes:
    """Return families as one line of JSON. Cost: some 2 ms for a worker's thousand samples."""
    return json.dumps(families).encode() + b"\n"


def from_line(line: bytes) -> list[Family]:
    """Return the families of a line. Raises ValueError when it is none."""
    try:
        return [
            Family(
                name,
                help_text,
                kind,
                tuple(
                    Sample(of, tuple((label, str(text)) for label, text in labels), float(value))
                    for of, labels, value in samples
                ),
            )
            for name, help_text, kind, samples in json.loads(line)
        ]
    except TypeError as error:
        raise ValueError("no families") from error


def merged(told: Mapping[str, Sequence[Family]], gone: Sequence[Family] = ()) -> list[Family]:
    """Return the families of several workers as one.

    Counters and histograms are added, with what workers that are gone had counted; gauges, and what tells of
    one process, get the label `worker`.
    """
    by_name: dict[str, Family] = {}
    samples: dict[str, dict[tuple[str, Labels], float]] = {}
    for worker, families in (*told.items(), ("", gone)):
        for family in families:
            by_name.setdefault(family.name, family)
            found = samples.setdefault(family.name, {})
            own = () if family.adds_up else ((WORKER, worker),)
            for name, labels, value in family.samples:
                key = name, (*labels, *own)
                found[key] = found.get(key, 0.0) + value
    return [
        family._replace(samples=tuple(Sample(*key, value) for key, value in samples[name].items()))
        for name, family in by_name.items()
    ]


def sums(families: Iterable[Family]) -> list[Family]:
    """Return what is to be kept of a worker that is gone: what adds up."""
    return [family for family in families if family.adds_up]
