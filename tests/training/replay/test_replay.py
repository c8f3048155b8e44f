"""Replay gives the rows that the service gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.event import KINDS, EntityKind, Event, EventKind, Settlement
from service.core.features import FEATURES, Feature
from service.core.formula import Reading
from service.core.profile import SCHEMAS, Habits
from service.core.windows import DAY_MS, WINDOWS
from tests.make import NOW_MS, make_event, make_purchase, make_stream, random_time_ms, streams
from tests.training.oracle import frame_of, in_pieces, naive_rows
from training.replay.stream import Matrix, replay, replay_all


def _every_reading() -> list[Feature]:
    """Return a feature for everything that a formula can read, so that nothing rests on what FEATURES use today."""
    found = [Reading(kind, "exists") for kind in KINDS]
    found.append(Reading(EntityKind.USER, "day_part"))
    for kind, schema in SCHEMAS.items():
        found += [Reading(kind, "total", scalar.name) for scalar in schema.scalars]
        found += [Reading(kind, form, recent.name) for recent in schema.recents for form in ("size", "met")]
        found += [
            Reading(kind, form, measure, window.name)
            for form in ("window", "onset")
            for window in WINDOWS.values()
            for one in schema.series
            if one.name == window.series
            for measure in one.series.measures
        ]
    return [Feature(str(reading), reading, "", "", "", "", "") for reading in found]


EVERY_READING = _every_reading()


def _with_verdicts(random: Random, stream: list[Event]) -> list[Event]:
    """Return the stream with follow-ups of every kind for its purchases, wherever they fall, and a last look at all."""
    verdicts = [
        make_event(
            random.choice((EventKind.FRAUD_CONFIRMED, EventKind.FRAUD_CLEARED, EventKind.PURCHASE_SETTLED)),
            purchase_id=event.purchase_id,
            event_time_ms=(time_ms := random_time_ms(random)),
            ingest_time_ms=time_ms + random.choice((0, DAY_MS, 31 * DAY_MS)),
        )
        for event in stream * 2
        if event.kind is EventKind.PURCHASE
    ]
    for verdict in verdicts:
        stream.insert(random.randint(0, len(stream)), verdict)
    looks = [
        make_purchase(f"look-{user}-{day}", user_id=f"u-{user}", event_time_ms=NOW_MS + day * DAY_MS)
        for user in (1, 2)
        for day in (0, 7, 40)
    ]
    return stream + looks


HABITS = st.sampled_from(["attempts", "settlements"])


def busy_streams() -> st.SearchStrategy[list[Event]]:
    """Draw a stream in which purchases are confirmed, cleared and settled, early and late, once and again."""
    return st.builds(_with_verdicts, st.randoms(use_true_random=False), streams(30))


def replayed(
    events: Sequence[Event], features: Sequence[Feature] = EVERY_READING, habits: Habits = "attempts", rows: int = 7
) -> Matrix:
    """Return what replay gives for events that come in pieces of so many rows."""
    return replay_all(in_pieces(frame_of(events), rows), features, habits).matrix


def same(left: Matrix, right: Matrix) -> bool:
    """Tell whether two matrices hold the same bits, any NaN being like any other."""
    unknown = np.isnan(left)
    return np.array_equal(unknown, np.isnan(right)) and left[~unknown].tobytes() == right[~unknown].tobytes()


@given(events=busy_streams(), habits=HABITS, rows=st.sampled_from([1, 5, 1000]))
@settings(deadline=None, max_examples=150)
def test_replay_reads_what_the_profiles_hold(events: list[Event], habits: Habits, rows: int) -> None:
    """Every reading of every purchase equals the one from the profile that the service would have read."""
    assert same(replayed(events, habits=habits, rows=rows), naive_rows(events, EVERY_READING, habits))


@given(events=busy_streams(), habits=HABITS)
@settings(deadline=None, max_examples=50)
def test_features_are_those_that_the_service_computes(events: list[Event], habits: Habits) -> None:
    """Every declared feature of every purchase has the bits that the compiled row function gives."""
    assert same(replayed(events, FEATURES, habits), naive_rows(events, FEATURES, habits))


@given(events=busy_streams(), chosen=st.lists(st.sampled_from(EVERY_READING), min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_what_else_is_read_does_not_show(events: list[Event], chosen: list[Feature]) -> None:
    """A reading is the same alone as among all others, although replay keeps only what is read."""
    places = [EVERY_READING.index(feature) for feature in chosen]
    assert same(replayed(events, chosen), replayed(events)[:, places])


@pytest.mark.parametrize("seed", range(6))
def test_many_entities_and_full_maps(seed: int) -> None:
    """A long stream, with recent maps that overflow and more entities than the first allocation holds, is equal too."""
    random = Random(seed)
    many = 3_000 if seed == 0 else 30
    events = [
        replace(event, user_id=f"u-{random.randint(1, many)}", card_hash=f"c-{random.randint(1, 40)}")
        if event.kind is EventKind.PURCHASE
        else event
        for event in make_stream(random, 3_000, entities=30)
    ]
    assert same(replayed(events, rows=997), naive_rows(events, EVERY_READING, "attempts"))


def test_a_purchase_does_not_see_itself() -> None:
    """The first purchase of anybody reads nothing but zeros, and the second reads the first."""
    matrix = replayed([make_purchase("p-1"), make_purchase("p-2", event_time_ms=NOW_MS + 1)])
    at = [feature.name for feature in EVERY_READING].index("user.purchases_1h")
    assert not matrix[0].any()
    assert matrix[1, at] == 1


def test_pieces_do_not_show() -> None:
    """Rows and their places are the same however the stream is cut."""
    events = make_stream(11, 200)
    whole = replay_all(in_pieces(frame_of(events), 1000), EVERY_READING)
    pieces = list(replay(in_pieces(frame_of(events), 3), EVERY_READING))
    assert np.array_equal(np.concatenate([piece.positions for piece in pieces]), whole.positions)
    assert same(np.concatenate([piece.matrix for piece in pieces]), whole.matrix)


def test_positions_name_the_first_of_each_purchase() -> None:
    """A repeat of a purchase has no row: positions are those of first arrival."""
    events = [make_event(EventKind.USER_REGISTERED), make_purchase("p-1"), make_purchase("p-1"), make_purchase("p-2")]
    assert replay_all(in_pieces(frame_of(events), 2), FEATURES).positions.tolist() == [1, 3]


def test_a_parked_confirmation_counts_once_its_purchase_is_known() -> None:
    """A confirmation that comes first acts right after its purchase, for the next purchase to see."""
    events = [
        make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-1", event_time_ms=NOW_MS + 1),
        make_purchase("p-1"),
        make_purchase("p-2", event_time_ms=NOW_MS + 2),
    ]
    at = [feature.name for feature in EVERY_READING].index("user.frauds")
    assert replayed(events)[:, at].tolist() == [0, 1]


def test_a_clearance_takes_back_at_the_time_of_the_confirmation() -> None:
    """After a clearance the bucket of the confirmation is as if it had never been confirmed."""
    events = [
        make_purchase("p-1"),
        make_event(EventKind.FRAUD_CONFIRMED, purchase_id="p-1", event_time_ms=NOW_MS + DAY_MS),
        make_event(EventKind.FRAUD_CLEARED, purchase_id="p-1", event_time_ms=NOW_MS + 5 * DAY_MS),
        make_purchase("p-2", event_time_ms=NOW_MS + 2 * DAY_MS),
    ]
    at = [feature.name for feature in EVERY_READING].index("user.frauds_30d")
    assert replayed(events)[:, at].tolist() == [0, 0]
    assert replayed([*events[:2], events[3]])[:, at].tolist() == [0, 1]


def test_habits_follow_the_setting() -> None:
    """A habit is made of attempts, or of purchases that were settled as completed."""
    events = [
        make_purchase("p-1"),
        make_purchase("p-2"),
        make_event(EventKind.PURCHASE_SETTLED, purchase_id="p-1", settlement=Settlement.COMPLETED),
        make_purchase("p-3", event_time_ms=NOW_MS + 2),
    ]
    at = [feature.name for feature in EVERY_READING].index("user.completed")
    assert replayed(events, habits="attempts")[:, at].tolist() == [0, 1, 2]
    assert replayed(events, habits="settlements")[:, at].tolist() == [0, 0, 1]
