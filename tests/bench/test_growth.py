"""What the benchmarks are filled with and asked."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from service.core.event import KINDS, EntityKind
from tests.bench.growth import LAWS, grow, purchases, uniform, zipf
from tests.bench.market import counts_of
from tests.bench.stores import open_lmdb

SIZE_BYTES = 1 << 26


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
@pytest.mark.parametrize("count", [1, 10, 4500])
def test_drawn_numbers_name_entities_that_exist(law: object, count: int) -> None:
    """Every number is at least 0 and below the count, also for a single entity."""
    assert callable(law)
    drawn = law(np.random.default_rng(0), count, 10_000)
    assert 0 <= drawn.min() <= drawn.max() < count


def test_zipf_is_uneven_as_the_law_says() -> None:
    """Ranks 1 to 10 of a thousand get a third of the draws; the busiest ones are not neighbours."""
    drawn = zipf(np.random.default_rng(0), 1000, 30_000)
    numbers, times = np.unique(drawn, return_counts=True)
    busiest = numbers[np.argsort(-times)][:10]
    assert 0.30 < np.sort(times)[-10:].sum() / 30_000 < 0.37
    assert np.abs(np.diff(np.sort(busiest))).min() > 1


def test_a_market_of_a_size_has_that_many_profiles() -> None:
    """The shares of the kinds add up, and the smallest market has one of each."""
    assert sum(counts_of(10_000_000).values()) == 10_000_000
    assert min(counts_of(4).values()) == 1


def test_a_store_that_grew_holds_everybody_who_is_asked_about(tmp_path: Path) -> None:
    """Grown in two steps, it has a profile of each kind for every purchase that is drawn, and none of the purchases."""
    grow(tmp_path / "store", 500, "typical")
    grow(tmp_path / "store", 1000, "typical", before=500)
    with closing(open_lmdb(tmp_path / "store", SIZE_BYTES)) as store:
        views = store.read(purchases(uniform, 1000, 1, 200), 1.0)
        assert all(image is not None and image[1] > 0 for view in views for image in view.images)
        assert not any(view.recorded for view in views)
        assert len(store.events("", 1000).events) == 101  # a tenth of the profiles, and the one that sets the clock


def test_profiles_of_one_kind_differ(tmp_path: Path) -> None:
    """Rows are not all alike, so that the model does not always take the same branches."""
    grow(tmp_path / "store", 1000, "typical")
    with closing(open_lmdb(tmp_path / "store", SIZE_BYTES)) as store:
        views = store.read(purchases(uniform, 1000, 1, 200), 1.0)
    users = {view.images[KINDS.index(EntityKind.USER)] for view in views}
    assert len(users) > 50
