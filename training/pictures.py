"""Pictures of a day: what was caught, how scores fell, how well they rank, how long calls took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from sklearn.metrics import precision_recall_curve

from service.core.decision import Decision

mpl.use("Agg")

_COLOURS = {Decision.DECLINE: "#b2182b", Decision.REVIEW: "#f4a582", Decision.APPROVE: "#92c5de"}


class Answered(Protocol):
    """A purchase with its truth and its answer."""

    @property
    def pattern(self) -> str: ...  # noqa: D102
    @property
    def label(self) -> int: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def decision(self) -> int: ...  # noqa: D102
    @property
    def call_ms(self) -> float: ...  # noqa: D102


def draw_last_day(played: Sequence[Answered], folder: Path) -> Path:
    """Draw four pictures into one file and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(12, 8), layout="constrained")
    ((patterns, scores), (curve, calls)) = figure.subplots(2, 2)
    names = sorted({one.pattern for one in played if one.label})
    left = np.zeros(len(names))
    for decision, colour in _COLOURS.items():
        counts = np.array(
            [sum(one.label and one.pattern == name and one.decision == decision for one in played) for name in names]
        )
        patterns.barh([name.replace("_", " ") for name in names], counts, left=left, color=colour, label=decision.name)
        left += counts
    patterns.set(title="fraud by pattern: what was decided", xlabel="purchases")
    patterns.legend()

    labels = np.array([one.label for one in played])
    values = np.array([one.score for one in played])
    edges = np.linspace(0.0, 1.0, 41)
    scores.hist(
        [values[labels == 0], values[labels == 1]], edges, label=["honest", "fraud"], color=["#92c5de", "#b2182b"]
    )
    scores.set(title="scores", xlabel="probability of fraud", ylabel="purchases", yscale="log")
    scores.legend()

    if labels.any():
        precision, recall, _ = precision_recall_curve(labels, values)
        curve.step(recall, precision, where="post", color="#2166ac")
    curve.set(title="precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))

    call_ms = np.sort([one.call_ms for one in played])
    calls.plot(call_ms, np.arange(1, len(call_ms) + 1) / len(call_ms), color="#2166ac")
    calls.set(title="time of a recorded call", xlabel="ms", ylabel="share of calls", xscale="log", ylim=(0, 1.01))
    for axis in (calls.xaxis.set_major_formatter, calls.xaxis.set_minor_formatter):
        axis(ScalarFormatter())
    path = folder / "last-day.png"
    figure.savefig(path, dpi=110)
    return path
