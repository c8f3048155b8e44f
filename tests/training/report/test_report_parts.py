"""The figures of the report are what they are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from service.registry.manifest import ThresholdChoice
from tests.training.report.judged import FEATURES, make_judged, make_version
from training.learning.calibrate import Costs
from training.metrics import Column, average_precision, difference
from training.report import words
from training.report.costs import Ledger
from training.report.decisions import caught, decided
from training.report.drifts import Moved
from training.report.headline import headline_of
from training.report.segments import Segment, fairness_of, segments_of
from training.report.shares import Question, shares, wilson

THRESHOLDS = ThresholdChoice(review=0.5, decline=0.9, why="")
FOUR: dict[str, Any] = {
    "scores": np.array([0.95, 0.6, 0.55, 0.1]),
    "labels": np.array([1, 1, 0, 0], np.int8),
    "amount_minor": np.array([1_000, 3_000, 500, 5_500]),
    "pattern": pl.Series(["stolen_card", "collusion", "", ""]),
}
"""A declined fraud, a reviewed fraud, a reviewed honest purchase and an approved one."""


def test_decisions_are_counted() -> None:
    """Each purchase has one decision; purity and money are of the frauds among them."""
    decline, review, approve = decided(make_judged(4, **FOUR), THRESHOLDS)
    assert (decline.purchases, decline.frauds, decline.purity, decline.fraud_money) == (1, 1, 1.0, 0.25)
    assert (review.purchases, review.frauds, review.purity, review.fraud_money) == (2, 1, 0.5, 0.75)
    assert (approve.purchases, approve.honest, approve.share) == (1, 1, 0.25)


def test_a_purchase_that_stands_for_several_counts_so() -> None:
    """Weights count in decisions and shares, but not in the rows that an answer rests on."""
    judged = make_judged(4, **FOUR, weights=np.array([1.0, 1.0, 8.0, 1.0]))
    assert decided(judged, THRESHOLDS)[1].purchases == 9.0
    everything = np.ones(4, bool)
    (answer,) = shares([Question(~judged.fraud & (judged.scores >= 0.5), everything)], judged, seed=1).each
    assert (answer.hits, answer.of, answer.found.value) == (1, 4, 8 / 11)


def test_patterns_are_told_apart() -> None:
    """Each pattern has its own share of frauds stopped, declined, and of the money."""
    found = {one.pattern: one for one in caught(make_judged(4, **FOUR), THRESHOLDS, seed=1)}
    assert found["stolen_card"].declined.found.value == 1.0
    assert (found["collusion"].declined.found.value, found["collusion"].stopped.found.value) == (0.0, 1.0)
    assert found["collusion"].money == 1.0


def test_five_of_five_prove_little() -> None:
    """A share of everything does not claim to be certain: its interval is as wide as Wilson's."""
    judged = make_judged(5, labels=np.ones(5, np.int8), scores=np.ones(5))
    everything = np.ones(5, bool)
    (answer,) = shares([Question(everything, everything)], judged, seed=1).each
    assert answer.found.low == pytest.approx(0.5655, abs=1e-4)


def test_wilson_is_the_published_interval() -> None:
    """The interval of 10 hits in 100 is the one of the tables."""
    assert wilson(0.1, 100) == pytest.approx((0.0552, 0.1744), abs=1e-4)


def bill(review: float, decline: float) -> tuple[float, ...]:
    """Return what thresholds cost on the four purchases, in minor units."""
    costs = Costs(review_minor=100, decline_share=0.2)
    ledger = Ledger.of(make_judged(4, **FOUR))
    columns: list[Column] = list(ledger.bill(np.array([review]), np.array([decline]), costs))
    return tuple(round(float(column[0]) * 10_000, 6) for column in columns)


@pytest.mark.parametrize(
    ("review", "decline", "missed", "reviews", "declines"),
    [
        (0.5, 0.9, 0, 200, 0),  # one fraud declined, two reviewed
        (0.6, 0.9, 0, 100, 0),  # a threshold is reached by the score that equals it
        (0.61, 0.9, 3_000, 0, 0),  # a fraud let through costs its amount
        (0.5, 0.5, 0, 0, 100),  # the honest one declined costs a fifth of 500
        (1.0, 0.5, 4_000, 0, 0),  # nothing is declined below the review threshold
    ],
)
def test_thresholds_cost_what_is_said(review: float, decline: float, missed: int, reviews: int, declines: int) -> None:
    """Missed frauds cost their amounts, reviews a fixed price, wrong declines a share."""
    assert bill(review, decline) == (missed, reviews, declines)


def test_a_segment_that_is_stopped_more_often_is_named() -> None:
    """Honest purchases of one half are stopped ten times as often without more fraud: a sentence says so."""
    count = 2_000
    left = np.arange(count) % 2 == 0
    scores = np.where(np.arange(count) % np.where(left, 5, 50) == np.where(left, 0, 1), 0.7, 0.1)
    labels = (np.arange(count) % 20 < 2).astype(np.int8)
    judged = make_judged(count, scores=scores, labels=labels, card=np.arange(count))
    fairness = fairness_of(judged, [Segment("the left", "", left)], 0.5, 0.9, seed=1)
    stopped = [one for one in fairness.findings if one.sentence.startswith("Honest purchases of the left are stopped")]
    assert len(stopped) == 1
    assert not stopped[0].earned
    everybody, left_half = fairness.treatments
    assert everybody.purchases == 2 * left_half.purchases == count


def test_what_could_be_chance_is_not_named() -> None:
    """Halves that are treated alike are not complained of."""
    judged = make_judged(2_000)
    half = np.random.default_rng(5).random(2_000) < 0.5
    assert list(fairness_of(judged, [Segment("half", "", half)], 0.3, 0.5, seed=1).findings) == []


def test_segments_cover_users_sellers_and_prices() -> None:
    """New and established users and sellers, small and large sellers, and thirds of the amounts are told apart."""
    judged = make_judged(1_200, seller=np.repeat([1, 2, 3, 4, 5], [700, 300, 100, 60, 40]))
    found = {segment.name: int(segment.rows.sum()) for segment in segments_of(judged, FEATURES)}
    assert found.keys() == {
        *("new users", "established users", "new sellers", "established sellers"),
        *("small sellers", "large sellers", "low prices", "middle prices", "high prices"),
    }
    assert (found["small sellers"], found["large sellers"]) == (500, 700)
    assert found["new users"] + found["established users"] == 1_200


def test_without_sellers_small_ones_are_said_to_be_untold() -> None:
    """What cannot be looked at is said, not passed over."""
    fairness = fairness_of(make_judged(), [], 0.3, 0.5, seed=1)
    assert len(fairness.untold) == 1


def test_a_worse_version_is_called_worse() -> None:
    """The headline turns around with the scores, and its difference is the paired one over cards."""
    version = make_version(comparison=None)
    champion = version.judged.champion_scores
    assert champion is not None
    turned = version.judged._replace(scores=champion, champion_scores=version.judged.scores)
    measured = headline_of(version.manifest, version.judged, 7).versus[0].difference
    rows = version.judged.labels, version.judged.scores, champion
    assert measured == difference(average_precision, *rows, seed=7, groups=version.judged.card)
    verdicts = [headline_of(version.manifest, judged, 7).verdict for judged in (version.judged, turned)]
    assert verdicts == ["better", "worse"]


@pytest.mark.parametrize(("index", "level"), [(0.1, "still"), (0.11, "slight"), (0.25, "slight"), (0.26, "real")])
def test_drift_is_flagged_by_the_usual_limits(index: float, level: str) -> None:
    """Over 0.1 is slight, over 0.25 is real."""
    assert Moved("x", "", index, 0.0, 0.0, 0.0, 0.0).level == level


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0"), (0.00123, "0.12"), (0.012, "1.2"), (0.00999, "1.0"), (0.0999, "10"), (1.0, "100")]
)
def test_percents_have_two_digits(share: float, text: str) -> None:
    """A share is told with the digits that one reads."""
    assert words.percent(share) == f"{text}\u202f%"


def test_scores_that_overstate_a_segment_are_named() -> None:
    """Of a segment whose scores say twice the fraud that there is, a sentence says so; of the other one, none does."""
    count = 4_000
    left = np.arange(count) % 2 == 0
    labels = (np.arange(count) % 20 < 2).astype(np.int8)
    judged = make_judged(count, scores=np.where(left, 0.25, 0.1), labels=labels, card=np.arange(count))
    fairness = fairness_of(judged, [Segment("left", "", left), Segment("right", "", ~left)], 0.5, 0.9, seed=1)
    assert [one.sentence.split(":")[0] for one in fairness.findings] == ["The score overstates fraud of left"]
