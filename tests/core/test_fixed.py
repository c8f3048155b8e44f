"""Integer logarithms and hashes of ids."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from service.core.fixed import LOG_SCALE, id64, log2_fixed, log2_fixed_array

NEAR_POWERS = st.builds(lambda exponent, off: max(0, (1 << exponent) + off), st.integers(0, 52), st.integers(-2, 2))


@given(st.integers(0, 2**62 - 1) | NEAR_POWERS)
@example(0)
@example(2**62 - 1)
def test_log2_fixed_is_a_logarithm(x: int) -> None:
    """The fixed-point logarithm is off by less than two units of 1/1024 of a doubling."""
    assert abs(log2_fixed(x) - math.log2(x + 1) * LOG_SCALE) < 2


@given(st.integers(0, 62 - 1))
def test_log2_fixed_of_a_power_of_two_is_exact(exponent: int) -> None:
    """log2_fixed(2^n - 1) is n doublings, to the unit."""
    assert log2_fixed((1 << exponent) - 1) == exponent * LOG_SCALE


@given(st.integers(0, 2**62 - 2) | NEAR_POWERS, st.integers(1, 2**40))
def test_log2_fixed_is_monotone(x: int, more: int) -> None:
    """More never has a smaller logarithm."""
    assert log2_fixed(x) <= log2_fixed(min(x + more, 2**62 - 1))


@given(st.lists(st.integers(0, 2**53 - 2) | NEAR_POWERS, min_size=1))
def test_arrays_have_the_same_logarithms(values: list[int]) -> None:
    """The array version gives the same integer for each element."""
    assert log2_fixed_array(np.array(values, dtype=np.int64)).tolist() == [log2_fixed(x) for x in values]


def test_arrays_have_the_same_logarithms_of_small_amounts() -> None:
    """So do the amounts and quantities that are met every day, all of them."""
    assert log2_fixed_array(np.arange(10_000)).tolist() == [log2_fixed(x) for x in range(10_000)]


@given(st.text())
def test_id64_fits_a_signed_word_and_is_never_absent(entity_id: str) -> None:
    """A hash fits a signed 64-bit integer and is never 0, which stands for "absent"."""
    assert -(2**63) <= id64(entity_id) < 2**63
    assert id64(entity_id) != 0


def test_id64_never_changes() -> None:
    """The hash is stored in profiles, so it gives the same number for ever."""
    assert [id64("u-1"), id64("c7f4b1d09a")] == [-1552937869510162448, 554025708487166357]
