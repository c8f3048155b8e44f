"""The load plan: which versions to load and to drop, and when to switch, as a function of plain values.

A bad version never unseats a good one, nor does a bad policy: the lineup is switched only when every version
that is to answer is loaded, and the policy that is to decide. A challenger that does not load is left out; it
holds nobody up.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from service.registry.lineup_file import LineupSpec


class Plan(NamedTuple):
    """What to do next: load these, then ask again; with nothing to load, switch or not, then drop these."""

    load: tuple[int, ...]
    switch: bool
    drop: frozenset[int]
    blocked: tuple[int, ...]
    """Versions that are to answer and cannot: why there is no switch."""


def plan(
    spec: LineupSpec,
    loaded: AbstractSet[int],
    failed: AbstractSet[int],
    live: AbstractSet[int],
    *,
    has_policy: bool = True,
) -> Plan:
    """Return what brings us nearer to `spec`.

    `loaded` are the versions in memory, `failed` those that could not be loaded, `live` the loaded
    ones that the present lineup uses; `has_policy` tells whether the policy is loaded.
    """
    load = tuple(version for version in spec.wanted if version not in loaded and version not in failed)
    blocked = tuple(version for version in spec.answering if version in failed)
    switch = has_policy and not load and not blocked
    keep = set(spec.wanted) if switch else {*spec.wanted, *live}
    return Plan(load, switch, frozenset(loaded - keep), blocked)
