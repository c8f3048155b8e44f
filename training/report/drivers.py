"""What drives the score: how much each feature gains in the trees, and what it adds to single scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import lightgbm
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from service.core.features import Feature
from training.learning.model import Model
from training.metrics import Column
from training.report.chart import INK, LINE, drawn
from training.report.judged import JudgedRows

SAMPLE: Final = 600
"""Purchases whose scores are taken apart; each costs up to 4 ms."""

SHOWN: Final = 15
_BINS: Final = 90
_STRIP_INCHES: Final = (4.9, 0.62)
_AXIS_INCHES: Final = (4.9, 0.34)
_COLOURS: Final = LinearSegmentedColormap.from_list("value", ["#2f7fe0", "#9a6fd0", "#e8375f"])
_UNKNOWN: Final = "#9aa3ad"


Reach = tuple[float, float]
"""From where to where pulls are drawn."""


class Driver(NamedTuple):
    """A feature: its share of the gain of all trees, its mean pull on a score, and the picture of its pulls."""

    feature: Feature
    gain: float
    pull: float
    picture: Markup


class Drivers(NamedTuple):
    """The features that pull most, the axis under their pictures, and the sample that was taken apart."""

    drivers: Sequence[Driver]
    axis: Markup
    frauds: int
    honest: int


def gains(model: Model) -> Column:
    """Return each feature's share of what all splits gained; all 0 when the trees never split."""
    gained = np.asarray(lightgbm.Booster(model_str=model.text).feature_importance("gain"), np.float64)
    shares: Column = gained / max(float(gained.sum()), 1e-300)
    return shares


def drivers_of(judged: JudgedRows, model: Model, features: Sequence[Feature], seed: int) -> Drivers:
    """Return what drives the scores of a sample of the judged purchases: up to half frauds, the rest honest.

    A pull is a Shapley value (S. Lundberg, "Consistent Individualized Feature Attribution for Tree Ensembles",
    2018): what the feature adds to the log-odds, against not knowing it.
    """
    rng = np.random.default_rng(seed)
    frauds, honest = np.flatnonzero(judged.fraud), np.flatnonzero(~judged.fraud)
    frauds = rng.choice(frauds, min(SAMPLE // 2, frauds.size), replace=False)
    honest = rng.choice(honest, min(SAMPLE - frauds.size, honest.size), replace=False)
    rows = judged.matrix[np.concatenate([frauds, honest])]
    pulls = np.array([model.booster.contributions(row) for row in rows.tolist()])[:, :-1]
    mean = np.abs(pulls).mean(axis=0)
    first = np.argsort(-mean, kind="stable")[:SHOWN]
    first = first[mean[first] > 0.0]
    shown = pulls[:, first]
    room = 0.03 * float(np.ptp(shown) if shown.size else 1.0) + 0.01
    reach = min(float(shown.min(initial=0.0)), 0.0) - room, max(float(shown.max(initial=0.0)), 0.0) + room
    gained = gains(model)
    drivers = [
        Driver(
            features[at],
            float(gained[at]),
            float(mean[at]),
            _strip(f"pull-{place}", features[at], pulls[:, at], rows[:, at], reach),
        )
        for place, at in enumerate(first.tolist())
    ]
    return Drivers(drivers, _axis(reach), frauds.size, honest.size)


def _strip(name: str, feature: Feature, pulls: Column, values: Column, reach: Reach) -> Markup:
    """Return one row of the swarm: a point for each purchase, piled up where several agree."""
    known = ~np.isnan(values)
    # By rank, so that the colours tell high from low even where most values are nearly the same.
    _, rank = np.unique(values[known], return_inverse=True)
    shade = np.full((values.size, 4), LinearSegmentedColormap.from_list("one", [_UNKNOWN, _UNKNOWN])(0.0))
    shade[known] = _COLOURS(rank / max(rank.max(initial=0), 1))

    def draw(axes: Axes) -> None:
        axes.axvline(0.0, color=LINE, linewidth=1.0)
        axes.scatter(pulls, _piled(pulls, reach), s=7, c=shade, linewidths=0, alpha=0.85, rasterized=True)
        axes.set(xlim=reach, ylim=(-1.05, 1.05))
        axes.set_axis_off()

    return drawn(name, feature.name, feature.question, draw, _STRIP_INCHES).picture


def _piled(pulls: Column, reach: Reach) -> npt.NDArray[np.float64]:
    """Return a height for each point, so that points at one place spread around the middle."""
    at = np.clip(((pulls - reach[0]) / (reach[1] - reach[0]) * _BINS).astype(int), 0, _BINS - 1)
    order = np.argsort(at, kind="stable")
    begins = np.searchsorted(at[order], np.arange(_BINS))
    number = np.empty(pulls.size)
    number[order] = np.arange(pulls.size) - begins[at[order]]
    side = np.where(number % 2, 1.0, -1.0)
    step = np.ceil(number / 2.0)
    return side * step / max(12.0, float(step.max(initial=1.0)))


def _axis(reach: Reach) -> Markup:
    def draw(axes: Axes) -> None:
        axes.set(xlim=reach, ylim=(0, 1), yticks=[])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_color(INK)
        axes.patch.set_visible(False)

    return drawn("pull-axis", "Pull on the score", "in log-odds", draw, _AXIS_INCHES).picture
