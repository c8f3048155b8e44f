"""Hot operations of the core, one at a time; each name says the fill of the profiles that are used.

`typical` and `worst` are those of `tests.make.filled_image`. What these say is how operations compare;
what a score costs inside the running server is measured there: `tests.bench.cost`.
"""

from __future__ import annotations

from typing import Literal

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from service.core.compiled import compile_row
from service.core.event import KINDS, EntityKind
from service.core.features import FEATURES
from service.core.fixed import id64, log2_fixed
from service.core.profile import EMPTY, ProfileState, updates_of
from tests.core.profiles import Images, facts_of, ids_of
from tests.make import NOW_MS, filled_image, make_purchase

Fill = Literal["empty", "typical", "worst"]

FORMULAS = [feature.formula for feature in FEATURES]

PURCHASE = make_purchase(event_time_ms=NOW_MS + 1, user_id="me", seller_id="me", item_id="me", card_hash="me")

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())


def images(fill: Fill) -> Images:
    """Return four profiles of a fill."""
    user, seller, item, card = (EMPTY[kind] if fill == "empty" else filled_image(kind, fill) for kind in KINDS)
    return user, seller, item, card


@pytest.mark.parametrize("fill", ["empty", "typical", "worst"])
def test_row_of_all_features(benchmark: BenchmarkFixture, fill: Fill) -> None:
    """All features of one purchase out of four images, ids hashed beforehand."""
    row = compile_row(FORMULAS)
    arguments = (*facts_of(PURCHASE), *ids_of(PURCHASE), *images(fill))
    assert len(benchmark(row, *arguments)) == len(FEATURES)


def test_facts_of_a_purchase(benchmark: BenchmarkFixture) -> None:
    """The two logarithms and three hashes that a row needs."""
    benchmark(lambda: (facts_of(PURCHASE), ids_of(PURCHASE)))


@pytest.mark.parametrize("fill", ["typical", "worst"])
@each_kind
def test_image_to_state(benchmark: BenchmarkFixture, kind: EntityKind, fill: Literal["typical", "worst"]) -> None:
    """An image taken apart, to be changed."""
    image = filled_image(kind, fill)
    assert benchmark(ProfileState.of, kind, image).revision


@pytest.mark.parametrize("fill", ["typical", "worst"])
@each_kind
def test_state_to_image(benchmark: BenchmarkFixture, kind: EntityKind, fill: Literal["typical", "worst"]) -> None:
    """An image put together, to be written."""
    state = ProfileState.of(kind, filled_image(kind, fill))
    assert benchmark(state.image)


@each_kind
def test_apply_a_purchase_worst(benchmark: BenchmarkFixture, kind: EntityKind) -> None:
    """One purchase added to a full profile that is held in memory."""
    state = ProfileState.of(kind, filled_image(kind, "worst"))
    update = next(one for one in updates_of(PURCHASE, None, 0, "attempts") if one.key.kind is kind)
    assert benchmark(state.apply, update)


def test_updates_of_a_purchase(benchmark: BenchmarkFixture) -> None:
    """What one purchase does to its four profiles."""
    assert len(benchmark(updates_of, PURCHASE, None, 0, "attempts")) == 4


def test_log2_fixed(benchmark: BenchmarkFixture) -> None:
    """One fixed-point logarithm."""
    assert benchmark(log2_fixed, 12_999) > 0


def test_id64(benchmark: BenchmarkFixture) -> None:
    """One hash of an id of 36 characters."""
    assert benchmark(id64, "6f9619ff-8b86-d011-b42d-00c04fc964ff")


def test_compile_row_of_all_features(benchmark: BenchmarkFixture) -> None:
    """What a lineup pays once, when it loads."""
    assert benchmark(compile_row, FORMULAS)
