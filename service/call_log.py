"""A line in the log for a call that failed or was slow; none for one that is well."""

from __future__ import annotations

import math
import threading
import time
from typing import Final

import structlog

from service.edge_settings import LogSettings
from service.headers import Metadata, request_id
from service.metrics import Metrics

_LOG = structlog.get_logger(__name__)

OK: Final = "OK"


class CallLog:
    """Logs calls, and bounds how many: a flood of one kind of failure hides no other. Thread-safe."""

    def __init__(self, settings: LogSettings, metrics: Metrics) -> None:
        """Get what it needs."""
        self.slow_s = settings.slow_ms / 1000 if settings.slow_ms else math.inf
        """Seconds from which on an answered call is to be noted."""
        self._max_per_s = settings.max_calls_per_s
        self._not_logged = metrics.calls_not_logged
        self._lock = threading.Lock()
        self._second = 0
        self._in_second: dict[str, int] = {}

    def note(
        self,
        method: str,
        code: str,
        seconds: float,
        metadata: Metadata,
        *,
        caller: str = "",
        reason: str = "",
        error: BaseException | None = None,
    ) -> None:
        """Log a call that failed, or took longer than `slow_s`, unless its code was logged often enough this second.

        `reason` is what the caller was told. `error` is for the ones that are our fault, and is told by type and
        place. The line has the caller's `x-request-id`, or one that is made here. Cost: 20 µs a line, 1 µs for none.
        """
        with self._lock:
            second = int(time.monotonic())
            if second != self._second:
                self._second = second
                self._in_second.clear()
            logged = self._in_second.get(code, 0)
            self._in_second[code] = logged + 1
        if logged >= self._max_per_s:
            self._not_logged.inc()
            return
        fields: dict[str, object] = {
            "method": method,
            "code": code,
            "milliseconds": round(seconds * 1000, 3),
            "request_id": request_id(metadata),
        }
        if caller:
            fields["caller"] = caller
        if reason:
            fields["reason"] = reason
        if error is not None:
            _LOG.error("call failed", exc_info=error, **fields)
        elif code == OK:
            _LOG.info("call slow", **fields)
        else:
            _LOG.warning("call refused", **fields)
