"""Integer arithmetic that gives the same bits everywhere: fixed-point logarithms and hashes of ids.

`math.log2` of two C libraries differs in the last bit now and then, and a row that trained must equal
the row that serves. So logarithms are taken once, at the edge, by the integer function below, and all
that follows is correctly rounded.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash

LOG_SCALE: Final = 1024
"""Fixed-point logarithms count in units of 1/1024 of a doubling."""

_TABLE_BITS: Final = 8
_FRACTION_BITS: Final = 32


def _log2_of_mantissa(numerator: int, denominator: int) -> int:
    """Return floor(log2(numerator / denominator) * 2^20) for a ratio in [1, 2], by repeated squaring."""
    if numerator >= 2 * denominator:
        return 1 << 20
    x = (numerator << 64) // denominator
    result = 0
    for _ in range(20):
        x = (x * x) >> 64
        bit = x >> 65
        x >>= bit
        result = result << 1 | bit
    return result


_TABLE: Final = tuple(
    _log2_of_mantissa((1 << _TABLE_BITS) + i, 1 << _TABLE_BITS) for i in range((1 << _TABLE_BITS) + 1)
)
_TABLE_ARRAY: Final = np.array(_TABLE, dtype=np.int64)


def log2_fixed(x: int) -> int:
    """Return log2(x + 1) in units of 1/`LOG_SCALE`, for 0 <= x < 2^62; off by less than two units.

    A table of 257 entries with linear interpolation, in integers only. `log2_fixed_array` gives the same.
    """
    x += 1
    exponent = x.bit_length() - 1
    mantissa = (x << _FRACTION_BITS >> exponent) - (1 << _FRACTION_BITS)
    index = mantissa >> (_FRACTION_BITS - _TABLE_BITS)
    rest = mantissa & ((1 << (_FRACTION_BITS - _TABLE_BITS)) - 1)
    low = _TABLE[index]
    fine = low + ((_TABLE[index + 1] - low) * rest >> (_FRACTION_BITS - _TABLE_BITS))
    return exponent * LOG_SCALE + (fine >> 10)


def log2_fixed_array(x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return `log2_fixed` of each element, for 0 <= x < 2^53."""
    y = x.astype(np.int64) + 1
    # frexp of an integer below 2^53 is exact: y = fraction * 2^exponent, 0.5 <= fraction < 1.
    fraction, exponent = np.frexp(y.astype(np.float64))
    mantissa = ((fraction * 2.0 - 1.0) * float(1 << 52)).astype(np.int64) >> (52 - _FRACTION_BITS)
    index = mantissa >> (_FRACTION_BITS - _TABLE_BITS)
    rest = mantissa & ((1 << (_FRACTION_BITS - _TABLE_BITS)) - 1)
    low = _TABLE_ARRAY[index]
    fine = low + ((_TABLE_ARRAY[index + 1] - low) * rest >> (_FRACTION_BITS - _TABLE_BITS))
    scaled: npt.NDArray[np.int64] = (exponent.astype(np.int64) - 1) * LOG_SCALE + (fine >> 10)
    return scaled


def log2_of_count(x: int) -> int:
    """Return log2 of a count in units of 1/`LOG_SCALE`: 0 for one, and for none at all."""
    return log2_fixed(x - 1) if x > 1 else 0


def log2_of_count_array(x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return `log2_of_count` of each element, for 0 <= x < 2^53."""
    return log2_fixed_array(np.maximum(x.astype(np.int64) - 1, 0))


def id64(entity_id: str) -> int:
    """Return a signed 64-bit hash of an id, never 0 (0 stands for "absent"); the key in capped maps.

    XXH3. Two ids of one map of 16 collide with a chance below 2^-60; nothing secret rests on it.
    """
    value = xxhash.xxh3_64_intdigest(entity_id.encode())
    return (value - (1 << 64) if value >= 1 << 63 else value) or 1
