"""The metrics are the usual ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from service.registry.manifest import Histogram
from training.metrics import (
    Column,
    Labels,
    average_precision,
    card_precision,
    difference,
    draws,
    drift,
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


def test_a_card_is_drawn_whole() -> None:
    """Purchases of one card are drawn equally often, and one without a card is drawn by itself."""
    cards = np.array([5, -1, 5, 9, -1])
    rounds = list(draws(5, seed=1, groups=cards))
    assert all(drawn[0] == drawn[2] for drawn in rounds)
    assert any(drawn[1] != drawn[4] for drawn in rounds)
    assert {float(drawn[[0, 1, 3, 4]].sum()) for drawn in rounds} == {4.0}


def test_purchases_of_few_cards_say_less() -> None:
    """The interval over few cards with many purchases each is wider than the one over single purchases."""
    rng = np.random.default_rng(1)
    cards = np.arange(600) % 20
    labels = (cards % 5 == 0).astype(np.int8)
    scores = rng.random(20)[cards] + 0.3 * labels
    by_row = estimate(average_precision, labels, scores, seed=3)
    by_card = estimate(average_precision, labels, scores, seed=3, groups=cards)
    assert by_card.value == by_row.value
    assert by_card.high - by_card.low > 2 * (by_row.high - by_row.low)


def test_an_estimate_counts_a_row_by_its_weight() -> None:
    """A purchase that stands for ten counts ten times in the value."""
    labels, scores = np.array([0, 1, 0, 1], np.int8), np.array([0.9, 0.8, 0.2, 0.1])
    weights = np.array([1.0, 10.0, 1.0, 1.0])
    found = estimate(average_precision, labels, scores, seed=1, weights=weights)
    assert found.value == average_precision(labels, scores, weights)


def test_a_ranking_does_not_differ_from_itself() -> None:
    """Both sides of a difference are drawn alike: the same scores differ by nothing in every round."""
    rng = np.random.default_rng(1)
    labels, scores = (rng.random(300) < 0.1).astype(np.int8), rng.random(300)
    assert difference(average_precision, labels, scores, scores.copy(), seed=2) == (0.0, 0.0, 0.0)


def test_a_difference_is_known_better_than_its_sides() -> None:
    """What is hard for both rankings cancels out, and turning the sides around turns the sign."""
    rng = np.random.default_rng(1)
    labels = (rng.random(2_000) < 0.05).astype(np.int8)
    worse = rng.random(2_000) + 0.5 * labels
    better = worse + 0.1 * labels
    found = difference(roc_auc, labels, better, worse, seed=2)
    alone = estimate(roc_auc, labels, better, seed=2)
    assert 0.0 < found.low <= found.value <= found.high
    assert found.high - found.low < (alone.high - alone.low) / 2
    assert difference(roc_auc, labels, worse, better, seed=2).value == -found.value


def test_what_looks_as_expected_does_not_drift() -> None:
    """The rows of the histogram itself have an index of 0."""
    expected = Histogram(edges=(0.0, 0.5, 1.0), counts=(3, 1), unknown=1)
    assert drift(expected, np.array([0.1, 0.2, 0.3, 0.9, np.nan])) == 0.0


def test_drift_is_the_population_stability_index() -> None:
    """Shares of one and three quarters that change places give twice half of ln 3."""
    expected = Histogram(edges=(0.0, 0.5, 1.0), counts=(1, 3))
    assert drift(expected, np.array([0.1, 0.1, 0.1, 0.9])) == pytest.approx(np.log(3.0), abs=1e-3)


def test_values_that_became_unknown_drift() -> None:
    """Unknown is a bin of its own; an empty bin counts as one in ten thousand, so that the index is finite."""
    expected = Histogram(edges=(0.0, 1.0), counts=(4,))
    found = drift(expected, np.full(4, np.nan))
    assert found == pytest.approx(2 * (1 - 1e-4) * np.log(1e4))


def test_values_beyond_the_edges_count_at_the_edge() -> None:
    """A value outside of the histogram is not lost."""
    expected = Histogram(edges=(0.0, 0.5, 1.0), counts=(1, 1))
    assert drift(expected, np.array([-1.0, 2.0])) == 0.0


def test_nothing_does_not_drift() -> None:
    """Without rows on either side there is no index."""
    expected = Histogram(edges=(0.0, 1.0), counts=(4,))
    empty = Histogram(edges=(0.0, 1.0), counts=(0,))
    assert np.isnan([drift(expected, np.zeros(0)), drift(empty, np.zeros(3))]).all()
