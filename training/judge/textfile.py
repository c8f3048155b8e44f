"""Metrics of commands that end, as a file that node-exporter's textfile collector reads (`*.prom`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.whole_file import whole_file

Sample = tuple[Mapping[str, str], float]
"""Labels and a value; NaN where there is none."""


class Gauge(NamedTuple):
    """A named number with one value for each set of labels; `help_text` is one line."""

    name: str
    help_text: str
    samples: Sequence[Sample]


def write_gauges(path: Path, name: str, help_text: str, samples: Iterable[Sample]) -> None:
    """Write one gauge as a whole file, see `write_families`."""
    write_families(path, [Gauge(name, help_text, list(samples))])


def write_families(path: Path, gauges: Iterable[Gauge]) -> None:
    """Write gauges, whose names differ, as a whole file: a collector that reads meanwhile sees the old or the new one.

    Raises BadSetting when the disk refuses.
    """
    text = "".join(_family(gauge) for gauge in gauges)
    with whole_file(path, f"metrics file {path}") as partial:
        partial.write_text(text, encoding="utf-8")


def _family(gauge: Gauge) -> str:
    lines = [f"# HELP {gauge.name} {_escaped(gauge.help_text)}", f"# TYPE {gauge.name} gauge"]
    for labels, value in gauge.samples:
        named = ",".join(f'{label}="{_escaped(text, quoted=True)}"' for label, text in labels.items())
        lines.append(f"{gauge.name}{{{named}}} {float(value)!r}" if named else f"{gauge.name} {float(value)!r}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str, *, quoted: bool = False) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quoted else escaped
