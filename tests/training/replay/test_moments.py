"""Single profiles out of a snapshot are those of their revisions, in whatever order its log stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pytest

from service.core.compiled import compile_row
from service.core.event import EventKind
from service.core.features import FEATURES
from service.core.row import row_of
from tests.make import make_stream
from tests.store.places import Place
from tests.training.snapshot.scenes import record, take
from training.learning.dataset import load_dataset
from training.learning.origin import origin_of
from training.replay.moments import moments_by_revision
from training.snapshot.read import Snapshot, open_snapshot
from training.snapshot.schema import REVISION_COLUMNS


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Return the snapshot of a hard stream: early follow-ups, repeats, frauds confirmed and cleared."""
    folder = tmp_path_factory.mktemp("moments")
    store = Place("lmdb", str(folder / "store")).open()
    record(store, make_stream(5, 300))
    take(store, folder / "snapshots")
    store.close()
    return open_snapshot(folder / "snapshots", "latest")


def _purchases(snapshot: Snapshot) -> pl.DataFrame:
    return pl.concat(snapshot.events()).filter(pl.col("kind") == int(EventKind.PURCHASE))


def test_a_profile_has_every_revision_before_the_purchase(snapshot: Snapshot) -> None:
    """The image of each entity has the revision that comes before the one that the purchase made."""
    purchases = _purchases(snapshot)
    moments = moments_by_revision(snapshot.events, purchases["position"].to_list(), "attempts")
    for moment, made in zip(moments, purchases.select(REVISION_COLUMNS).iter_rows(), strict=True):
        seen = [None if image is None else image[1] + 1 for image in moment.images]
        assert seen == [revision or None for revision in made]


def test_a_moment_makes_the_row_of_replay(snapshot: Snapshot) -> None:
    """Computed one by one from rebuilt profiles, rows have the bits that replay by entity gives them."""
    dataset = load_dataset(snapshot, FEATURES, "attempts")
    compute = compile_row([feature.formula for feature in FEATURES])
    for moment, row in zip(
        origin_of(snapshot).moments("attempts")(dataset.positions.tolist()), dataset.matrix, strict=True
    ):
        assert np.array_equal(row_of(compute, moment.purchase, moment.images), row, equal_nan=True)


def test_the_order_of_the_log_does_not_matter(snapshot: Snapshot) -> None:
    """A log that stands in another order, as that of a store on several machines does, gives the same profiles."""

    def shuffled(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        yield pl.concat(snapshot.events(columns)).sample(fraction=1.0, shuffle=True, seed=3)

    positions = _purchases(snapshot)["position"].to_list()[::3]
    assert moments_by_revision(shuffled, positions, "attempts") == moments_by_revision(
        snapshot.events, positions, "attempts"
    )


def test_sellers_are_told_apart(snapshot: Snapshot) -> None:
    """Purchases have one code for one seller, and -1 where they name none."""
    purchases = _purchases(snapshot)
    codes = origin_of(snapshot).sellers(purchases["position"].to_numpy())
    named = pl.DataFrame({"seller": purchases["seller_id"], "code": codes}).unique()
    assert named.height == purchases["seller_id"].n_unique()
    assert set(named.filter(pl.col("seller") == "")["code"].to_list()) <= {-1}
