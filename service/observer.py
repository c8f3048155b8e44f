"""The observer: makes metrics of what was served, in the background and many answers at a time.

A call leaves a record and six instants behind, see `Served`. Everything that can be counted of them is counted
here, by a thread that nobody waits for, so that an answer costs nothing for being measured.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np
import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from service.core.decision import Decision, DecisionRecord, VersionScore
from service.metrics import Metrics
from service.served import Served
from service.settings import DriftSettings
from service.telemetry.rows import LineupSource, Rows

_LOG = structlog.get_logger(__name__)

MAX_WAITING: Final = 128
"""Answers that wait to be counted in one step: enough that what a step costs by itself is little for each, and few
enough that nobody waits long for it: 0.3 ms, where 512 take 0.7 and cost a third less each."""

WAIT_S: Final = 0.25
"""How long they wait at most while others come; whoever asks for metrics does not let them wait."""

MAX_ROWS: Final = 32
"""Rows out of one step that are looked at, evenly spaced: of a busy worker one in four, hundreds a second, which say as
much as all."""

MAX_VERSIONS: Final = 16
"""Versions whose scores are told apart; beyond that the one seen first goes."""

_READ = attrgetter(
    "decision", "score", "scores", "missing", "degraded", "profile_age_ms", "given_up", "control", "rules",
    "score_decision", "purchase.amount_minor",
)  # fmt: skip


class Observer(Collector):
    """Counts decisions, scores, stages, unknown features and drift. Thread-safe."""

    def __init__(
        self,
        metrics: Metrics,
        lineups: LineupSource,
        settings: DriftSettings,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Get what it needs; what it finds in rows is told through the registry of the metrics."""
        self._metrics = metrics
        self._now_s = now_s
        self._waiting: list[Served] = []
        self._waiting_since_s = 0.0
        self._rows = Rows(lineups, settings, now_s)
        # An enum's hash costs more than the rest of the look-up, so kind and cause are one number here.
        self._missing = {kind << 3 | cause: child for (kind, cause), child in metrics.missing.items()}
        self._lock = threading.Lock()
        self._versions: dict[int, None] = {}
        metrics.registry.register(self)

    def take(self, batch: Sequence[Served]) -> None:
        """Count answers, each once, now or with the next ones. Never raises. Cost: 4 µs an answer in a busy worker."""
        now_s = self._now_s()
        with self._lock:
            if not self._waiting:
                self._waiting_since_s = now_s
            self._waiting.extend(batch)
            if len(self._waiting) >= MAX_WAITING or now_s - self._waiting_since_s >= WAIT_S:
                self._count_waiting()

    def settle(self) -> None:
        """Count what waits, at the end."""
        with self._lock:
            self._count_waiting()

    def collect(self) -> Iterator[Metric]:
        """Count what waits, and yield what was found in rows."""
        self.settle()
        yield from self._rows.collect()

    # --- steps ----------------------------------------------------------------------------------

    def _count_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        try:
            self._count(batch)
        except Exception:  # noqa: BLE001  what measures must not end what it measures
            self._metrics.observer_failed.inc(len(batch))
            _LOG.exception("answers not counted", count=len(batch))

    def _count(self, batch: Sequence[Served]) -> None:
        records, *instants = zip(*batch, strict=True)
        self._count_stages(records, instants)
        columns = list(zip(*map(_READ, records), strict=True))
        decisions, scores, by_version, missing, degraded, ages_ms, given_up, control, rules, own, amounts = columns
        metrics = self._metrics
        metrics.scores.take(np.array(scores))
        self._count_decisions(decisions, amounts, own)
        self._count_versions(by_version)
        metrics.degraded.inc(sum(degraded))
        metrics.control.inc(sum(control))
        ages = np.array(ages_ms, np.float64)
        metrics.profile_age.take(ages[ages >= 0.0] / 1000.0)
        for code, count in Counter(kind << 3 | cause for found in missing for kind, cause in found.items()).items():
            self._missing[code].inc(count)
        for stages in filter(None, given_up):
            for stage in stages:
                if stage != "record":  # the recorder counts those
                    metrics.given_up[stage].inc()
        for codes in filter(None, rules):
            for code in codes:
                metrics.rule(code).inc()
        # The row of a degraded answer says what the store did, not what the shop is like.
        whole = records if not any(degraded) else [one for one in records if not one.degraded]
        self._rows.take(whole[:: -(-len(whole) // MAX_ROWS) or 1])

    def _count_stages(self, records: Sequence[DecisionRecord], instants: Sequence[Any]) -> None:
        """Put down how long each stage of each call took; the answers of a batch are one call."""
        times = np.array(instants[:5])
        calls = np.diff(times[0], prepend=np.nan) != 0.0  # also where it is NaN: the first one
        times = times[:, calls]
        self._metrics.decided.take(times[3] - times[0])
        spent = np.diff(times, axis=0)
        for stage, seconds in zip(("wait", "read", "score"), spent, strict=False):
            self._metrics.stages[stage].take(seconds)
        recorded = np.array([one.recorded or "record" in one.given_up for one in records])[calls]
        if recorded.any():
            self._metrics.stages["record"].take(spent[3][recorded])

    def _count_decisions(self, decisions: Sequence[Any], amounts: Sequence[int], own: Sequence[Any]) -> None:
        decided = np.array(decisions, np.intp)
        counts = np.bincount(decided, minlength=len(Decision) + 1)
        sums = np.bincount(decided, weights=np.array(amounts, np.float64), minlength=len(Decision) + 1)
        for decision in Decision:
            self._metrics.decisions[decision - 1].inc(float(counts[decision]))
            self._metrics.amounts[decision - 1].inc(float(sums[decision]))
        overruled = sum(one is not None and one != other for one, other in zip(own, decisions, strict=True))
        self._metrics.overruled.inc(overruled)

    def _count_versions(self, scored: Sequence[tuple[VersionScore, ...]]) -> None:
        found: defaultdict[int, list[float]] = defaultdict(list)
        for scores in scored:
            for one in scores:
                found[one.version].append(one.score)
        for version, scores_given in found.items():
            if version not in self._versions:
                self._versions[version] = None
                if len(self._versions) > MAX_VERSIONS:
                    first = next(iter(self._versions))
                    del self._versions[first]
                    self._metrics.version_scores.drop(str(first))
            self._metrics.version_scores.part(str(version)).take(np.array(scores_given))
