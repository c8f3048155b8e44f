"""Latencies are counted within one percent, and never told shorter than they were."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.latencies import MAX_US, Latencies, bucket, edge_us

LATENCIES_US = st.integers(0, MAX_US)


def latencies(*all_us: int) -> Latencies:
    """Return a histogram of latencies."""
    counted = Latencies()
    for one in all_us:
        counted.note(one / 1e6)
    return counted


@given(LATENCIES_US)
def test_bucket_holds_its_latency(latency_us: int) -> None:
    """A latency lies in its bucket: above the edge of the one before, and not above its own."""
    number = bucket(latency_us)
    assert edge_us(number) >= latency_us
    assert number == 0 or edge_us(number - 1) < latency_us


@given(LATENCIES_US)
def test_buckets_are_narrow(latency_us: int) -> None:
    """The edge of a bucket is at most 1/128 above any latency in it."""
    assert edge_us(bucket(latency_us)) - latency_us <= latency_us / 128


def test_longest_of_all_has_a_bucket() -> None:
    """What is longer than can be told counts as the longest that can."""
    assert bucket(MAX_US * 100) == bucket(MAX_US)


@given(st.lists(LATENCIES_US, min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_percentile_is_the_nearest_rank(all_us: list[int], share: float) -> None:
    """A percentile is the latency of its rank in sorted order, at most 1/128 more and never less."""
    exact_us = sorted(all_us)[math.ceil(share * len(all_us)) - 1]
    found_ms = latencies(*all_us).percentile_ms(share)
    assert int(exact_us / 1e6 * 1e6) / 1000 <= found_ms <= exact_us / 1000 * (1 + 1 / 128) + 1e-3


def test_percentile_of_nothing_is_unknown() -> None:
    """Nothing was counted, so no latency is told."""
    assert math.isnan(Latencies().percentile_ms(0.5))


@given(st.lists(LATENCIES_US, max_size=100), st.lists(LATENCIES_US, max_size=100))
def test_sum_counts_all(one: list[int], other: list[int]) -> None:
    """Adding histograms gives the one of all latencies together."""
    whole = latencies(*one)
    whole.add(latencies(*other))
    expected = latencies(*one, *other)
    assert (whole.counts, whole.count, whole.max_us) == (expected.counts, expected.count, expected.max_us)


@pytest.mark.parametrize(("limit_ms", "count"), [(0.1, 1), (5.0, 2), (5.1, 3), (1000.0, 4)])
def test_within_counts_no_call_that_took_longer(limit_ms: float, count: int) -> None:
    """Calls within a limit are those whose whole bucket is."""
    assert latencies(100, 4_900, 5_020, 900_000).within(limit_ms) == count


@given(st.lists(LATENCIES_US, max_size=50))
def test_json_changes_nothing(all_us: list[int]) -> None:
    """What was written as JSON is read as it was."""
    before = latencies(*all_us)
    after = Latencies.of_plain(json.loads(json.dumps(before.to_plain())))
    assert (after.counts, after.count, after.max_us) == (before.counts, before.count, before.max_us)
