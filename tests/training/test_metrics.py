"""The metrics are the usual ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from training.metrics import (
    Column,
    Labels,
    average_precision,
    card_precision,
    estimate,
    recall_at,
    recall_by_pattern,
    roc_auc,
)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Labels, Column, Column]:
    """Draw labels of both kinds, scores with ties, and weights."""
    size = draw(st.integers(2, 40))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    labels[:2] = [0, 1]
    scores = draw(st.lists(st.integers(0, 9), min_size=size, max_size=size))
    weights = draw(st.lists(st.integers(1, 4), min_size=size, max_size=size))
    return np.array(labels, np.int8), np.array(scores) / 10, np.array(weights, np.float64)


@given(rankings())
def test_average_precision_is_that_of_scikit_learn(ranking: tuple[Labels, Column, Column]) -> None:
    """Average precision with ties and weights is what scikit-learn computes."""
    labels, scores, weights = ranking
    assert average_precision(labels, scores, weights) == pytest.approx(
        average_precision_score(labels, scores, sample_weight=weights), abs=1e-12
    )


@given(rankings())
def test_roc_auc_is_that_of_scikit_learn(ranking: tuple[Labels, Column, Column]) -> None:
    """ROC AUC with ties and weights is what scikit-learn computes."""
    labels, scores, weights = ranking
    assert roc_auc(labels, scores, weights) == pytest.approx(
        roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )


@given(rankings())
def test_a_weight_counts_a_row_several_times(ranking: tuple[Labels, Column, Column]) -> None:
    """Weighting a row by two is the same as having it twice."""
    labels, scores, weights = ranking
    times = weights.astype(int)
    twice = np.repeat(labels, times), np.repeat(scores, times)
    assert average_precision(labels, scores, weights) == pytest.approx(average_precision(*twice), abs=1e-12)


def test_without_frauds_nothing_is_measured() -> None:
    """With honest purchases alone there is no average precision and no ROC AUC."""
    labels, scores = np.zeros(3, np.int8), np.array([0.1, 0.2, 0.3])
    assert np.isnan([average_precision(labels, scores), roc_auc(labels, scores)]).all()


def test_recall_at_a_rate_counts_what_the_review_holds() -> None:
    """Of two frauds one is among the riskiest half."""
    labels, scores = np.array([1, 0, 1, 0], np.int8), np.array([0.9, 0.8, 0.2, 0.1])
    assert recall_at(0.5)(labels, scores, np.ones(4)) == 0.5


def test_equal_scores_do_not_fit_into_a_review_by_halves() -> None:
    """Purchases with one score are reviewed together, so a review too small for all of them holds none."""
    labels, scores = np.array([1, 1, 0, 0], np.int8), np.full(4, 0.5)
    assert recall_at(0.5)(labels, scores, np.ones(4)) == 0.0


def test_card_precision_takes_each_card_once_a_day_and_drops_hits() -> None:
    """A card counts by its highest score and label, and a card that was a hit is left out of later days."""
    days = np.array([1, 1, 1, 2, 2, 2])
    cards = np.array([7, 7, 8, 7, 8, 9])
    labels = np.array([0, 1, 0, 1, 1, 0], np.int8)
    scores = np.array([0.9, 0.1, 0.2, 0.9, 0.8, 0.7])
    # Day 1: card 7 leads and is fraud. Day 2: card 7 is known; card 8 leads and is fraud.
    assert card_precision(days, cards, labels, scores, top=1) == 1.0
    # Two cards a day: 7 and 8 of which one is fraud; 8 and 9 of which one is fraud.
    assert card_precision(days, cards, labels, scores, top=2) == 0.5


def test_recall_by_pattern_looks_at_frauds_alone() -> None:
    """Each pattern has the share of its frauds that were flagged."""
    labels, flagged = np.array([1, 1, 1, 0], np.int8), np.array([True, False, True, True])
    assert recall_by_pattern(["a", "a", "b", "a"], labels, flagged) == {"a": 0.5, "b": 1.0}


def test_an_estimate_holds_its_value_and_repeats() -> None:
    """The interval holds the value, and the same seed gives the same interval."""
    rng = np.random.default_rng(1)
    labels = (rng.random(500) < 0.1).astype(np.int8)
    scores = rng.random(500) + labels
    found = estimate(average_precision, labels, scores, seed=3)
    assert found.low <= found.value <= found.high
    assert found == estimate(average_precision, labels, scores, seed=3)
