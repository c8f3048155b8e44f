"""Does it hold over time? Scores against fraud, and what is stopped, from slice to slice of the judged time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from service.core.windows import DAY_MS
from service.registry.manifest import ThresholdChoice
from training.report.chart import FRAUD, HONEST, THIS, Chart, drawn, legend_above
from training.report.judged import Flags, JudgedRows
from training.report.shares import wilson

_MOST_SLICES: Final = 12


def over_time(judged: JudgedRows, thresholds: ThresholdChoice) -> Sequence[Chart]:
    """Return charts over time, nothing when the judged purchases span less than two days."""
    begin, end = int(judged.time_ms.min()), int(judged.time_ms.max()) + 1
    days = (end - begin) / DAY_MS
    if days < 2.0:  # noqa: PLR2004  below that there is no time to compare
        return ()
    number = int(np.clip(days // 7, min(int(days), 4), _MOST_SLICES))
    place = ((judged.time_ms - begin) * number // (end - begin)).astype(np.intp)
    names = [
        f"{datetime.fromtimestamp((begin + (end - begin) * at / number) / 1000, UTC):%d %b}" for at in range(number)
    ]
    stopped = judged.scores >= thresholds.review
    everything = np.ones_like(judged.fraud)

    def draw_level(axes: Axes) -> None:
        weight = np.bincount(place, judged.weights, number)
        said = np.bincount(place, judged.weights * judged.scores, number) / np.maximum(weight, 1e-300)
        axes.plot(np.arange(number), np.where(weight > 0, said, np.nan), color=THIS, marker="s", label="mean score")
        _dots(axes, place, judged.fraud, everything, judged, FRAUD, "share of fraud", 0.0)
        _slices(axes, names)

    def draw_stopped(axes: Axes) -> None:
        _dots(axes, place, stopped & judged.fraud, judged.fraud, judged, FRAUD, "of the fraud", -0.08)
        _dots(axes, place, stopped & ~judged.fraud, ~judged.fraud, judged, HONEST, "of the honest", 0.08)
        _slices(axes, names)

    return (
        drawn(
            "time-level",
            "Score and fraud over time",
            "A model that stays calibrated follows the dots; bars hold the share of fraud with 95 %.",
            draw_level,
        ),
        drawn(
            "time-stopped",
            "What is stopped over time",
            "Reviewed or declined with the thresholds in force; bars hold the share with 95 %.",
            draw_stopped,
        ),
    )


def _dots(  # noqa: PLR0913, PLR0917  what is drawn, where, and how
    axes: Axes,
    place: npt.NDArray[np.intp],
    hits: Flags,
    of: Flags,
    judged: JudgedRows,
    colour: str,
    label: str,
    aside: float,
) -> None:
    for at in range(int(place.max()) + 1):
        rows = of & (place == at)
        weights = judged.weights[rows]
        if not weights.any():
            continue
        share = float(judged.weights[rows & hits].sum() / weights.sum())
        low, high = wilson(share, float(weights.sum() ** 2 / (weights**2).sum()))
        axes.vlines(at + aside, low, high, color=colour, linewidth=2.0, alpha=0.45)
        axes.plot(at + aside, share, "o", color=colour, label=label)
        label = ""


def _slices(axes: Axes, names: Sequence[str]) -> None:
    step = 1 + (len(names) - 1) // 6
    axes.set_xticks(np.arange(len(names))[::step], names[::step])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("slices of equal length, each from")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    legend_above(axes, 2)
