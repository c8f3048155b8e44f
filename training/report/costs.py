"""What the thresholds cost: the cost of every review and every decline threshold, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from service.registry.manifest import ThresholdChoice
from training.learning.calibrate import Costs
from training.metrics import Column
from training.report.chart import DECLINE, FRAUD, INK, REVIEW, Chart, drawn, legend_above
from training.report.curves import LEAST_SCORE, mark_thresholds, score_axis
from training.report.judged import JudgedRows

ASSUMED: Final = Costs(review_minor=300, decline_share=0.1)
"""What the pictures take mistakes to cost when nobody stated it: 3.00 a review, a tenth of a wrong decline."""

_STEPS: Final = np.logspace(np.log10(LEAST_SCORE), 0.0, 161)


class Bill(NamedTuple):
    """What each of several thresholds costs, as shares of all the money that was to be spent."""

    missed: Column
    reviews: Column
    declines: Column

    @property
    def total(self) -> Column:
        """Return all of it."""
        return self.missed + self.reviews + self.declines


class Ledger(NamedTuple):
    """Purchases by score, from the highest down, with what is counted of them cumulated (0 first)."""

    scores: Column
    purchases: Column
    fraud_minor: Column
    honest_minor: Column

    @classmethod
    def of(cls, judged: JudgedRows) -> Ledger:
        """Count the judged purchases, each by its weight."""
        order = np.argsort(-judged.scores, kind="stable")
        weight, fraud = judged.weights[order], judged.fraud[order]
        amount = weight * judged.amount_minor[order]
        sums = (np.append(0.0, np.cumsum(one)) for one in (weight, amount * fraud, amount * ~fraud))
        return cls(judged.scores[order], *sums)

    def reaching(self, thresholds: Column) -> npt.NDArray[np.intp]:
        """Return how many purchases reach each threshold: an index into the sums."""
        return np.searchsorted(-self.scores, -np.asarray(thresholds), side="right")

    def bill(self, review: Column, decline: Column, costs: Costs) -> Bill:
        """Return what thresholds cost; a review threshold above the decline threshold moves that up."""
        stopped, declined = self.reaching(review), self.reaching(np.maximum(review, decline))
        whole = max(self.fraud_minor[-1] + self.honest_minor[-1], 1.0)
        return Bill(
            (self.fraud_minor[-1] - self.fraud_minor[stopped]) / whole,
            costs.review_minor * (self.purchases[stopped] - self.purchases[declined]) / whole,
            costs.decline_share * self.honest_minor[declined] / whole,
        )


def cost_charts(judged: JudgedRows, thresholds: ThresholdChoice, costs: Costs, *, stated: bool) -> Sequence[Chart]:
    """Draw the cost of every review threshold and of every decline threshold, the other one as chosen."""
    ledger = Ledger.of(judged)
    prices = (
        f"{'Stated' if stated else 'Assumed, because nobody stated costs'}: a missed fraud costs its amount, a review "
        f"{costs.review_minor / 100:.2f}, a wrong decline {costs.decline_share:.0%} of its amount."
    )
    review = ledger.bill(_STEPS, np.full(_STEPS.size, thresholds.decline), costs)
    low = np.minimum(thresholds.review, _STEPS)
    decline = ledger.bill(low, _STEPS, costs)
    return (
        _chart("cost-review", "Cost of the review threshold", prices, review, thresholds),
        _chart(
            "cost-decline",
            "Cost of the decline threshold",
            "The same costs, when the review threshold stays and the decline threshold moves.",
            decline,
            thresholds,
        ),
    )


def _chart(name: str, title: str, caption: str, bill: Bill, thresholds: ThresholdChoice) -> Chart:
    best = _STEPS[int(np.argmin(bill.total))]

    def draw(axes: Axes) -> None:
        axes.plot(_STEPS, bill.missed, color=FRAUD, linewidth=1.2, label="fraud let through")
        axes.plot(_STEPS, bill.reviews, color=REVIEW, linewidth=1.2, label="reviews")
        axes.plot(_STEPS, bill.declines, color=DECLINE, linewidth=1.2, linestyle=":", label="honest declined")
        axes.plot(_STEPS, bill.total, color=INK, linewidth=2.2, label="in all")
        axes.plot(best, bill.total.min(), "D", color=INK, markersize=5, label="cheapest")
        score_axis(axes)
        axes.set(xlabel="threshold: score from which on", ylabel="cost, in % of the money spent")
        axes.set_ylim(0, max(1.1 * bill.missed[-1], 2.0 * bill.total.min(), 1e-9))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        mark_thresholds(axes, thresholds)
        legend_above(axes, 3)

    return drawn(name, title, caption, draw)
