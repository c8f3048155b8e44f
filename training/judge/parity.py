"""Parity: the rows that were served against the rows that replay makes of the revisions that they read.

Every decision names the revision of each profile that it read. Its row is computed anew, from those profiles,
rebuilt from the events, with today's definitions; its scores are computed anew from the row that was served,
with the versions of the registry. All must be equal, bit for bit (an unknown value equals an unknown value).
What cannot be compared is counted by its reason, never passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.features import BY_NAME, FEATURES, Feature
from service.errors import BadArtifact
from service.registry.artifact import read_artifact, version_path
from service.registry.servable import Servable
from training.data.events import Progress, silent
from training.judge.recorded_rows import RecordedRows, served_fingerprints
from training.judge.textfile import Gauge
from training.replay.by_entity import Spread, replay_decisions
from training.replay.kernel import Reals
from training.replay.order import Flags
from training.replay.parts import EntityRows
from training.replay.stream import Matrix
from training.snapshot.read import Snapshot

MAX_SHOWN: Final = 1000
"""Differences that are listed one by one; all are counted."""

_COLUMNS: Final = ("position", "purchase_id", "row_layout", "row", "versions", "raw_scores", "scores")


class Difference(NamedTuple):
    """A value that differs: of a feature, or of a version's `raw_score` or `score`."""

    purchase_id: str
    position: int
    """Of the decision, in its log."""
    name: str
    served: float
    recomputed: float


@dataclass(slots=True)
class Parity:
    """What was compared, and what differs.

    `features` and `scores` count the differing values by feature and by version, zeros among them; `purchases`
    names what `differences`, of which only the first `MAX_SHOWN` are listed, are about. `left_out` counts what could
    not be compared: decisions, or a feature or version of decisions, by reason.
    """

    decisions: int = 0
    compared: int = 0
    values: int = 0
    scored: int = 0
    features: Counter[str] = field(default_factory=Counter)
    scores: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    purchases: dict[str, None] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def equal(self) -> bool:
        """Tell whether nothing differs."""
        return not (self.features.total() or self.scores.total())


def parity(
    snapshot: Snapshot,
    registry: Path | None,
    spread: Spread,
    decisions: int = 0,
    progress: Progress = silent,
) -> Parity:
    """Compare the newest `decisions` of a snapshot, or all (0), with what replay makes of them.

    `registry` None compares rows alone. Cost: a replay of all events of the snapshot, 8 bytes on disk for each
    value. Raises BadSetting when the snapshot cannot be read.
    """
    found = Parity()
    total = snapshot.manifest.rows_decisions
    first = max(total - decisions, 0) if decisions else 0
    features = _replayable(snapshot)
    with TemporaryDirectory(prefix="parity-", dir=spread.scratch) as folder:
        rows = replay_decisions(snapshot, features, spread._replace(scratch=Path(folder)), first, progress)
        for begin, piece in _pieces(snapshot, first):
            _compare_rows(found, snapshot, registry, features, piece, rows, begin)
            found.decisions += piece.height
            progress("comparing", found.decisions, total - first)
    if registry is not None:
        for version in _versions(snapshot, first):
            _compare_scores(found, snapshot, registry, version, first)
            progress(f"scoring with {version}", 1, 1)
    return found


def parity_values(found: Parity) -> dict[str, Any]:
    """Return everything that was found, as JSON has it."""
    return {
        "equal": found.equal,
        "decisions": found.decisions,
        "rows_compared": found.compared,
        "values_compared": found.values,
        "scores_compared": found.scored,
        "features": dict(found.features),
        "scores": dict(found.scores),
        "purchases": list(found.purchases),
        "differences": [one._asdict() for one in found.differences],
        "left_out": dict(found.left_out),
    }


def parity_gauges(found: Parity) -> list[Gauge]:
    """Return what a collector shall know."""
    by_feature = [({"feature": name}, float(count)) for name, count in sorted(found.features.items())]
    by_version = [({"version": name}, float(count)) for name, count in sorted(found.scores.items())]
    left_out = [({"reason": reason}, float(count)) for reason, count in sorted(found.left_out.items())]
    return [
        Gauge("fraud_parity_decisions", "Decisions whose row was compared with its replay.", [({}, found.compared)]),
        Gauge("fraud_parity_differences", "Served values that replay makes otherwise, by feature.", by_feature),
        Gauge("fraud_parity_score_differences", "Served scores that the version gives otherwise.", by_version),
        Gauge("fraud_parity_left_out", "What could not be compared, by reason.", left_out),
    ]


# --- rows -------------------------------------------------------------------------------------------


def _replayable(snapshot: Snapshot) -> tuple[Feature, ...]:
    served = {name for names in snapshot.manifest.layouts.values() for name in names}
    return tuple(feature for feature in FEATURES if feature.name in served)


def _pieces(snapshot: Snapshot, first: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the decisions from a position on, each piece with the number of its first among them."""
    begin = 0
    for piece in snapshot.decisions(_COLUMNS):
        chosen = piece.filter(pl.col("position") >= first)
        yield begin, chosen
        begin += chosen.height


def _compare_rows(
    found: Parity,
    snapshot: Snapshot,
    registry: Path | None,
    features: Sequence[Feature],
    piece: pl.DataFrame,
    replayed: EntityRows,
    begin: int,
) -> None:
    places = {feature.name: at for at, feature in enumerate(features)}
    numbered = piece.with_row_index("number", begin)
    for (layout_name,), rows in numbered.group_by("row_layout", maintain_order=True):
        layout = str(layout_name)
        names = snapshot.manifest.layouts.get(layout, ())
        served = _matrix(rows["row"], len(names))
        if served is None:
            found.left_out["the names of the row are not known"] += rows.height
            continue
        number = rows["number"].to_numpy()
        sound = replayed.sound[number]
        if not sound.all():
            found.left_out["the snapshot lacks updates that a profile had seen"] += int((~sound).sum())
        fingerprints = served_fingerprints(layout, names, rows["versions"], registry)
        recomputed = replayed.rows.matrix[number]
        found.compared += int(sound.sum())
        for column, name in enumerate(names):
            if name not in BY_NAME or fingerprints.get(name) != BY_NAME[name].fingerprint:
                found.left_out[f"feature {name} is not defined as it was"] += rows.height
                continue
            mine, theirs = served[:, column], recomputed[:, places[name]]
            differs = _differs(mine, theirs) & sound
            found.values += int(sound.sum())
            found.features[name] += int(differs.sum())
            _list(found, rows.filter(pl.Series(differs)), name, mine[differs], theirs[differs])


def _matrix(rows: pl.Series, width: int) -> Matrix | None:
    content = b"".join(rows.to_list())
    if not width or len(content) != len(rows) * width * 8:
        return None
    return np.frombuffer(content, "<f8").reshape(len(rows), width)


def _differs(mine: Reals, theirs: Reals) -> Flags:
    """Tell where two columns have other bits; NaN is like NaN."""
    bits = npt.NDArray[np.uint64]
    left: bits = np.ascontiguousarray(mine).view(np.uint64)
    right: bits = np.ascontiguousarray(theirs).view(np.uint64)
    differs: Flags = (left != right) & ~(np.isnan(mine) & np.isnan(theirs))
    return differs


def _list(found: Parity, rows: pl.DataFrame, name: str, served: Reals, recomputed: Reals) -> None:
    found.purchases |= dict.fromkeys(rows["purchase_id"].to_list())
    room = MAX_SHOWN - len(found.differences)
    values = (rows["purchase_id"].to_list(), rows["position"].to_list(), served.tolist(), recomputed.tolist())
    for purchase_id, position, mine, theirs in list(zip(*values, strict=True))[:room]:
        found.differences.append(Difference(purchase_id, position, name, mine, theirs))


# --- scores -----------------------------------------------------------------------------------------


def _versions(snapshot: Snapshot, first: int) -> list[int]:
    found: set[int] = set()
    for piece in snapshot.decisions(("position", "versions")):
        found |= set(piece.filter(pl.col("position") >= first)["versions"].explode().drop_nulls().to_list())
    return sorted(found)


def _compare_scores(found: Parity, snapshot: Snapshot, registry: Path, version: int, first: int) -> None:
    """Compare what a version scored with what it makes of the rows that were served."""
    scored = pl.col("versions").list.contains(version)
    reason = f"version {version} cannot be loaded"
    try:
        servable = Servable(read_artifact(version_path(registry, version)))
    except BadArtifact:
        pieces = (piece.filter(scored & (pl.col("position") >= first)) for piece in snapshot.decisions(_COLUMNS))
        found.left_out[reason] += sum(piece.height for piece in pieces)
        return
    projected = RecordedRows(servable.features, snapshot.manifest.layouts, registry)
    for _, piece in _pieces(snapshot, first):
        for rows, matrix in projected.of(piece.filter(scored)):
            raw = servable.booster.raw_scores(matrix)
            given = rows.explode("versions", "raw_scores", "scores").filter(pl.col("versions") == version)
            pairs = {
                "raw_score": (given["raw_scores"].to_numpy(), raw),
                "score": (given["scores"].to_numpy(), np.array([servable.probability(one) for one in raw.tolist()])),
            }
            found.scored += rows.height
            for name, (mine, theirs) in pairs.items():
                differs = _differs(mine, theirs)
                found.scores[str(version)] += int(differs.sum())
                what = f"{name} of version {version}"
                _list(found, rows.filter(pl.Series(differs)), what, mine[differs], theirs[differs])
    for feature, count in projected.left_out.items():
        found.left_out[f"version {version} needs {feature}, which the row does not hold as it was"] += count
