"""The mix resembles a market, so that a load test measures what a market's calls cost."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from loadtest.line import Target
from loadtest.mix import RECORD, Asks, Mix
from loadtest.prepare import prepare
from service.client import FraudClient
from service.pb import fraud_pb2 as pb
from service.registry.promotion import promote
from tests.running import running
from training.data.events import silent
from training.demo import market_settings, train_options
from training.learning.train import train
from training.simulate import simulate

ASKS = 500
SEED = 7


def publish(folder: Path) -> None:
    """Have a model live that learnt what that of `make run` learns, from a smaller market."""
    simulate(market_settings(40_000, 60, SEED), folder / "market.parquet", silent)
    trained = train(folder / "market.parquet", folder / "registry", train_options(SEED), datetime.now(UTC), silent)
    assert trained.version is not None
    promote(folder / "registry", trained.version, "test", "test")


def test_model_of_a_market_approves_most_of_the_mix(tmp_path: Path) -> None:
    """What is not approved is explained, for many times the cost of its score: nobody's market is mostly that."""
    publish(tmp_path)
    mix = Mix(users=2_000)
    asks = Asks(mix, "test", seed=1)
    decided: Counter[str] = Counter()
    with running(tmp_path, 1) as service, FraudClient(service.target, score_deadline_ms=5_000) as client:
        found = prepare(Target(service.target), mix, int(time.time() * 1000))
        assert "problem" not in found
        while decided.total() < ASKS:
            ask = asks.take()
            if ask.kind != RECORD:
                answer = client.score(pb.ScoreRequest.FromString(ask.message).purchase)
                decided[pb.Decision.Name(answer.decision)] += 1
    assert decided["APPROVE"] > 0.85 * ASKS, decided
