"""Traces: which calls are traced, what their spans tell, and what bounds them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from service.core.decision import Decision
from service.edge_settings import TracingSettings
from service.metrics import Metrics
from service.served import Served
from service.spans import OtlpExporter
from service.trace import Parent, Trace, parse_traceparent
from service.tracing import Tracing, tracing_of
from tests.make import make_purchase
from tests.service.collector import collector
from tests.store.decisions import make_decision

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


class Collected:
    """An exporter that keeps what it gets, once it is let to."""

    def __init__(self, *, works: bool = True) -> None:
        """Begin open."""
        self.traces: list[Trace] = []
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()
        self._works = works

    def export(self, traces: Sequence[Trace]) -> bool:
        """Keep traces."""
        self.asked.set()
        self.open.wait(30)
        self.traces += traces
        return self._works

    def close(self) -> None:
        """Let go of an export that is under way."""
        self.open.set()


def make_served(traceparent: str = "", arrived_s: float = 100.0, **fields: Any) -> Served:
    """Return a call of 1, 2, 3 and 4 ms of wait, read, score and reply."""
    arrived, begun, read, scored, replied = (arrived_s + after_ms / 1000 for after_ms in (0, 1, 3, 6, 10))
    return Served(make_decision(**fields), arrived, begun, read, scored, replied, traceparent)


def make_tracing(exporter: Collected, metrics: Metrics | None = None, **settings: Any) -> Tracing:
    """Return a tracing that runs."""
    chosen = TracingSettings(**{"endpoint": "http://127.0.0.1:1", "ratio": 0.0, **settings})
    tracing = Tracing(chosen, exporter, metrics or Metrics(), seed=7)
    tracing.start()
    return tracing


def traced(*served: Served, metrics: Metrics | None = None, works: bool = True, **settings: Any) -> list[Trace]:
    """Return the traces that are made of one batch."""
    exporter = Collected(works=works)
    tracing = make_tracing(exporter, metrics, **settings)
    tracing.take(served)
    tracing.stop(30)
    return exporter.traces


def spans_of(*served: Served) -> list[ReadableSpan]:
    """Return the spans that a collector would get, those of stages first."""
    memory = InMemorySpanExporter()
    assert OtlpExporter(memory, "fraud-scoring").export(traced(*served, ratio=1.0))
    return list(memory.get_finished_spans())


def count(metrics: Metrics, outcome: str) -> float | None:
    """Return how many traces had an outcome."""
    return metrics.registry.get_sample_value("fraud_traces_total", {"outcome": outcome})


@pytest.mark.parametrize(
    ("value", "parent"),
    [
        (SAMPLED, Parent(int(TRACE, 16), int(SPAN, 16), sampled=True)),
        (UNSAMPLED, Parent(int(TRACE, 16), int(SPAN, 16), sampled=False)),
        (f"cc-{TRACE}-{SPAN}-03-more", Parent(int(TRACE, 16), int(SPAN, 16), sampled=True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(value: str, parent: Parent | None) -> None:
    """W3C Trace Context: lower-case hexadecimal, no zeros, no version ff, newer versions by what is known of them."""
    assert parse_traceparent(value) == parent


def test_a_caller_that_traces_is_followed() -> None:
    """Its sampled call is a span under its own, its unsampled call is none, also where all others are traced."""
    (trace,) = traced(make_served(SAMPLED), make_served(UNSAMPLED, 101.0), ratio=0.0)
    assert (trace.trace_id, trace.parent_span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert traced(make_served(UNSAMPLED), ratio=1.0) == []


def test_callers_need_not_be_followed() -> None:
    """Where callers are not trusted with it, a sampled flag causes nothing."""
    assert traced(make_served(SAMPLED), follow_callers=False) == []


def test_a_share_of_the_other_calls_is_traced() -> None:
    """Without a traceparent the ratio decides, and each trace has an id of its own."""
    calls = [make_served(arrived_s=float(number)) for number in range(1000)]
    some = traced(*calls, ratio=0.2, max_traces_per_s=1000)
    assert 150 < len(some) < 250
    assert len({trace.trace_id for trace in some}) == len(some)
    assert traced(*calls, ratio=0.0) == []


def test_a_batch_is_one_call() -> None:
    """Purchases that came with one call are one trace, which tells how many they were."""
    (trace,) = traced(*[make_served(arrived_s=5.0, purchase_id=f"p-{number}") for number in range(3)], ratio=1.0)
    assert trace.purchases == 3


def test_spans_have_the_instants_that_were_measured() -> None:
    """The call lasts from its arrival to its reply, and its stages fill it without gap."""
    *stages, call = spans_of(make_served(SAMPLED))
    assert [span.name for span in stages] == ["wait", "read", "score", "reply"]
    durations = [round(((span.end_time or 0) - (span.start_time or 0)) / 1e6, 3) for span in (*stages, call)]
    assert durations == [1, 2, 3, 4, 10]
    assert [span.start_time for span in stages] == [call.start_time, *(span.end_time for span in stages[:-1])]
    assert stages[-1].end_time == call.end_time


def test_spans_hang_together() -> None:
    """The call is a server's span under the caller's, the stages are under the call."""
    *stages, call = spans_of(make_served(SAMPLED))
    assert (call.name, call.kind) == ("fraud.v1.FraudScoring/Score", SpanKind.SERVER)
    assert call.parent is not None
    assert (call.parent.trace_id, call.parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert all(span.parent == call.context for span in stages)
    assert {span.context.trace_id for span in (*stages, call) if span.context} == {int(TRACE, 16)}


def test_spans_tell_what_was_decided_and_name_nobody() -> None:
    """Decision and versions are told; no id of the purchase or of anybody in it is."""
    purchase = make_purchase(
        "purchase-77", user_id="user-77", seller_id="seller-77", item_id="item-77", card_hash="card-77"
    )
    spans = spans_of(make_served(purchase=purchase, decision=Decision.DECLINE, model_versions=(7, 8), degraded=True))
    told = dict(spans[-1].attributes or {})
    assert (told["fraud.decision"], told["fraud.model_versions"], told["fraud.degraded"]) == ("DECLINE", [7, 8], True)
    assert "77" not in "".join(f"{span.name}{dict(span.attributes or {})}" for span in spans)


def test_what_cannot_wait_is_dropped_and_counted() -> None:
    """A collector that hangs costs the traces beyond the bound, and nobody waits for it."""
    metrics, exporter = Metrics(), Collected()
    exporter.open.clear()
    tracing = make_tracing(exporter, metrics, max_waiting=50, max_traces_per_s=1000)
    tracing.take([make_served(SAMPLED)])
    assert exporter.asked.wait(30)
    tracing.take([make_served(SAMPLED, float(number)) for number in range(300)])
    exporter.open.set()
    tracing.stop(30)
    assert (count(metrics, "sent"), count(metrics, "dropped")) == (51, 250)


def test_an_end_does_not_wait_for_a_collector_that_hangs() -> None:
    """What was not sent when the time is over is dropped and counted."""
    metrics, exporter = Metrics(), Collected()
    exporter.open.clear()
    tracing = make_tracing(exporter, metrics)
    tracing.take([make_served(SAMPLED)])
    assert exporter.asked.wait(30)
    tracing.take([make_served(SAMPLED, 1.0), make_served(SAMPLED, 2.0)])
    tracing.stop(0.01)
    assert (count(metrics, "sent"), count(metrics, "dropped")) == (1, 2)


def test_traces_of_a_second_are_bounded() -> None:
    """Callers that trace everything cannot make the service do nothing else."""
    metrics = Metrics()
    calls = [make_served(SAMPLED, float(number)) for number in range(300)]
    assert len(traced(*calls, metrics=metrics, max_traces_per_s=10)) == 10
    assert count(metrics, "dropped") == 290


def test_what_does_not_arrive_is_counted() -> None:
    """A collector that refuses is seen."""
    metrics = Metrics()
    traced(make_served(SAMPLED), metrics=metrics, works=False)
    assert count(metrics, "failed") == 1


def test_no_collector_is_no_tracing() -> None:
    """Tracing is off unless a collector is named."""
    assert tracing_of(TracingSettings(), Metrics()) is None


def test_spans_arrive_at_a_collector() -> None:
    """What is sent is OTLP over gRPC, under the name that this service has."""
    metrics = Metrics()
    with collector() as (endpoint, got):
        tracing = tracing_of(TracingSettings(endpoint=endpoint, service_name="scores-of-tests"), metrics)
        assert tracing is not None
        tracing.start()
        tracing.take([make_served(SAMPLED)])
        tracing.stop(30)
    (resource,) = got[0].resource_spans
    assert "scores-of-tests" in str(resource.resource)
    assert [span.name for span in resource.scope_spans[0].spans][-1] == "fraud.v1.FraudScoring/Score"
    assert count(metrics, "sent") == 1


def test_a_collector_that_is_not_there_holds_nobody_up() -> None:
    """Stopping takes no longer than it may, and the traces are counted as failed."""
    metrics = Metrics()
    tracing = tracing_of(TracingSettings(endpoint="http://127.0.0.1:1", timeout_s=1), metrics)
    assert tracing is not None
    tracing.start()
    tracing.take([make_served(SAMPLED)])
    tracing.stop(20)
    assert count(metrics, "failed") == 1
