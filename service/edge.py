"""What every call goes through, whichever way it is served: the gate before it, metrics and the log after it."""

from __future__ import annotations

from typing import Final

import grpc

from service.access import ANYBODY, Caller, Gate, Peer
from service.call_log import OK, CallLog
from service.errors import Overloaded
from service.headers import Metadata, header
from service.metrics import Metrics
from service.status import Status, status_of

_OVERLOADED: Final = status_of(Overloaded("too many calls in hand"))


class Edge:
    """Lets calls in and takes note of how they ended. Thread-safe."""

    def __init__(self, gate: Gate | None, call_log: CallLog, metrics: Metrics, *, traced: bool) -> None:
        """Get what it needs; without a gate anybody may call everything."""
        self.gate = gate
        self._traced = traced
        self._call_log = call_log
        self._calls = metrics.calls
        self._metrics = metrics

    def admit(self, method: str, metadata: Metadata, peer: Peer) -> Caller:
        """Return who calls a method (`/fraud.v1.FraudScoring/Score`); raises what `Gate.admit` does."""
        return ANYBODY if self.gate is None else self.gate.admit(method, metadata, peer)

    def traceparent(self, metadata: Metadata) -> str:
        """Return the caller's trace context, "" when none came or nobody wants to know of it."""
        return header(metadata, "traceparent") if self._traced else ""

    def shed(self, method: str, seconds: float = 0.0) -> None:
        """Take note of a call that is refused because too many are in hand, as gRPC itself does."""
        self._calls.note(method, _OVERLOADED.code.name, seconds)
        self._metrics.shed.inc()

    def overloaded(self, method: str, seconds: float, metadata: Metadata) -> Status:
        """Do as `refused` for one call too many, for a third of its cost: there are most of them when time is short."""
        self.shed(method, seconds)
        self._call_log.note(method, _OVERLOADED.code.name, seconds, metadata, reason=_OVERLOADED.text)
        return _OVERLOADED

    def answered(self, method: str, seconds: float, metadata: Metadata, caller: Caller) -> None:
        """Take note of a call that was answered. Cost: 0.3 µs."""
        self._calls.note(method, OK, seconds)
        if seconds >= self._call_log.slow_s:
            self._call_log.note(method, OK, seconds, metadata, caller=caller.name)

    def refused(
        self, method: str, error: Exception, seconds: float, metadata: Metadata, caller: Caller = ANYBODY
    ) -> Status:
        """Take note of a call that ended with an error; returns the status that its caller gets."""
        status = status_of(error)
        code = status.code.name
        self._calls.note(method, code, seconds)
        self._metrics.refused_with(error)
        ours = error if status.code is grpc.StatusCode.INTERNAL else None
        self._call_log.note(method, code, seconds, metadata, caller=caller.name, reason=status.text, error=ours)
        return status
