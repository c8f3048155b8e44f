"""Replay by entity gives the rows that replay of the stream gives, wherever it runs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.event import Event
from service.core.profile import Habits
from tests.training.oracle import frame_of, in_pieces
from tests.training.replay.test_replay import EVERY_READING, HABITS, busy_streams, same
from training.replay.by_entity import Spread, replay_stream_by_entity
from training.replay.cluster import LocalThreads
from training.replay.stream import replay_all


@given(events=busy_streams(), habits=HABITS, parts=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_by_entity_gives_the_rows_of_the_stream(events: list[Event], habits: Habits, parts: int) -> None:
    """Every reading of every purchase has the bits that the replay of the stream gives, and the same place."""
    source = in_pieces(frame_of(events), 7)
    rows = replay_stream_by_entity(source, EVERY_READING, habits, Spread(LocalThreads(), parts)).rows
    expected = replay_all(source, EVERY_READING, habits)
    assert same(rows.matrix, expected.matrix)
    assert np.array_equal(rows.positions, expected.positions)
