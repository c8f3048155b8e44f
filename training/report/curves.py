"""The charts of a ranking: precision and recall, ROC, calibration, and where the scores lie."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from service.registry.manifest import ThresholdChoice
from training.metrics import Column, Curve, average_precision, curve, draws, ranked, roc_auc
from training.report.chart import (
    CHAMPION,
    DECLINE,
    FRAUD,
    HONEST,
    INK,
    LINE,
    MUTED,
    REVIEW,
    THIS,
    Chart,
    drawn,
    legend_above,
)
from training.report.judged import JudgedRows
from training.report.shares import wilson
from training.report.words import percent

LEAST_SCORE: Final = 1e-4
"""Scores below are drawn at the left edge: a share of one fraud in ten thousand purchases."""

_POINTS: Final = 240
_GRID: Final = np.linspace(0.0, 1.0, 101)
_SCORE_BINS: Final[list[float]] = np.logspace(np.log10(LEAST_SCORE), 0.0, 37).tolist()
_CALIBRATION_GROUPS: Final = (0.5, 0.75, 0.88, 0.94, 0.97, 0.985, 0.9925)
"""Quantiles of the score between the groups: the risky end is where decisions are made."""


def precision_recall(judged: JudgedRows, champion: str, thresholds: ThresholdChoice, seed: int) -> Chart:
    """Draw what share of the stopped is fraud against what share of the fraud is stopped."""

    def draw(axes: Axes) -> None:
        low, high = _band(judged, seed)
        axes.fill_between(_GRID, low, high, color=THIS, alpha=0.16, linewidth=0)
        for one in _rankings(judged, champion):
            line = _line(judged, one.scores)
            label = f"{one.label}: {average_precision(judged.labels, one.scores, judged.weights):.3f}"
            axes.plot(line.recall, line.precision, label=label, color=one.colour, linestyle=one.dashes)
        for score, name, colour in _marks(thresholds):
            stopped = judged.scores >= score
            if not judged.weights[stopped].any():
                continue
            frauds = judged.weights @ judged.fraud
            caught = judged.weights[stopped] @ judged.fraud[stopped]
            at = caught / frauds, caught / judged.weights[stopped].sum()
            axes.plot(*at, "o", color=colour, markersize=7, markeredgecolor=INK, label=f"{name} threshold")
        axes.set(xlabel="share of the fraud that is stopped", ylabel="share of the stopped that is fraud")
        _shares(axes)
        legend_above(axes, 2)

    caption = (
        "Further to the upper right is better. The line gives every possible threshold, the shade the interval that "
        "holds it with 95 %; the number is the average precision. The dots are the thresholds in force."
    )
    return drawn("pr", "Precision and recall", caption, draw)


def roc(judged: JudgedRows, champion: str) -> Chart:
    """Draw what share of the fraud is stopped against what share of the honest purchases is stopped."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.0)
        for one in _rankings(judged, champion):
            line = _line(judged, one.scores)
            label = f"{one.label}: {roc_auc(judged.labels, one.scores, judged.weights):.3f}"
            axes.plot(line.alarms, line.recall, label=label, color=one.colour, linestyle=one.dashes)
        axes.set(xlabel="share of the honest purchases that is stopped", ylabel="share of the fraud that is stopped")
        _shares(axes)
        axes.legend(loc="lower right")

    caption = (
        "Further to the upper left is better; guessing follows the diagonal. The number is the area under the curve: "
        "how often a fraud scores above an honest purchase."
    )
    return drawn("roc", "ROC", caption, draw)


def calibration(judged: JudgedRows) -> Chart:
    """Draw what share was fraud against what the scores said, in groups of purchases of similar score."""
    said, was, low, high = _groups(judged)
    floor = 10.0 ** np.floor(np.log10(min(said.min(), max(high.min() / 10.0, LEAST_SCORE), 0.001)))

    def draw(axes: Axes) -> None:
        axes.plot([floor, 1], [floor, 1], color=MUTED, linewidth=1.0, label="scores that are true")
        axes.vlines(said, np.maximum(low, floor), high, color=THIS, linewidth=2.2, alpha=0.45)
        seen = was > 0
        axes.plot(said[seen], was[seen], "o", color=THIS, label="seen, with 95 %")
        if not seen.all():
            axes.plot(said[~seen], np.full((~seen).sum(), floor), "v", color=THIS, label="no fraud seen", clip_on=False)
        axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1))
        axes.set(xlabel="mean score: what the model said", ylabel="share of fraud: what it was")
        _score_ticks(axes, "xy")
        axes.legend(loc="upper left")

    caption = (
        "A score is a probability when the bars touch the line: of purchases with a score of 10 % one in ten should "
        "be fraud. Above the line the model said too little, below too much."
    )
    return drawn("calibration", "Calibration", caption, draw)


def histogram(judged: JudgedRows, thresholds: ThresholdChoice) -> Chart:
    """Draw how many honest and how many fraudulent purchases have which score."""
    shown = np.clip(judged.scores, LEAST_SCORE, 1.0)

    def draw(axes: Axes) -> None:
        for kind, label, colour in ((~judged.fraud, "honest", HONEST), (judged.fraud, "fraud", FRAUD)):
            weights = judged.weights[kind]
            axes.hist(shown[kind], _SCORE_BINS, weights=weights, color=colour, alpha=0.62, label=label)
        axes.set(xscale="log", yscale="log", xlim=(LEAST_SCORE, 1), xlabel="score", ylabel="purchases")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
        mark_thresholds(axes, thresholds)
        _score_ticks(axes, "x")
        legend_above(axes, 4)

    caption = "Both scales grow by tenfolds: fraud is rare, and most purchases score next to nothing."
    return drawn("histogram", "Scores of honest purchases and of fraud", caption, draw)


def mark_thresholds(axes: Axes, thresholds: ThresholdChoice) -> None:
    """Draw the thresholds as upright lines on an axis of scores."""
    for score, name, colour in _marks(thresholds):
        if score < 1.0:
            line = (0, (4, 2))
            axes.axvline(score, color=colour, linewidth=1.4, linestyle=line, label=f"{name}: {percent(score)}")


def score_axis(axes: Axes) -> None:
    """Make the horizontal axis one of scores, by tenfolds."""
    axes.set(xscale="log", xlim=(LEAST_SCORE, 1))
    _score_ticks(axes, "x")


def _marks(thresholds: ThresholdChoice) -> tuple[tuple[float, str, str], ...]:
    return (thresholds.review, "review", REVIEW), (thresholds.decline, "decline", DECLINE)


class _Ranking(NamedTuple):
    """A column of scores, what it is called and how it is drawn."""

    scores: Column
    label: str
    colour: str
    dashes: tuple[float, tuple[float, float] | None]


def _rankings(judged: JudgedRows, champion: str) -> list[_Ranking]:
    """Return the champion, if there is one, and this version on top of it."""
    this = _Ranking(judged.scores, "this version", THIS, (0, None))
    if judged.champion_scores is None:
        return [this]
    return [_Ranking(judged.champion_scores, champion, CHAMPION, (0, (5, 2))), this]


class _Line(NamedTuple):
    """The points of a ranking, from the highest score down."""

    recall: Column
    alarms: Column
    """Share of the honest that is stopped."""
    precision: Column

    @classmethod
    def of(cls, counts: Curve) -> _Line:
        frauds, stopped = counts
        honest = stopped - frauds
        precision = np.divide(frauds, stopped, out=np.ones_like(frauds), where=stopped > 0)
        return cls(frauds / max(frauds[-1], 1e-300), honest / max(honest[-1], 1e-300), precision)

    def thinned(self) -> _Line:
        """Return fewer points, evenly along the curve, which is steep at its beginning."""
        way = np.cumsum(np.abs(np.diff(self.recall, prepend=0.0)) + np.abs(np.diff(self.alarms, prepend=0.0)))
        kept = np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], _POINTS)).clip(max=way.size - 1))
        return _Line(self.recall[kept], self.alarms[kept], self.precision[kept])


def _line(judged: JudgedRows, scores: Column) -> _Line:
    return _Line.of(curve(judged.labels, scores, judged.weights)).thinned()


def _band(judged: JudgedRows, seed: int) -> tuple[Column, Column]:
    """Return the bounds of the precision at each recall of the grid, by bootstrap over cards."""
    weighted = ranked(judged.labels, judged.scores)
    lines = (_Line.of(weighted(judged.weights * times)) for times in draws(judged.labels.size, seed, judged.card))
    low, high = np.quantile([np.interp(_GRID, one.recall, one.precision) for one in lines], (0.025, 0.975), axis=0)
    return low, high


def _groups(judged: JudgedRows) -> tuple[Column, Column, Column, Column]:
    """Return mean score, share of fraud and its interval of each group of similar scores."""
    edges = np.unique(np.quantile(judged.scores, _CALIBRATION_GROUPS))
    group = np.searchsorted(edges, judged.scores, side="right")
    weight = np.bincount(group, judged.weights)
    there = weight > 0
    said = np.bincount(group, judged.weights * judged.scores)[there] / weight[there]
    was = np.bincount(group, judged.weights * judged.fraud)[there] / weight[there]
    # A row that stands for several proves no more than one.
    rows = weight[there] ** 2 / np.bincount(group, judged.weights**2)[there]
    bounds = [wilson(share, of) for share, of in zip(was, rows, strict=True)]
    low, high = np.array(bounds).T
    return said, was, low, high


def _shares(axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def _score_ticks(axes: Axes, which: str) -> None:
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in which:
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            axis.set_minor_formatter(FuncFormatter(lambda *_: ""))
