"""The log is read no faster than was asked for."""

from __future__ import annotations

from service.pace import Pace


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        """Begin at noon."""
        self.now_s = 43_200.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


def test_so_many_a_second() -> None:
    """Ten pages of a hundred at two hundred a second take five seconds, the work itself included."""
    clock = Clock()
    pace = Pace(200, clock, clock.sleep)
    for _ in range(10):
        clock.now_s += 0.1
        pace.spend(100)
    assert round(clock.now_s - 43_200, 6) == 5.0


def test_a_pause_is_not_made_up_for() -> None:
    """After a pause one page comes at once, and the next ones no faster than before it."""
    clock = Clock()
    pace = Pace(100, clock, clock.sleep)
    pace.spend(100)
    clock.now_s += 60
    began_s = clock.now_s
    for _ in range(5):
        pace.spend(100)
    assert clock.now_s - began_s > 3.9


def test_nought_is_no_bound() -> None:
    """With 0 nobody waits."""
    clock = Clock()
    Pace(0, clock, clock.sleep).spend(1_000_000)
    assert clock.now_s == 43_200.0
