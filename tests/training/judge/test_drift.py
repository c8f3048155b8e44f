"""How far what is served has drifted from what was learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.decision import MissingCause
from service.core.features import BY_NAME, layout_id
from service.errors import BadSetting
from service.registry.artifact import read_manifest, version_path
from service.registry.manifest import Baseline, Histogram, Manifest
from tests.registry.build import make_manifest
from tests.training.judge.decided import OLD_MS, MadeLog, decision
from tests.training.judge.served import PURCHASES
from training.judge.drift import SCORE, Drift, drift_of, measure_drift, newest_decision_ms
from training.metrics import drift
from training.snapshot.read import Snapshot

NAMES = ("user_tenure", "amount_level")
LAYOUTS = {layout_id([BY_NAME[name] for name in NAMES]): NAMES}
EVEN = Histogram(edges=(0.0, 0.5, 1.0), counts=(50, 50))


def manifest_with(baseline: Baseline | None) -> Manifest:
    """Return the manifest of version 7, which looks at the second feature alone."""
    return make_manifest([BY_NAME["amount_level"]], version=7, baseline=baseline)


BASELINE = Baseline(features={"amount_level": EVEN}, score=EVEN)


def row(value: float, score: float = 0.1, **fields: Any) -> dict[str, Any]:
    """Return a decision on a row with an amount level."""
    (layout,) = LAYOUTS
    return decision(scores={7: score}, row_layout=layout, row=np.array([0.5, value]).tobytes(), **fields)


def drift_in(decisions: Sequence[Mapping[str, Any]], since_ms: int = 0) -> Drift:
    """Measure decisions made by hand."""
    return measure_drift(MadeLog(decisions), manifest_with(BASELINE), LAYOUTS, None, since_ms)


def test_an_index_over_pieces_is_that_of_the_whole_column() -> None:
    """Counting piece by piece gives what the metric gives for all values at once; unknown is a value."""
    values = [0.1, 0.2, np.nan, 0.9, 0.4]
    found = drift_in([row(value, score=0.6) for value in values])
    assert found.columns["amount_level"].value == drift(EVEN, np.array(values))
    assert found.columns[SCORE].value == drift(EVEN, np.full(5, 0.6))
    assert found.columns["amount_level"].values == 5


def test_what_did_not_change_has_no_drift() -> None:
    """The same shares give 0, and the largest index stands first."""
    found = drift_in([row(0.2, score=0.9), row(0.7, score=0.8)])
    assert list(found.columns) == [SCORE, "amount_level"]
    assert found.columns["amount_level"].value == 0.0
    assert found.columns["amount_level"].noise == 1 / 100 + 1 / 2


def test_only_recent_decisions_count() -> None:
    """What happened before is not measured."""
    decisions = [row(0.1, event_time_ms=OLD_MS - 1), row(0.9, event_time_ms=OLD_MS)]
    assert drift_in(decisions, OLD_MS).columns["amount_level"].values == 1
    assert newest_decision_ms(MadeLog(decisions)) == OLD_MS
    with pytest.raises(BadSetting, match="no decision is that recent"):
        drift_in(decisions, OLD_MS + 1)


def test_questions_about_recorded_purchases_do_not_count() -> None:
    """A score asked for when the purchase had been recorded has an unknown row: that is no drift."""
    held = row(np.nan, user_missing=int(MissingCause.HOLDS_PURCHASE))
    assert drift_in([row(0.1), held]).columns["amount_level"].values == 1


def test_a_version_without_a_baseline_or_without_rows_is_refused() -> None:
    """The sentence says what is missing."""
    with pytest.raises(BadSetting, match="version 7 has no baseline"):
        measure_drift(MadeLog([row(0.1)]), manifest_with(None), LAYOUTS, None, 0)
    other = dict.fromkeys(LAYOUTS, ("user_tenure", "seller_tenure"))
    with pytest.raises(BadSetting, match=r"'amount_level'.*training shadow 7"):
        measure_drift(MadeLog([row(0.1)]), manifest_with(BASELINE), other, None, 0)


def test_the_drift_of_a_snapshot_names_every_feature(snapshot: Snapshot, registry: Path) -> None:
    """All features of the version and its score are there, over the last days; a version that never scored has none."""
    found = drift_of(snapshot, read_manifest(version_path(registry, 1)), registry, days=10.0)
    assert set(found) == {"user_known", "amount_level", "user_tenure", "card_known", SCORE}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    never = drift_of(snapshot, read_manifest(version_path(registry, 4)), registry, days=PURCHASES)
    assert set(never) == {"user_tenure", "amount_level"}
