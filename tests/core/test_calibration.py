"""Calibration: strictly increasing, inside (0, 1), and the same bits for one score and for a column."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.calibration import Calibration

RAW = st.floats(-50, 50)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Draw knots that are well apart."""
    count = draw(st.integers(2, 12))
    raw = sorted(draw(st.sets(st.integers(-1000, 1000), min_size=count, max_size=count)))
    probability = sorted(draw(st.sets(st.integers(1, 9999), min_size=count, max_size=count)))
    return Calibration(tuple(one / 50 for one in raw), tuple(one / 10_000 for one in probability))


@given(calibrations(), st.lists(RAW, min_size=1, max_size=50))
def test_a_column_gets_the_bits_that_each_score_gets(calibration: Calibration, raw_scores: list[float]) -> None:
    """`scores` of a column equals `score` of each element, also on the knots and beyond them."""
    values = [*raw_scores, *calibration.raw]
    assert calibration.scores(np.array(values)).tolist() == [calibration.score(value) for value in values]


@given(calibrations(), st.lists(RAW, min_size=2, max_size=50))
def test_order_is_kept(calibration: Calibration, raw_scores: list[float]) -> None:
    """A higher raw score never gets a lower score."""
    scores = [calibration.score(raw) for raw in sorted(raw_scores)]
    assert all(low <= high for low, high in pairwise(scores))


@given(calibrations())
def test_a_knot_gets_its_probability(calibration: Calibration) -> None:
    """The map goes through its knots exactly."""
    assert tuple(map(calibration.score, calibration.raw)) == calibration.probability


@given(calibrations(), st.floats(0.01, 1e3), st.floats(0.01, 1e3))
def test_beyond_the_knots_there_are_no_ties(calibration: Calibration, step: float, further: float) -> None:
    """Beyond the outer knots scores go on growing, and never reach 0 or 1."""
    low, high = calibration.raw[0], calibration.raw[-1]
    scores = [
        calibration.score(raw)
        for raw in (low - step - further, low - step, low, high, high + step, high + step + further)
    ]
    assert 0.0 < scores[0] < scores[1] < scores[2] < scores[3] < scores[4] < scores[5] < 1.0


@pytest.mark.parametrize(
    ("raw", "probability", "says"),
    [
        ((0.0,), (0.5,), "two knots or more"),
        ((0.0, 1.0), (0.5,), "two knots or more"),
        ((0.0, 0.0), (0.1, 0.2), "raw scores"),
        ((0.0, float("nan")), (0.1, 0.2), "raw scores"),
        ((0.0, 1.0), (0.2, 0.2), "probabilities"),
        ((0.0, 1.0), (0.0, 0.2), "between 0 and 1"),
        ((0.0, 1.0), (0.1, 1.0), "between 0 and 1"),
        ((0.0, 5e-324), (0.1, 0.2), "too close"),
    ],
)
def test_knots_that_make_no_map_are_refused(raw: tuple[float, ...], probability: tuple[float, ...], says: str) -> None:
    """What is not strictly increasing inside (0, 1) is refused in words."""
    with pytest.raises(ValueError, match=says):
        Calibration(raw, probability)
