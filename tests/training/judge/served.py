"""A small market that was really served: scored on an embedded store by several versions, recorded, exported.

Version 1 answers and version 2, which looks at other features, scores in shadow. Then 2 is a canary for half of
the users, and version 3, which needs one more feature, scores in shadow. Version 4, with features that version 1
has, and version 5, with one that nobody has, are published and never live.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

from service.clock import EventClock
from service.core.decision import DecisionRecord
from service.core.event import EventKind
from service.core.features import BY_NAME
from service.core.windows import DAY_MS, HOUR_MS
from service.explainer import Explainer
from service.metrics import Metrics
from service.question import Question
from service.recorder import Recorder
from service.registry.lineup_file import CanaryAnswer, Change, LineupSpec, change_lineup
from service.registry.manifest import Baseline, Histogram, ThresholdChoice
from service.registry.policy_file import publish_policy
from service.registry.policy_spec import parsed_policy
from service.registry.promotion import activate_policy, promote, set_challengers
from service.registry.watcher import Watcher
from service.scorer import Scorer
from service.served import Served
from service.settings import LmdbSettings, RegistrySettings, ScoringSettings
from service.store.lmdb import LmdbStore
from service.store.protocol import Submission
from tests.answers import scored_and_recorded
from tests.make import NOW_MS, make_event, make_purchase
from tests.registry.build import build_artifact
from training.data.events import silent
from training.snapshot.export import ExportOptions, take_snapshot

PURCHASES: Final = 120
FEATURES: Final = {
    1: ("user_known", "amount_level", "user_tenure", "card_known"),
    2: ("card_known", "amount_level", "purchases_24h_by_user"),
    3: ("amount_level", "seller_known"),
    4: ("user_tenure", "amount_level"),
    5: ("amount_level", "seller_tenure"),
}
CANARY: Final = Change(
    at_ms=1,
    who="a test",
    why="canary",
    lineup=LineupSpec(champion=1, answer=CanaryAnswer(version=2, share=0.5), challengers=(3,)),
)
BASELINE: Final = Histogram(edges=(0.0, 0.5, 1.0), counts=(60, 40))


class Kept:
    """Takes decisions into a list."""

    def __init__(self) -> None:
        """Begin with none."""
        self.records: list[DecisionRecord] = []

    def put(self, served: Served) -> None:
        """Keep it."""
        self.records.append(served.record)


def serve_market(folder: Path, policy: str = "") -> None:
    """Serve a market in `folder`: its registry, store and snapshots; a policy decides for the first half of it."""
    registry = folder / "registry"
    publish_versions(registry)
    if policy:
        number = publish_policy(registry, parsed_policy(policy, "policy.toml"), policy, "a test", 1)
        activate_policy(registry, number, "a test", "a policy")
    store = LmdbStore(LmdbSettings(path=folder / "store", max_size_bytes=1 << 28), "attempts", 100)
    watcher = Watcher(RegistrySettings(path=registry), "attempts", lambda: NOW_MS)
    kept, metrics = Kept(), Metrics()
    recorder = Recorder(store, 8, 8, metrics)
    settings, explainer = ScoringSettings(explain_decisions=False), Explainer(1, metrics)
    scorer = Scorer(store, recorder, watcher, kept, EventClock(0), settings, explainer)
    watcher.refresh()
    for begin, end in ((0, PURCHASES // 2), (PURCHASES // 2, PURCHASES)):
        lineup = watcher.lineup
        assert lineup is not None
        store.put_row_layout(lineup.row_layout, lineup.names)
        serve(store, scorer, begin, end)
        change_lineup(registry, lambda *_: CANARY)
        watcher.refresh()
    store.put_decisions(kept.records)
    explainer.stop()
    recorder.stop()
    take_snapshot(store, folder / "snapshots", ExportOptions("attempts", "EUR", 0), datetime.now(UTC), silent)
    store.close()


def publish_versions(registry: Path) -> None:
    """Publish the versions; 1 answers and 2 scores in shadow."""
    for version, names in FEATURES.items():
        baseline = Baseline(features=dict.fromkeys(names, BASELINE), score=BASELINE)
        thresholds = ThresholdChoice(review=0.4, decline=0.7, why="a test")
        chosen = [BY_NAME[name] for name in names]
        build_artifact(registry, chosen, seed=version, baseline=baseline, thresholds=thresholds)
    promote(registry, 1, "a test", "first version")
    set_challengers(registry, [2], "a test", "shadow")


def serve(store: LmdbStore, scorer: Scorer, begin: int, end: int) -> None:
    """Score and record purchases of two a day; every seventh turns out to be fraud, two days later."""
    random = Random(begin)
    for number in range(begin, end):
        purchase = make_purchase(
            f"p-{number}",
            event_time_ms=NOW_MS + number * 12 * HOUR_MS,
            user_id=f"u-{random.randint(1, 20)}",
            card_hash=f"c-{random.randint(1, 30)}",
            seller_id=f"s-{random.randint(1, 4)}",
            amount_minor=random.randint(100, 90_000),
        )
        soon_s = time.monotonic() + 30
        scored_and_recorded(scorer, Question(purchase, record_by_s=soon_s), soon_s)
        if number % 7 == 0:
            known_ms = purchase.event_time_ms + 2 * DAY_MS
            fraud = make_event(EventKind.FRAUD_CONFIRMED, purchase_id=purchase.purchase_id, event_time_ms=known_ms)
            store.apply([Submission(fraud)])
