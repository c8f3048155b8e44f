"""Metrics: every counter and histogram of the service, under its one name.

A child is bound where it is used, at load: going through `labels(...)` costs three times as much.
Label sets are bounded: kinds, causes, statuses and decisions, never ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from service.core.decision import Decision
from service.errors import BadSetting
from service.registry.watcher import Status as Standing
from service.registry.watcher import Watcher
from service.store.protocol import Status

_LATENCY_S: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """The metrics of one service; several may live in one process, each with a registry of its own."""

    def __init__(self) -> None:
        """Register every metric."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.score_seconds = Histogram(
            "fraud_score_seconds", "Time in a Score handler.", buckets=_LATENCY_S, registry=registry
        )
        decisions = Counter("fraud_decisions_total", "Answers by decision.", ["decision"], registry=registry)
        # In the order of the enum: `decisions[decision - 1]` costs a third of a look-up by an enum's hash.
        self.decisions = [decisions.labels(decision.name) for decision in Decision]
        self.degraded = Counter(
            "fraud_degraded_total", "Answers with a profile that could not be read.", registry=registry
        )
        self.control = Counter(
            "fraud_control_total", "Would-be declines that were let through as a control group.", registry=registry
        )
        given_up = Counter("fraud_given_up_total", "Stages given up for the deadline.", ["stage"], registry=registry)
        self.given_up = {stage: given_up.labels(stage) for stage in ("read", "shadow", "explanations", "record")}
        self.expired = Counter(
            "fraud_expired_total", "Calls whose deadline passed before an answer.", registry=registry
        )
        self.refused = Counter("fraud_refused_total", "Calls refused for their input.", registry=registry)
        outcomes = Counter("fraud_events_total", "Recorded events by outcome.", ["status"], registry=registry)
        self.outcomes = {status: outcomes.labels(status.name) for status in Status}
        self.decision_log_dropped = Counter(
            "fraud_decision_log_dropped_total", "Decisions dropped because the queue was full.", registry=registry
        )
        self.decision_log_failed = Counter(
            "fraud_decision_log_failed_total", "Decisions lost because the store did not take them.", registry=registry
        )
        self.decision_log_waiting = Gauge(
            "fraud_decision_log_waiting", "Decisions waiting to be kept.", registry=registry
        )
        self.sweep_finished = Counter(
            "fraud_sweep_finished_total", "Events finished that a crash had left pending.", registry=registry
        )
        self.sweep_quarantined = Counter(
            "fraud_sweep_quarantined_total", "Pending events given up into quarantine.", registry=registry
        )

        self.worker_restarts = Counter(
            "fraud_worker_restarts_total", "Times that this worker's predecessors ended.", registry=registry
        )

    def follow(self, watcher: Watcher) -> None:
        """Tell what a watcher has live, whenever somebody asks."""
        self.registry.register(_Lineup(watcher))

    def serve(self, port: int) -> None:
        """Serve them to Prometheus on a port of the loopback interface. Raises BadSetting when it cannot be had."""
        try:
            start_http_server(port, addr="127.0.0.1", registry=self.registry)
        except OSError as error:
            raise BadSetting(f"setting metrics_port: cannot listen on port {port}: {error.strerror}") from error


class _Lineup(Collector):
    """What is live, read off the watcher: versions come and go, so no child is bound for one."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        watcher, lineup = self._watcher, self._watcher.lineup
        yield GaugeMetricFamily(
            "fraud_lineup_revision",
            "Revision of the lineup that answers; 0 = none.",
            value=0 if lineup is None else lineup.revision,
        )
        yield GaugeMetricFamily(
            "fraud_lineup_not_followed",
            "1 while what answers is not what the registry asks for.",
            value=int(bool(watcher.reason)),
        )
        states = watcher.states
        versions = GaugeMetricFamily(
            "fraud_model_version", "Versions that are live or wanted; 1 for each.", labels=["version", "status"]
        )
        for state in states:
            versions.add_metric([str(state.version), state.status.name], 1)
        yield versions
        yield GaugeMetricFamily(
            "fraud_model_versions_in_error",
            "Versions that are wanted and could not be loaded.",
            value=sum(state.status is Standing.ERROR for state in states),
        )
        reloads = CounterMetricFamily("fraud_reloads", "What following the registry came to.", labels=["outcome"])
        for outcome, count in (
            ("switched", watcher.switches),
            ("loaded", watcher.loads),
            ("load_failed", watcher.load_failures),
            ("pull_failed", watcher.pull_failures),
        ):
            reloads.add_metric([outcome], count)
        yield reloads
