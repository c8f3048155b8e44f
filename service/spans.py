"""OpenTelemetry's view of a call: one span for the call, one for each stage, with the instants that were measured.

Attributes tell what was decided and by which versions. None names anybody: no id of a user, seller, item,
card or purchase; a trace is joined with its purchase in the caller's own spans.
"""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final, Self

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from service.edge_settings import TracingSettings
from service.trace import Trace

STAGES: Final = ("wait", "read", "score", "reply")
"""Between one instant of `Served` and the next."""

_SCOPE: Final = InstrumentationScope("fraud.v1")
_SERVICE: Final = "fraud.v1.FraudScoring"


class OtlpExporter:
    """Makes spans of traces and sends them. Used by one thread, but for `close`."""

    def __init__(self, exporter: SpanExporter, service_name: str) -> None:
        """Get where spans go and the name that this service has there."""
        self._exporter = exporter
        self._random = random.Random()  # noqa: S311  ids, no secrets
        self._resource = Resource(
            {"service.name": service_name, "service.instance.id": f"{platform.node()}-{os.getpid()}"}
        )

    @classmethod
    def to(cls, settings: TracingSettings) -> Self:
        """Return one that sends OTLP over gRPC to `tracing.endpoint`.

        Certificates and headers are OpenTelemetry's own settings: OTEL_EXPORTER_OTLP_CERTIFICATE, …_HEADERS.
        """
        return cls(OTLPSpanExporter(settings.endpoint, timeout=settings.timeout_s), settings.service_name)

    def export(self, traces: Sequence[Trace]) -> bool:
        """Send traces; returns whether they arrived."""
        spans = [span for trace in traces for span in self._spans(trace)]
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """End an export that is under way."""
        self._exporter.shutdown()

    def _spans(self, trace: Trace) -> Iterator[ReadableSpan]:
        served, call = trace.served, self._context(trace.trace_id)
        measured = (served.arrived_s, served.begun_s, served.read_s, served.scored_s, served.replied_s)
        instants = [int((instant + trace.offset_s) * 1e9) for instant in accumulate(measured, max)]
        for stage, (begun, ended) in zip(STAGES, pairwise(instants), strict=True):
            yield ReadableSpan(
                stage,
                self._context(trace.trace_id),
                call,
                self._resource,
                start_time=begun,
                end_time=ended,
                instrumentation_scope=_SCOPE,
            )
        parent = SpanContext(trace.trace_id, trace.parent_span_id, is_remote=True) if trace.parent_span_id else None
        method = "Score" if trace.purchases == 1 else "ScoreBatch"
        record = served.record
        yield ReadableSpan(
            f"{_SERVICE}/{method}",
            call,
            parent,
            self._resource,
            {
                "rpc.system": "grpc",
                "rpc.service": _SERVICE,
                "rpc.method": method,
                "rpc.grpc.status_code": 0,
                "fraud.purchases": trace.purchases,
                "fraud.decision": record.decision.name,
                "fraud.degraded": record.degraded,
                "fraud.recorded": record.recorded,
                "fraud.model_versions": list(record.model_versions),
                "fraud.lineup_revision": record.lineup_revision,
                "fraud.policy_version": record.policy_version,
            },
            kind=SpanKind.SERVER,
            start_time=instants[0],
            end_time=instants[-1],
            instrumentation_scope=_SCOPE,
        )

    def _context(self, trace_id: int) -> SpanContext:
        """Return a new span of a trace."""
        span_id = self._random.getrandbits(64) or 1
        return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
