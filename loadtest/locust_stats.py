"""What the generators counted, as locust's own statistics, so that its page, charts and CSV files show it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Final

from locust.stats import RequestStats, StatsEntry, StatsError, bucket_response_time

from loadtest.mix import EMPTY
from loadtest.tally import Key, Tally

METHOD: Final = "gRPC"


def add_to(stats: RequestStats, news: Mapping[Key, Tally]) -> None:
    """Add tallies, as locust's master adds what its workers report. Cost: microseconds for thousands of calls.

    The empty handler has a line of its own and is no part of the total.
    """
    now_s = time.time()
    for key, tally in news.items():
        entry = entry_of(stats, key.kind, tally, now_s)
        stats.get(key.kind, METHOD).extend(entry)
        if key.kind != EMPTY:
            stats.total.extend(entry)
        for code, count in tally.codes.items():
            if code != "OK":
                name = StatsError.create_key(METHOD, key.kind, code)
                error = stats.errors.setdefault(name, StatsError(METHOD, key.kind, code))
                error.occurred()
                error.occurrences += count - 1


def entry_of(stats: RequestStats, name: str, tally: Tally, now_s: float) -> Any:  # noqa: ANN401
    """Return a tally as locust keeps one; calls without an answer have no latency."""
    entry: Any = StatsEntry(stats, name, METHOD)  # it declares whole milliseconds, and holds fractions as well
    entry.start_time = stats.total.start_time
    entry.last_request_timestamp = now_s
    entry.num_requests = tally.calls
    entry.num_failures = tally.errors
    entry.num_none_requests = tally.calls - tally.latencies.count
    entry.num_reqs_per_sec[int(now_s)] = tally.calls
    entry.num_fail_per_sec[int(now_s)] = tally.errors
    for edge_us, count, _ in tally.latencies.cumulative():
        latency_ms = edge_us / 1000
        entry.response_times[shown(latency_ms)] += count
        entry.total_response_time += latency_ms * count
        entry.max_response_time = max(entry.max_response_time, latency_ms)
        entry.min_response_time = min(entry.min_response_time or math.inf, latency_ms)
    return entry


def shown(latency_ms: float) -> float:
    """Return a latency as locust counts it, but with tenths of milliseconds, in which most calls are told apart."""
    return round(latency_ms, 1) if latency_ms < 100 else bucket_response_time(latency_ms)  # noqa: PLR2004  as there
