"""What was served is counted, each answer once, and drift is what the offline half would call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.decision import Decision, MissingCause, VersionScore
from service.core.event import EntityKind
from service.metrics import MAX_RULES, Metrics
from service.observer import MAX_ROWS, MAX_VERSIONS, MAX_WAITING, WAIT_S, Observer
from service.registry.lineup import Lineup
from service.registry.manifest import Baseline, Histogram
from service.registry.promotion import promote
from service.registry.watcher import Watcher
from service.served import Served
from service.settings import DriftSettings, RegistrySettings
from service.telemetry.drift import SCORE
from tests.make import NOW_MS
from tests.registry.build import build_artifact
from tests.store.decisions import make_decision
from training.metrics import drift as drift_of

FEATURES = ("user_tenure", "seller_tenure")
EVEN = Histogram(edges=(0.0, 0.25, 0.5, 0.75, 1.0), counts=(25, 25, 25, 25), unknown=10)
DRIFT = DriftSettings(min_rows=10, every_s=1, half_life_s=3600)


class Shop:
    """An observer of a service with a model of two features, and the clock that it goes by."""

    def __init__(self, registry: Path, drift: DriftSettings = DRIFT) -> None:
        """Let version 1 answer."""
        self.registry = registry
        self.now_s = 1000.0
        self.metrics = Metrics()
        self.watcher = Watcher(RegistrySettings(path=registry), "attempts", lambda: NOW_MS)
        self.go_live(build(registry))
        self.observer = Observer(self.metrics, self.watcher, drift, lambda: self.now_s)

    def go_live(self, version: int) -> None:
        """Make a version the champion."""
        promote(self.registry, version, "a test", "a test")
        self.watcher.refresh()

    @property
    def lineup(self) -> Lineup:
        """Return what is live."""
        assert self.watcher.lineup is not None
        return self.watcher.lineup

    def served(
        self, row: tuple[float, ...] = (0.5, 0.5), score: float = 0.2, at_s: float = 0.0, **fields: Any
    ) -> Served:
        """Return an answer of what is live."""
        given: dict[str, Any] = {
            "row": np.array(row, "<f8").tobytes(),
            "row_layout": self.lineup.row_layout,
            "score": score,
            "scores": (VersionScore(self.lineup.champion, 0.0, score, shadow=False),),
            "given_up": (),
            "missing": {},
        }
        return Served(make_decision(**(given | fields)), at_s, at_s + 0.001, at_s + 0.003, at_s + 0.006, at_s + 0.01)

    def told(self, name: str, **labels: str) -> float | None:
        """Return a sample when all is counted, None where there is none."""
        self.observer.settle()
        return self.metrics.registry.get_sample_value(name, labels)


def build(registry: Path, *features: str) -> int:
    """Publish a version with a baseline."""
    names = features or FEATURES
    return build_artifact(registry, names, baseline=Baseline(features=dict.fromkeys(names, EVEN), score=EVEN))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Open a shop."""
    return Shop(tmp_path)


def test_answers_are_counted(shop: Shop) -> None:
    """Decisions, amounts, degraded and control answers, and what became of stages, are told as they were."""
    shop.observer.take(
        [
            shop.served(decision=Decision.APPROVE, control=True),
            shop.served(decision=Decision.DECLINE, score_decision=Decision.APPROVE, rules=("limit:busy",)),
            shop.served(decision=Decision.DECLINE, score_decision=Decision.DECLINE),
            shop.served(degraded=True, given_up=("read", "record"), missing={EntityKind.USER: MissingCause.UNREADABLE}),
        ]
    )
    assert shop.told("fraud_decisions_total", decision="APPROVE") == 1.0
    assert shop.told("fraud_decisions_total", decision="DECLINE") == 2.0
    assert shop.told("fraud_amount_minor_total", decision="DECLINE") == 2.0 * make_decision().purchase.amount_minor
    assert shop.told("fraud_control_total") == 1.0
    assert shop.told("fraud_degraded_total") == 1.0
    assert shop.told("fraud_decisions_overruled_total") == 1.0
    assert shop.told("fraud_rules_total", rule="limit:busy") == 1.0
    assert shop.told("fraud_given_up_total", stage="read") == 1.0
    assert shop.told("fraud_missing_total", kind="USER", cause="UNREADABLE") == 1.0
    assert shop.told("fraud_missing_total", kind="CARD", cause="UNREADABLE") == 0.0
    assert shop.told("fraud_score_count") == 4.0
    assert shop.told("fraud_profile_age_seconds_sum") == 4 * 52.0


def test_what_the_recorder_counts_is_not_counted_twice(shop: Shop) -> None:
    """A purchase that was not durable in time is the recorder's to count."""
    shop.observer.take([shop.served(given_up=("record",))])
    assert shop.told("fraud_given_up_total", stage="record") == 0.0


def test_an_age_that_is_not_known_is_none(shop: Shop) -> None:
    """-1 says that no profile knew a purchase, and is no age."""
    shop.observer.take([shop.served(profile_age_ms=-1)])
    assert shop.told("fraud_profile_age_seconds_count") == 0.0


def test_stages_are_those_of_calls(shop: Shop) -> None:
    """A batch is one call, however many purchases it had; waiting for durability is told of those that waited."""
    batch = [shop.served(at_s=5.0) for _ in range(3)]
    shop.observer.take([*batch, shop.served(at_s=6.0, recorded=True), shop.served(at_s=7.0, given_up=("record",))])
    assert shop.told("fraud_decided_seconds_count") == 3.0
    assert shop.told("fraud_decided_seconds_sum") == pytest.approx(3 * 0.006)
    for stage, seconds in (("wait", 3 * 0.001), ("read", 3 * 0.002), ("score", 3 * 0.003), ("record", 2 * 0.004)):
        assert shop.told("fraud_stage_seconds_sum", stage=stage) == pytest.approx(seconds)
    assert shop.told("fraud_stage_seconds_count", stage="record") == 2.0


def test_scores_are_told_by_version(shop: Shop) -> None:
    """Also those of shadows; versions that come and go forever do not fill the memory."""
    for version in range(1, 2 * MAX_VERSIONS):
        shop.observer.take([shop.served(scores=(VersionScore(version, 0.0, 0.5, shadow=True),))])
        shop.observer.settle()
    known = [
        version
        for version in range(1, 2 * MAX_VERSIONS)
        if shop.told("fraud_version_score_count", version=str(version))
    ]
    assert known == list(range(MAX_VERSIONS, 2 * MAX_VERSIONS))


def test_rules_are_bounded(shop: Shop) -> None:
    """Of a policy with more rules than can be told apart the last ones are `other`."""
    for number in range(MAX_RULES + 5):
        shop.observer.take([shop.served(rules=(f"limit:{number}",))])
    assert shop.told("fraud_rules_total", rule="limit:0") == 1.0
    assert shop.told("fraud_rules_total", rule=f"limit:{MAX_RULES}") is None
    assert shop.told("fraud_rules_total", rule="other") == 5.0


def test_unknown_features_are_told(shop: Shop) -> None:
    """Rows that wait are counted when somebody asks; a degraded row says nothing of the shop."""
    nan = float("nan")
    shop.observer.take([shop.served((nan, 0.5)), shop.served((nan, nan)), shop.served((0.1, 0.5))])
    shop.observer.take([shop.served((nan, nan), degraded=True)])
    shop.told("fraud_rows_total")
    assert shop.told("fraud_rows_total") == 3.0
    assert shop.told("fraud_feature_unknown_total", feature="user_tenure") == 2.0
    assert shop.told("fraud_feature_unknown_total", feature="seller_tenure") == 1.0


def test_drift_is_that_of_the_offline_half(shop: Shop) -> None:
    """The index of each column is what `training.metrics.drift` gives for the same values, unknown ones too."""
    random = np.random.default_rng(3)
    rows = random.random((120, 2)) ** 2
    rows[::7, 0] = np.nan
    rows[::5, 1] = 1.0
    scores = random.random(120) ** 3
    for row, score in zip(rows, scores, strict=True):
        shop.observer.take([shop.served(tuple(row), float(score))])
        shop.observer.settle()  # by itself: of many at once it looks at some
    columns = {FEATURES[0]: rows[:, 0], FEATURES[1]: rows[:, 1], SCORE: scores}
    for name, column in columns.items():
        assert shop.told("fraud_live_drift_psi", version="1", column=name) == drift_of(EVEN, column)
    assert shop.told("fraud_live_drift_rows", version="1") == 120.0


def test_few_rows_are_no_drift(tmp_path: Path) -> None:
    """Below the least number an index would be chance, so there is none; it is looked at again in time."""
    shop = Shop(tmp_path)
    shop.observer.take([shop.served() for _ in range(9)])
    assert shop.told("fraud_live_drift_psi", version="1", column=SCORE) is None
    shop.observer.take([shop.served()])
    assert shop.told("fraud_live_drift_psi", version="1", column=SCORE) is None
    shop.now_s += DRIFT.every_s
    shop.observer.take([shop.served()])
    assert shop.told("fraud_live_drift_psi", version="1", column=SCORE) is not None


def test_what_was_long_ago_counts_less(shop: Shop) -> None:
    """After a half-life an answer is half an answer."""
    shop.observer.take([shop.served() for _ in range(30)])
    assert shop.told("fraud_live_drift_rows", version="1") == 30.0
    shop.now_s += DRIFT.half_life_s
    shop.observer.take([shop.served() for _ in range(10)])
    assert shop.told("fraud_live_drift_rows", version="1") == pytest.approx(25.0)


def test_many_rows_are_a_sample(shop: Shop) -> None:
    """Of many answers at once some rows are looked at, evenly; everything else is counted of all."""
    shop.observer.take([shop.served((float("nan"), n / 1024)) for n in range(1024)])
    assert shop.told("fraud_score_count") == 1024.0
    assert shop.told("fraud_rows_total") == MAX_ROWS
    assert shop.told("fraud_feature_unknown_total", feature="user_tenure") == MAX_ROWS
    assert shop.told("fraud_live_drift_rows", version="1") == MAX_ROWS
    index = shop.told("fraud_live_drift_psi", version="1", column="seller_tenure")
    assert index == pytest.approx(drift_of(EVEN, np.arange(MAX_ROWS) / MAX_ROWS))


def test_answers_do_not_wait_for_long(shop: Shop) -> None:
    """A few wait for others, and are counted when they have waited, or when they are many."""
    registry = shop.metrics.registry
    shop.observer.take([shop.served()])
    assert registry.get_sample_value("fraud_score_count") == 0.0
    shop.now_s += WAIT_S
    shop.observer.take([shop.served()])
    assert registry.get_sample_value("fraud_score_count") == 2.0
    shop.observer.take([shop.served() for _ in range(MAX_WAITING)])
    assert registry.get_sample_value("fraud_score_count") == 2.0 + MAX_WAITING


def test_another_champion_is_compared_with_its_own_training(shop: Shop) -> None:
    """Drift begins anew with a champion; rows of the one before, with other features, are left out."""
    left_over = shop.served()
    shop.observer.take([shop.served() for _ in range(20)])
    assert shop.told("fraud_live_drift_rows", version="1") == 20.0
    shop.go_live(build(shop.registry, "user_tenure"))
    shop.observer.take([left_over, shop.served((0.5,))])
    assert shop.told("fraud_live_drift_rows", version="2") == 1.0
    assert shop.told("fraud_live_drift_rows", version="1") is None


def test_a_champion_without_a_baseline_has_no_drift(shop: Shop) -> None:
    """A version that tells nothing of its training is served, and nothing is made up."""
    shop.go_live(build_artifact(shop.registry, FEATURES))
    shop.observer.take([shop.served() for _ in range(20)])
    assert shop.told("fraud_live_drift_rows", version="2") == 0.0
    assert shop.told("fraud_live_drift_psi", version="2", column=SCORE) is None


def test_a_fault_is_counted_and_ends_nothing(shop: Shop) -> None:
    """An answer that cannot be counted says so in a metric, and the next ones are counted."""
    shop.observer.take([shop.served(given_up=("a stage that is none",))])
    assert shop.told("fraud_observer_failed_total") == 1.0
    shop.observer.take([shop.served(decision=Decision.APPROVE)])
    assert shop.told("fraud_decisions_total", decision="APPROVE") == 1.0


def test_nothing_live_and_nothing_served_are_no_faults(tmp_path: Path) -> None:
    """Before the first model there is nothing to count."""
    metrics = Metrics()
    watcher = Watcher(RegistrySettings(path=tmp_path), "attempts", lambda: NOW_MS)
    Observer(metrics, watcher, DRIFT).take([])
    assert metrics.registry.get_sample_value("fraud_rows_total") == 0.0
