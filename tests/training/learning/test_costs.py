"""Thresholds by cost are the cheapest pair there is, and weights count as so many purchases."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.registry.manifest import ThresholdChoice
from training.learning.calibrate import NEVER, Costs, calibrate, cheapest_thresholds, choose_thresholds
from training.metrics import Column, Labels
from training.replay.kernel import Integers


def _cost(scores: Column, labels: Labels, amount: Integers, costs: Costs, chosen: tuple[float, float]) -> float:
    """Return what a pair of thresholds costs, purchase by purchase."""
    review, decline = chosen
    total = 0.0
    for score, label, minor in zip(scores, labels, amount, strict=True):
        if score >= decline:
            total += 0.0 if label else costs.decline_share * minor
        elif score >= review:
            total += costs.review_minor
        elif label:
            total += minor
    return total


def _chosen(choice: ThresholdChoice) -> tuple[float, float]:
    return choice.review, choice.decline


@given(
    seed=st.integers(0, 10_000), review_minor=st.integers(0, 60), decline_share=st.sampled_from([0.0, 0.1, 1.0, 3.0])
)
def test_no_pair_of_thresholds_costs_less(seed: int, review_minor: int, decline_share: float) -> None:
    """Against every pair of scores as thresholds, equal scores among them."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random(14), 1) * 0.9
    labels = (rng.random(14) < 0.4).astype(np.int8)
    amount = rng.integers(1, 200, 14)
    costs = Costs(review_minor, decline_share)
    best = _cost(scores, labels, amount, costs, _chosen(cheapest_thresholds(scores, labels, amount, costs, 0)))
    pairs = combinations_with_replacement(sorted({*scores.tolist(), NEVER}), 2)
    assert best == pytest.approx(min(_cost(scores, labels, amount, costs, pair) for pair in pairs))


def test_a_few_purchases_are_never_declined_for_cost() -> None:
    """Below the least number of declined purchases nobody is declined, whatever that would save."""
    scores, labels = np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0], np.int8)
    costs = Costs(review_minor=50, decline_share=0.0)
    chosen = cheapest_thresholds(scores, labels, np.array([900, 900, 900]), costs, 4)
    assert _chosen(chosen) == (0.8, NEVER)


def test_a_weight_counts_as_so_many_purchases() -> None:
    """Thresholds and calibration with weights are those of rows that stand there as often."""
    rng = np.random.default_rng(4)
    scores, labels = rng.random(60), (rng.random(60) < 0.3).astype(np.int8)
    amount, times = rng.integers(1, 500, 60), rng.integers(1, 5, 60)
    often = np.repeat(np.arange(60), times)
    weights = times.astype(np.float64)
    costs = Costs(40, 0.2)
    assert _chosen(cheapest_thresholds(scores, labels, amount, costs, 0, weights=weights)) == _chosen(
        cheapest_thresholds(scores[often], labels[often], amount[often], costs, 0)
    )
    assert _chosen(choose_thresholds(scores, labels, 0.2, 0.5, 1, weights=weights)) == _chosen(
        choose_thresholds(scores[often], labels[often], 0.2, 0.5, 1)
    )
    # The targets of calibration know how many frauds were seen, which a weight does not change: hence the tolerance.
    weighted, repeated = calibrate(scores, labels, weights), calibrate(scores[often], labels[often])
    assert np.allclose(weighted.scores(scores), repeated.scores(scores), atol=0.02)
