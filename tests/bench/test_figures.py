"""The benchmarks' own arithmetic."""

from __future__ import annotations

import pytest

from tests.bench.figures import Bar, Ratio, best, least, order_of, percentile, ratio

FIGURES = {"ours": [50.0, 90.0, 10.0], "theirs": [100.0, 100.0, 100.0], "slow": [1.0, 1.0, 300.0]}


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """A round in which the machine was slow for both of them changes nothing."""
    assert ratio({"ours": [50.0, 5.0, 60.0], "theirs": [100.0, 10.0, 100.0]}, "ours", "theirs") == Ratio(0.5, 0.5, 0.6)


def test_rounds_must_be_the_same_for_both() -> None:
    """A round that one of them lacks is no silent loss."""
    with pytest.raises(ValueError, match="zip"):
        ratio({"ours": [1.0], "theirs": [1.0, 2.0]}, "ours", "theirs")


def test_the_best_has_the_highest_median() -> None:
    """One good round makes nobody the best."""
    assert best(FIGURES, ["ours", "slow"]) == "ours"
    assert least(FIGURES, ["ours", "theirs"]) == "ours"


def test_every_subject_is_first_once() -> None:
    """Rounds begin with another subject each time and measure all of them."""
    orders = [order_of(round_, ["a", "b", "c"]) for round_ in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.99, 4), (0.25, 1), (0.26, 2), (1.0, 4)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: float) -> None:
    """The nearest rank is taken, nothing is interpolated."""
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == value


def test_nothing_has_no_percentile() -> None:
    """No calls is an error, not a zero."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_bar_holds_at_its_bound() -> None:
    """At least and at most include the bound itself."""
    floor, ceiling = Bar("throughput", 0.55, aim=0.8), Bar("cost", 0.25, at_most=True)
    assert [floor.verdict(0.55), floor.verdict(0.54)] == ["holds", "FAILS"]
    assert [ceiling.verdict(0.25), ceiling.verdict(0.26)] == ["holds", "FAILS"]
    assert [str(floor), str(ceiling)] == ["≥ 0.55, aim 0.8", "≤ 0.25"]
