"""The rows that were served, as a version takes them: projected from their own layout onto its features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.features import BY_NAME, Feature, layout_id
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import read_manifest, version_path
from training.metrics import Column
from training.replay.stream import Matrix

ROW_COLUMNS: Final = ("row_layout", "row", "versions")
"""What must be read of decisions for their rows."""

_FLOAT_BYTES: Final = 8

Places = npt.NDArray[np.intp]


class RecordedRows:
    """Projects recorded rows onto a version's features; what has no such feature is left out and counted.

    A feature of a row is the version's when its definition was the same: when the row's layout is made of the
    definitions of this release, or when a version that scored the row states the fingerprint.
    """

    def __init__(
        self, features: Sequence[Feature], layouts: Mapping[str, Sequence[str]], registry: Path | None
    ) -> None:
        """Take the features of a version; `layouts` names, in order, the features of the rows of a layout.

        `registry` is where the versions that scored are published; None when nobody can ask them.
        """
        self._features = tuple(features)
        self._layouts = layouts
        self._registry = registry
        self._places: dict[str, Places | str] = {}
        self.left_out: Counter[str] = Counter()
        """How many decisions had no row with a feature, by its name; the first one that a row lacks counts."""

    def of(self, piece: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, Matrix]]:
        """Yield the decisions of a piece with their projected rows, layout by layout, in their order.

        Cost: some 1 µs a row, and the rows of the piece once more.
        """
        for (layout,), rows in piece.group_by("row_layout", maintain_order=True):
            places = self._place(str(layout), rows)
            if isinstance(places, str):
                self.left_out[places] += rows.height
                continue
            yield rows, _matrix(rows, str(layout), len(self._layouts[str(layout)]))[:, places].astype(np.float64)

    def refusal(self, version: int) -> str:
        """Return why a version cannot be judged by these rows, and what to do about it, in one sentence."""
        lacking = ", ".join(f"{name!r} ({count:,} decisions)" for name, count in self.left_out.most_common(3))
        return (
            f"version {version} cannot score the recorded rows, which were served without its feature {lacking}: let "
            f"it score in shadow first, `python -m training shadow {version}`, and judge it when labels have matured"
        )

    def _place(self, layout: str, rows: pl.DataFrame) -> Places | str:
        if layout not in self._places:
            self._places[layout] = self._placed(layout, rows)
        return self._places[layout]

    def _placed(self, layout: str, rows: pl.DataFrame) -> Places | str:
        """Return where the features stand in the rows of a layout, or the name of the first that does not."""
        names = tuple(self._layouts.get(layout, ()))
        served = served_fingerprints(layout, names, rows["versions"], self._registry)
        at = {name: index for index, name in enumerate(names)}
        for feature in self._features:
            if feature.name not in at or served.get(feature.name) != feature.fingerprint:
                return feature.name
        return np.array([at[feature.name] for feature in self._features], np.intp)


class RecordedLayouts:
    """Takes recorded rows apart into their features, each named by the fingerprint that it had when it was served."""

    def __init__(self, layouts: Mapping[str, Sequence[str]], registry: Path | None) -> None:
        """Take the names of the rows of each layout, and where the versions that scored are published."""
        self._layouts = layouts
        self._registry = registry
        self._fingerprints: dict[str, dict[str, str]] = {}

    def of(self, piece: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, Mapping[str, Column]]]:
        """Yield the decisions of a piece with the columns of their rows by fingerprint, layout by layout.

        What nobody can tell the definition of is left out of the columns. Cost: the rows of the piece once more.
        """
        for (layout,), rows in piece.group_by("row_layout", maintain_order=True):
            name = str(layout)
            names = tuple(self._layouts.get(name, ()))
            if name not in self._fingerprints:
                self._fingerprints[name] = served_fingerprints(name, names, rows["versions"], self._registry)
            served = self._fingerprints[name]
            if not names:
                yield rows, {}
                continue
            matrix = _matrix(rows, name, len(names))
            yield rows, {served[one]: matrix[:, at] for at, one in enumerate(names) if one in served}


def served_fingerprints(
    layout: str, names: Sequence[str], versions: pl.Series, registry: Path | None
) -> dict[str, str]:
    """Return the fingerprints that the features of a row layout had when rows of it were served, as far as known.

    `versions` are those that scored such rows (lists). Known are all when the layout is made of the definitions
    of this release, else those that a version in the registry states.
    """
    served = {name: BY_NAME[name].fingerprint for name in names if name in BY_NAME}
    if layout_id([BY_NAME[name] for name in names if name in BY_NAME]) == layout:
        return served
    stated: dict[str, str] = {}
    if registry is None:
        return stated
    for version in versions.explode().drop_nulls().unique().sort().to_list():
        try:
            manifest = read_manifest(version_path(registry, version))
        except BadArtifact:
            continue
        stated |= {feature.name: feature.fingerprint for feature in manifest.features}
    return stated


def _matrix(rows: pl.DataFrame, layout: str, width: int) -> Matrix:
    """Return the rows of one layout. Raises BadSetting when one does not have its length."""
    content = b"".join(rows["row"].to_list())
    if len(content) != rows.height * width * _FLOAT_BYTES:
        raise BadSetting(f"the snapshot holds rows of layout {layout} that do not have its {width} features")
    return np.frombuffer(content, "<f8").reshape(rows.height, width)
