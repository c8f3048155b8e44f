"""Draws take a share of the ids, and the same ones every time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.core.draw import Draw

SHARES = st.floats(0.0, 1.0)


@given(st.text(), SHARES, SHARES)
def test_a_larger_share_takes_what_a_smaller_one_does(entity_id: str, one: float, other: float) -> None:
    """Raising a share adds ids and loses none."""
    if Draw("x:", min(one, other)).takes(entity_id):
        assert Draw("x:", max(one, other)).takes(entity_id)


@given(st.text())
def test_nothing_and_everything(entity_id: str) -> None:
    """A share of 0 takes none, a share of 1 takes all."""
    assert not Draw("x:", 0.0).takes(entity_id)
    assert Draw("x:", 1.0).takes(entity_id)


def test_two_salts_draw_independently() -> None:
    """Of the tenth that one draw takes, another takes a tenth."""
    ids = [f"u-{n}" for n in range(100_000)]
    one, other = Draw("a:", 0.1), Draw("b:", 0.1)
    taken = [entity_id for entity_id in ids if one.takes(entity_id)]
    assert 9_500 < len(taken) < 10_500
    assert 900 < sum(map(other.takes, taken)) < 1_100


def test_who_is_taken_never_changes() -> None:
    """The draw is part of what was decided: another hash would move users between versions on an upgrade."""
    assert [n for n in range(40) if Draw("canary:", 0.1).takes(f"u-{n}")] == [8, 12, 16, 30, 36, 38]
