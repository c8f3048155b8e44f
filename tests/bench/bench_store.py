"""Hot operations of the embedded store and of the model, one at a time; see `bench_core` for what they say.

A read meets another purchase each time. A write ends on disk, so it says what this disk's flush takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from service.core.compiled import compile_row
from service.core.event import Event
from service.core.features import FEATURES
from service.core.row import row_of
from service.pb import fraud_pb2 as pb
from service.registry.booster import Booster
from service.store.lmdb import LmdbStore
from service.store.protocol import Submission
from service.store.records import decode_event, encode_event
from tests.bench.market import Fill, purchase_of, request_of, train_full
from tests.bench.stores import open_lmdb, purchases, small_market
from tests.registry.build import random_rows

FILLS: Final[tuple[Fill, ...]] = ("typical", "worst")

Filled = tuple[LmdbStore, list[Event]]


@pytest.fixture(scope="module", params=FILLS)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Open a store of a fill, with purchases that meet everybody in it."""
    path: Path = tmp_path_factory.mktemp("store") / request.param
    scored = small_market(open_lmdb(path), request.param)
    with closing(open_lmdb(path)) as store:
        yield store, scored


@pytest.fixture(scope="module")
def booster() -> Booster:
    """Load a model of the size of the bars."""
    return Booster(train_full().encode())


def test_read_of_one_purchase(benchmark: BenchmarkFixture, filled: Filled) -> None:
    """Four profiles and the purchase's own record."""
    store, scored = filled
    following = cycle(scored)
    assert not benchmark(lambda: store.read((next(following),), 1.0))[0].unreadable


def test_read_of_hundred_purchases(benchmark: BenchmarkFixture, filled: Filled) -> None:
    """What a ScoreBatch reads, in one transaction."""
    store, scored = filled
    assert len(benchmark(store.read, scored[:100], 1.0)) == 100


def test_read_row_and_model(benchmark: BenchmarkFixture, filled: Filled, booster: Booster) -> None:
    """A score without all that surrounds it."""
    store, scored = filled
    row = compile_row([one.formula for one in FEATURES])
    following = cycle(scored)

    def score() -> float:
        purchase = next(following)
        return booster.raw_score(row_of(row, purchase, store.read((purchase,), 1.0)[0].images))

    assert isinstance(benchmark(score), float)


def test_model_on_one_row(benchmark: BenchmarkFixture, booster: Booster) -> None:
    """Rows that do not resemble each other."""
    following = cycle(random_rows(len(FEATURES), count=400).tolist())
    assert isinstance(benchmark(lambda: booster.raw_score(next(following))), float)


def test_model_on_hundred_rows(benchmark: BenchmarkFixture, booster: Booster) -> None:
    """What a ScoreBatch predicts, in one call."""
    assert len(benchmark(booster.raw_scores, random_rows(len(FEATURES), count=100))) == 100


def test_contributions_of_one_row(benchmark: BenchmarkFixture, booster: Booster) -> None:
    """What a decision that is not APPROVE costs on top."""
    assert len(benchmark(booster.contributions, random_rows(len(FEATURES), count=1)[0].tolist())) == len(FEATURES) + 1


@pytest.mark.parametrize("count", [1, 100])
def test_events_on_disk(benchmark: BenchmarkFixture, filled: Filled, count: int) -> None:
    """Purchases applied in one commit and flushed."""
    store, _ = filled
    numbers = iter(range(10_000_000))

    def apply() -> int:
        batch = [Submission(purchase_of(0, 0, 0, 0, -1 - next(numbers) - 10_000_000 * count)) for _ in range(count)]
        return len(store.apply(batch))

    assert benchmark(apply) == count


def test_request_parsed(benchmark: BenchmarkFixture) -> None:
    """A score request off the wire."""
    assert benchmark(pb.ScoreRequest.FromString, request_of(purchases()[0])).purchase.user_id


def test_event_to_record_and_back(benchmark: BenchmarkFixture) -> None:
    """An event as stores keep it."""
    event = purchases()[0]
    assert benchmark(lambda: decode_event(encode_event(event))).event == event
