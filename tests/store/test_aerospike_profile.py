"""Bins become the image that the core makes of the same history; no server is needed for that."""

from __future__ import annotations

from random import Random
from typing import Any

import aerospike
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.aggregates import Bucketed, Latest, Recent, Sum
from service.core.event import KINDS, EntityKind
from service.core.profile import LAYOUT, SCHEMAS, ProfileState, Schema
from service.core.windows import DAYS, HOURS
from service.store.aerospike_profile import PROFILE_BINS, ImageReader, bin_of, bins_of, measure_bin, stored_image
from tests.make import filled_image

MAX_BIN_NAME = 15


def make_state(schema: Schema, random: Random) -> ProfileState:
    """Return a profile with anything in it: holes in series, measures that differ in their buckets."""
    state = ProfileState(schema)
    state.revision = random.randint(1, 1000)
    state.totals = [random.choice((0, random.randint(-5, 1 << 60))) for _ in schema.scalars]
    for one, kept in zip(schema.series, state.series, strict=True):
        newest = random.randint(100, 500_000)
        for bucket in random.sample(range(newest - one.series.buckets + 1, newest + 1), random.randint(0, 6)):
            amounts = [random.choice((0, random.randint(-3, 1 << 40))) for _ in one.series.measures]
            one.add(kept, bucket, tuple((at, at) for at in range(len(amounts))), amounts)
    for recent, met in zip(schema.recents, state.recents, strict=True):
        for _ in range(random.randint(0, 3)):
            recent.add(met, random.randint(-(1 << 63), (1 << 63) - 1), random.randint(1, 1 << 41))
    return state


def make_bins(state: ProfileState, random: Random) -> dict[str, Any]:
    """Return the bins of a profile as a server holds them: some zeros are not there, some buckets out of reach are."""
    schema = state.schema
    bins: dict[str, Any] = {"rev": state.revision, "ly": schema.layout}
    bins |= {bin_of(one.name): amount for one, amount in zip(schema.scalars, state.totals, strict=True) if amount}
    for one, kept in zip(schema.series, state.series, strict=True):
        names = [measure_bin(one.series, measure) for measure in one.series.measures]
        sums = one.sums(kept)
        for bucket, amounts in sums.items():
            counted = [at for at, amount in enumerate(amounts) if amount or random.random() < 0.5] or [0]
            for at in counted:
                bins.setdefault(names[at], aerospike.KeyOrderedDict())[bucket] = amounts[at]
        if sums and random.random() < 0.5:
            name = random.choice(names)
            out_of_reach = {max(sums) - one.series.buckets: 7}
            bins[name] = aerospike.KeyOrderedDict(out_of_reach | dict(bins.get(name, {})))
    for recent, met in zip(schema.recents, state.recents, strict=True):
        if met:
            bins[bin_of(recent.name)] = aerospike.KeyOrderedDict(recent.times(met))
    return bins


@pytest.mark.parametrize("kind", KINDS)
@given(random=st.randoms(use_true_random=False))
def test_bins_become_the_image_of_the_core(kind: EntityKind, random: Random) -> None:
    """Absent is zero, out of reach is left out, and everything stands where the core puts it."""
    state = make_state(SCHEMAS[kind], random)
    assert stored_image(kind, make_bins(state, random)) == state.image()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fill", ["typical", "worst"])
def test_the_profiles_of_the_benchmarks_come_back(kind: EntityKind, fill: Any) -> None:
    """Full profiles, with every bucket taken, too."""
    image = filled_image(kind, fill)
    assert stored_image(kind, make_bins(ProfileState.of(kind, image), Random(0))) == image


@given(random=st.randoms(use_true_random=False))
def test_a_profile_keeps_the_layout_that_it_began_with(random: Random) -> None:
    """What a later layout added in the middle of every list is not read into an older profile."""
    newer = Schema(
        EntityKind.CARD,
        (Sum("purchases"), Latest("last_refund_ms", since=2), Sum("reports")),
        (Bucketed(HOURS, since=2), Bucketed(DAYS)),
        (Recent("users"), Recent("countries", since=2)),
        layout=2,
    )
    state = make_state(newer.as_of(1), random)
    bins = make_bins(state, random) | {"last_refund_ms": 5, "h1.purchases": {5: 5}, "countries": {5: 5}}
    assert ImageReader(newer.as_of(1)).image(bins) == state.image()


def test_a_profile_of_a_newer_release_is_read_as_ours() -> None:
    """While a release is rolled out, what it began is read by the one before."""
    bins = {"rev": 3, "ly": LAYOUT + 1, "purchases": 2, "not_known_yet": 9}
    assert stored_image(EntityKind.CARD, bins)[:2] == (LAYOUT, 3)


def test_two_things_never_share_a_bin() -> None:
    """Names that are alike as far as a bin name goes are refused when the service starts."""
    alike = (Sum("purchases_by_night"), Sum("purchases_by_night_and_day"))
    with pytest.raises(ValueError, match="share a bin"):
        bins_of(Schema(EntityKind.CARD, alike, (), ()))
    with pytest.raises(ValueError, match="share a bin"):
        bins_of(Schema(EntityKind.CARD, (Sum("rev"),), (), ()))


def test_bin_names_are_as_short_as_they_must_be() -> None:
    """The server takes names of at most fifteen characters."""
    assert all(len(name) <= MAX_BIN_NAME for name in PROFILE_BINS)
