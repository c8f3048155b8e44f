"""How far a distribution has moved from what a model saw in training: one formula, online and offline."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]

LEAST_SHARE: Final = 1e-4
"""What an empty bin counts as, so that one purchase in it does not make an infinite index."""


def stability(expected: Counts, found: Counts) -> float:
    """Return the population stability index of counts against expected ones, bin by bin; NaN when either is empty.

    The sum over the bins of (share - expected share) * ln(share / expected share), where no share counts as
    less than 0.0001: N. Siddiqi, "Credit Risk Scorecards" (2006), who reads 0.1 as a slight and 0.25 as a real
    change. Equal populations do not give 0 but about (bins - 1) * (1 / rows + 1 / expected rows).
    """
    if not (expected.any() and found.any()):
        return np.nan
    share, wanted = (np.maximum(bins / bins.sum(), LEAST_SHARE) for bins in (found, expected))
    return float(((share - wanted) * np.log(share / wanted)).sum())
