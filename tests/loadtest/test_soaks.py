"""What the soaks conclude from what they saw."""

from __future__ import annotations

import random

import pytest

from tests.loadtest.make import tally
from tests.overload_soak import recovery_s
from tests.steady_soak import BLOCKS, slope_of

GOOD, BAD, SLOW = tally(100), tally(90, RESOURCE_EXHAUSTED=10), tally(90, slow=10)
FEW_BAD = tally(99, RESOURCE_EXHAUSTED=1)


@pytest.mark.parametrize(
    ("after", "calm_share", "expected_s"),
    [
        ([(0, GOOD), (1, GOOD)], 1.0, 0.0),
        ([(0, BAD), (1, GOOD), (2, GOOD)], 1.0, 1.0),
        ([(0, GOOD), (1, SLOW), (2, GOOD)], 1.0, 2.0),
        ([(0, BAD), (0, GOOD), (1, GOOD)], 1.0, 1.0),
        ([(0, FEW_BAD), (1, GOOD)], 1.0, 0.0),
        ([(0, GOOD), (1, BAD)], 1.0, float("inf")),
        ([(0, SLOW), (1, BAD)], 0.9, 0.0),
        ([(0, BAD), (1, FEW_BAD)], 0.95, 1.0),
        ([], 1.0, float("inf")),
    ],
)
def test_recovery_ends_with_the_last_bad_second(
    after: list[tuple[int, object]], calm_share: float, expected_s: float
) -> None:
    """Recovered is who answers 99 % of what was in time before, in each second from then on."""
    assert recovery_s(after, calm_share) == expected_s  # type: ignore[arg-type]


def noise(count: int, seed: int) -> list[float]:
    """Return memory that wanders by half a percent and grows by nothing."""
    rng = random.Random(seed)
    return [100_000.0 + rng.gauss(0, 500) for _ in range(count)]


@pytest.mark.parametrize("seed", range(10))
def test_noise_has_no_slope(seed: int) -> None:
    """Memory that only wanders is flat."""
    assert slope_of(noise(200, seed)).flat


def test_slope_is_the_growth_over_the_whole_time() -> None:
    """Memory that grows by a tenth is told to grow by a tenth of its mean, whatever the noise."""
    growing = [one + 10_000 * n / 200 for n, one in enumerate(noise(200, 1))]
    slope = slope_of(growing)
    assert slope.growth == pytest.approx(10_000 / 105_000, rel=0.05)
    assert not slope.flat


def test_straight_line_has_no_noise() -> None:
    """The growth of a straight line is exact."""
    slope = slope_of([1_000.0 + n for n in range(10 * BLOCKS)])
    assert slope.growth == pytest.approx(80 / 1_039.5)
    assert slope.half_width == pytest.approx(0.0, abs=1e-9)
