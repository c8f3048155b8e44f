"""Rows as they were served: how often each feature was unknown, and how far all of them have drifted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from service.core.decision import DecisionRecord
from service.registry.lineup import Lineup
from service.settings import DriftSettings
from service.telemetry.drift import Drift

MAX_PENDING: Final = 512
"""Rows that wait to be counted together: one step for hundreds costs little more than one for ten."""

PENDING_S: Final = 1.0
"""How long they wait at most while others come."""


class LineupSource(Protocol):
    """Tells what is live, and so what the rows hold."""

    @property
    def lineup(self) -> Lineup | None:
        """Return what is live, None before the first version is."""


class Rows:
    """Counts rows of what is live, many at a time. Thread-safe.

    The few rows that were served just before a reload, and are counted after it, are left out when the new
    lineup has other features.
    """

    def __init__(self, lineups: LineupSource, settings: DriftSettings, now_s: Callable[[], float]) -> None:
        """Get what it needs; `now_s` is the monotonic clock."""
        self._lineups = lineups
        self._settings = settings
        self._now_s = now_s
        self._lock = threading.Lock()
        self._rows = bytearray()
        self._scores: list[float] = []
        self._pending_since_s = 0.0
        self._counted = 0
        self._unknown: Counter[str] = Counter()
        self._drift: Drift | None = None
        self._indices: dict[str, float] = {}
        self._indices_at_s = -np.inf

    def take(self, records: Sequence[DecisionRecord]) -> None:
        """Count the rows of answers, at once or with the next ones. Cost: 1 µs a row."""
        now_s = self._now_s()
        with self._lock:
            drift = self._current(now_s)
            if drift is None:
                return
            if not self._rows:
                self._pending_since_s = now_s
            layout, version = drift.row_layout, drift.version
            # Copied here and now, while they are in the caches: the step that counts them comes much later.
            self._rows += b"".join([one.row for one in records if one.row_layout == layout])
            self._scores += [score.score for one in records for score in one.scores if score.version == version]
            if len(self._rows) >= MAX_PENDING * drift.row_bytes or now_s - self._pending_since_s >= PENDING_S:
                self._settle(drift, now_s)

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted until now, and drift as it was found last."""
        now_s = self._now_s()
        with self._lock:
            current = self._current(now_s)
            if current is not None:
                self._settle(current, now_s)
            counted, unknown = self._counted, dict(self._unknown)
            drift, indices = self._drift, self._indices
            recent = 0.0 if drift is None else drift.rows
        yield CounterMetricFamily(
            "fraud_rows", "Rows that were looked at: of many answers a sample, of degraded ones none.", value=counted
        )
        unknowns = CounterMetricFamily(
            "fraud_feature_unknown", "Rows among them in which the feature was unknown.", labels=["feature"]
        )
        for feature, count in unknown.items():
            unknowns.add_metric([feature], count)
        told = GaugeMetricFamily(
            "fraud_live_drift_psi",
            "Population stability index of recent answers against the champion's training; 0.25 is a real change.",
            labels=["version", "column"],
        )
        rows = GaugeMetricFamily(
            "fraud_live_drift_rows",
            "Answers that it stands on, earlier ones counted less.",
            labels=["version"],
        )
        if drift is not None:
            rows.add_metric([str(drift.version)], recent)
            for column, index in indices.items():
                told.add_metric([str(drift.version), column], index)
        yield from (unknowns, told, rows)

    # --- steps ----------------------------------------------------------------------------------

    def _current(self, now_s: float) -> Drift | None:
        """Return the window of what is live, another one after a reload; what waited is counted before."""
        lineup, drift = self._lineups.lineup, self._drift
        if lineup is None:
            return None
        if drift is not None and (drift.version, drift.row_layout) == (lineup.champion, lineup.row_layout):
            return drift
        if drift is not None:
            self._settle(drift, now_s)
        self._drift = drift = Drift(lineup, self._settings.half_life_s, now_s)
        self._indices, self._indices_at_s = {}, -np.inf
        self._unknown.update(dict.fromkeys(drift.names, 0))
        return drift

    def _settle(self, drift: Drift, now_s: float) -> None:
        """Count the rows that wait, and look how far they have drifted when it is time to; needs the lock."""
        rows = np.frombuffer(bytes(self._rows), "<f8").reshape(-1, len(drift.names))
        scores = self._scores
        self._rows, self._scores = bytearray(), []
        if len(rows):
            self._counted += len(rows)
            self._unknown.update(dict(zip(drift.names, np.isnan(rows).sum(axis=0).tolist(), strict=True)))
            drift.take(rows, scores, now_s)
        if now_s - self._indices_at_s >= self._settings.every_s:
            self._indices = drift.indices() if drift.rows >= self._settings.min_rows else {}
            self._indices_at_s = now_s
