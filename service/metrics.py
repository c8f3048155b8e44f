"""Metrics: every counter, gauge and histogram of the service, under its one name; docs/metrics.md explains them.

A child is bound where it is used, at load: going through `labels(...)` costs three times as much.
Label sets are bounded: kinds, causes, statuses and decisions, never ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from service.core.decision import Decision, MissingCause
from service.core.event import KINDS, Event, EventKind
from service.errors import (
    BudgetSpent,
    InvalidInput,
    NoModel,
    Overloaded,
    PermissionDenied,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
)
from service.registry.watcher import Watcher
from service.store.protocol import Outcome, Status
from service.telemetry.calls import Calls
from service.telemetry.distribution import LATENCY_S, Distribution
from service.telemetry.live import Live

STAGES: Final = ("wait", "read", "score", "record")
"""Waiting for a turn; the read of the store; row, models, decision and reasons; waiting until it is durable.

What a call takes beyond them is the reading of the request and the writing of the answer.
"""

_SCORE_EDGES: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
    *(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
)
_AGE_S: Final = (60.0, 600.0, 3600.0, 6 * 3600.0, *(86400.0 * days for days in (1, 3, 7, 30, 90, 365)))
_LAG_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0)

_REASONS: Final = (
    (InvalidInput, "invalid"),
    (BudgetSpent, "expired"),
    (NoModel, "no_model"),
    (StoreUnavailable, "store"),
    (Overloaded, "overloaded"),
)
_COUNTED_WHERE_RAISED: Final = (Unauthenticated, PermissionDenied, RateLimited)
"""Their place counts them: the gate."""

_TAKEN_IN: Final = frozenset({Status.APPLIED, Status.LATE, Status.PARKED})

MAX_RULES: Final = 200
"""Codes of the policy's rules that are told apart; those of further ones count as `other`."""


class Metrics:
    """The metrics of one service; several may live in one process, each with a registry of its own."""

    def __init__(self) -> None:
        """Register every metric."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._count_calls()
        self._count_answers()
        self._count_events()
        self._count_store()
        self._count_access()

    def refused_with(self, error: Exception) -> None:
        """Count a call that ended without an answer, by its reason."""
        if isinstance(error, _COUNTED_WHERE_RAISED):
            return
        for kind, reason in _REASONS:
            if isinstance(error, kind):
                self.refused[reason].inc()
                return
        self.refused["internal"].inc()

    def applied(self, events: Sequence[Event], outcomes: Sequence[Outcome], seconds: float) -> None:
        """Count events that the store was given in one step, and how long after they happened. Cost: 1 µs an event."""
        self.store_seconds["apply"].observe(seconds)
        for event, outcome in zip(events, outcomes, strict=True):
            self.outcomes[outcome.status].inc()
            if outcome.status in _TAKEN_IN:
                self.ingest_lag[event.kind].observe((event.ingest_time_ms - event.event_time_ms) / 1000.0)

    def follow(self, watcher: Watcher) -> None:
        """Tell what a watcher has live, whenever somebody asks."""
        self.registry.register(Live(watcher))

    def follow_queue(self, queue: str, waiting: Callable[[], int], bound: int) -> None:
        """Tell how much waits in a queue, and its bound, whenever somebody asks."""
        self._waiting.labels(queue).set_function(waiting)
        self._bounds.labels(queue).set(bound)

    def follow_leisure(self, share: Callable[[], float]) -> None:
        """Tell how much of its time a worker has to spare, whenever somebody asks."""
        self._gauge(
            "fraud_leisure", "Share of the last tenth of a second in which the threads that score had nothing to do."
        ).set_function(share)

    def follow_lists(self, entries: Callable[[], int], age_s: Callable[[], float]) -> None:
        """Tell how many entries the lists have and how old that knowledge may be, whenever somebody asks."""
        self._gauge("fraud_lists_entries", "Entries of the lists that hold.").set_function(entries)
        self._gauge(
            "fraud_lists_age_seconds", "Seconds since the store last told of the lists; what was known then is applied."
        ).set_function(age_s)

    # --- by subject -----------------------------------------------------------------------------

    def _count_calls(self) -> None:
        self.calls = Calls(self.registry)
        """Takes note of every call, also refused ones: see `Calls.note`."""
        refused = self._counter("fraud_refused_total", "Calls that ended without an answer, by reason.", "reason")
        self.refused = {reason: refused.labels(reason) for _, reason in (*_REASONS, (None, "internal"))}
        self.shed = self.refused["overloaded"]
        self.access_refused = {reason: refused.labels(reason) for reason in ("unauthenticated", "denied", "limited")}
        self._waiting = Gauge(
            "fraud_queue_waiting", "What waits in a queue of this worker.", ["queue"], registry=self.registry
        )
        self._bounds = Gauge(
            "fraud_queue_bound", "How much may wait in it; what comes beyond is dropped and counted, or refused.",
            ["queue"], registry=self.registry,
        )  # fmt: skip

    def _count_answers(self) -> None:
        """Register what is counted of answers: in the background, by the observer."""
        self.decided = Distribution(
            "fraud_decided_seconds",
            "Time from a call's arrival until its decision stood; not what it waits until that is durable.",
            LATENCY_S,
            registry=self.registry,
        ).part()
        stages = Distribution(
            "fraud_stage_seconds", "Stages of answered scores.", LATENCY_S, ["stage"], registry=self.registry
        )
        self.stages = {stage: stages.part(stage) for stage in STAGES}
        decisions = self._counter("fraud_decisions_total", "Answers by decision.", "decision")
        # In the order of the enum: `decisions[decision - 1]` costs a third of a look-up by an enum's hash.
        self.decisions = [decisions.labels(decision.name) for decision in Decision]
        amounts = self._counter("fraud_amount_minor_total", "Amounts of the purchases, by decision.", "decision")
        self.amounts = [amounts.labels(decision.name) for decision in Decision]
        self.scores = Distribution(
            "fraud_score", "Score of the answers: the probability of fraud.", _SCORE_EDGES, registry=self.registry
        ).part()
        self.version_scores = Distribution(
            "fraud_version_score", "Score that each live version gave.", _SCORE_EDGES, ["version"], self.registry
        )
        self.profile_age = Distribution(
            "fraud_profile_age_seconds", "Time from the newest purchase in any profile that was read.",
            _AGE_S, registry=self.registry,
        ).part()  # fmt: skip
        self.degraded = self._counter("fraud_degraded_total", "Answers with a profile that could not be read.")
        self.control = self._counter(
            "fraud_control_total", "Would-be declines that were let through as a control group."
        )
        missing = self._counter(
            "fraud_missing_total", "Profiles that did not inform a score, by the cause.", "kind", "cause"
        )
        self.missing = {
            (kind, cause): missing.labels(kind.name, cause.name) for kind in KINDS for cause in MissingCause
        }
        given_up = self._counter("fraud_given_up_total", "Stages given up for the deadline.", "stage")
        self.given_up = {stage: given_up.labels(stage) for stage in ("read", "shadow", "explanations", "record")}
        self.overruled = self._counter(
            "fraud_decisions_overruled_total", "Answers that decide otherwise than the thresholds alone would."
        )
        self._rules = self._counter("fraud_rules_total", "Times that a rule of the policy held.", "rule")
        self._rules_known: set[str] = set()
        self.observer_failed = self._counter(
            "fraud_observer_failed_total", "Answers that were not counted, by a fault."
        )

    def _count_events(self) -> None:
        outcomes = self._counter("fraud_events_total", "Recorded events by outcome.", "status")
        self.outcomes = {status: outcomes.labels(status.name) for status in Status}
        lag = Distribution(
            "fraud_ingest_lag_seconds", "Time from an event until it was taken in.", _LAG_S, ["kind"], self.registry
        )
        self.ingest_lag = {kind: lag.part(kind.name) for kind in EventKind}
        self.sweep_finished = self._counter(
            "fraud_sweep_finished_total", "Events finished that a crash had left pending."
        )
        self.sweep_quarantined = self._counter(
            "fraud_sweep_quarantined_total", "Pending events given up into quarantine."
        )
        self.decision_log_dropped = self._counter(
            "fraud_decision_log_dropped_total", "Decisions dropped because the queue was full."
        )
        self.decision_log_failed = self._counter(
            "fraud_decision_log_failed_total", "Decisions lost because the store did not take them."
        )

    def _count_store(self) -> None:
        seconds = Distribution(
            "fraud_store_seconds", "Writes to the store, by what they do; for its reads see the stage `read`.",
            LATENCY_S, ["operation"], self.registry,
        )  # fmt: skip
        self.store_seconds = {operation: seconds.part(operation) for operation in ("apply", "put_decisions", "sweep")}
        breaker = self._gauge(
            "fraud_store_breaker",
            "Whether calls wait for the store, by what for: 0 = all do, 1 = one at a time tries it, 2 = none does.",
            "what",
        )
        self.store_breaker = {what: breaker.labels(what) for what in ("read", "record", "ingest")}
        opened = self._counter(
            "fraud_store_breaker_opened_total", "Times that calls ceased to wait for the store, by what for.", "what"
        )
        self.store_breaker_opened = {what: opened.labels(what) for what in ("read", "record", "ingest")}
        self.store_reads_bad = self._counter(
            "fraud_store_reads_bad_total", "Reads of scores that were slow, or that nobody answered."
        )
        skipped = self._counter(
            "fraud_store_reads_skipped_total",
            "Reads of scores that were not sent: the breaker was open, or there was no time.",
            "cause",
        )
        self.store_reads_skipped = {cause: skipped.labels(cause) for cause in ("breaker", "time")}

    def _count_access(self) -> None:
        self.access_not_followed = self._gauge(
            "fraud_access_not_followed", "1 while the file of callers cannot be read and an earlier one holds."
        )
        self.tls_not_followed = self._gauge(
            "fraud_tls_not_followed", "1 while new certificates do not work and earlier ones serve."
        )
        self.tls_expires = self._gauge(
            "fraud_tls_expires_seconds", "When the server's certificate expires, in seconds since the epoch."
        )
        traces = self._counter("fraud_traces_total", "Traces of calls, by what became of them.", "outcome")
        self.traces = {outcome: traces.labels(outcome) for outcome in ("sent", "failed", "dropped")}
        self.calls_not_logged = self._counter(
            "fraud_calls_not_logged_total", "Failed or slow calls beyond those that are logged in a second."
        )
        self.memory_exceeded = self._counter(
            "fraud_memory_exceeded_total", "Times that a worker ended because its memory was beyond the bound."
        )

    def rule(self, code: str) -> Counter:
        """Return the counter of a rule of the policy."""
        if code not in self._rules_known:
            if len(self._rules_known) >= MAX_RULES:
                return self._rules.labels("other")
            self._rules_known.add(code)
        return self._rules.labels(code)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)
