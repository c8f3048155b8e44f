"""A stall voids the window that it fell into, and no more."""

from __future__ import annotations

import pytest

from loadtest.mix import EMPTY, RECORD, SCORE, SCORE_RECORD
from loadtest.plan import MEASURE
from loadtest.sla import WINDOW_S, Seen, Sla, Verdict, is_void, judge
from loadtest.tally import Key, Tally
from loadtest.windows import windows_of
from tests.loadtest.make import result_of, tally

QUIET, STALLED = tally(1_000), tally(980, slow=20)
HELD, LATE = tally(10_000), tally(9_000, slow=1_000)
GOOD = Seen(HELD, Tally(), QUIET)
MISSED = Seen(LATE, Tally(), QUIET)
"""The service is late, and the empty handler is not."""

VOID = Seen(LATE, Tally(), STALLED)
"""Both are."""


def counted(second: int, kind: str, calls: int) -> tuple[Key, Tally]:
    """Return calls that were due in a second."""
    return Key(MEASURE, second, kind), tally(calls)


@pytest.mark.parametrize(
    ("empties", "void"),
    [
        pytest.param(QUIET, False, id="in time"),
        pytest.param(tally(990, slow=10, slow_ms=6), False, id="as many beyond 5 ms as are allowed"),
        pytest.param(tally(989, slow=11, slow_ms=6), True, id="one more than allowed"),
        pytest.param(tally(999, slow=1), False, id="one call beyond 20 ms"),
        pytest.param(tally(998, slow=2), True, id="two calls beyond 20 ms"),
        pytest.param(tally(939, slow=1), False, id="one call of fewer than a thousand tells no share"),
        pytest.param(tally(999, UNAVAILABLE=1), True, id="an error"),
        pytest.param(Tally(), True, id="no call that could tell"),
    ],
)
def test_window_is_void_by_the_empty_handler_alone(empties: Tally, void: bool) -> None:  # noqa: FBT001
    """A window is void when the empty handler misses a limit or fails in it."""
    assert is_void(Sla(), empties) is void


@pytest.mark.parametrize(
    ("windows", "verdict"),
    [
        pytest.param([GOOD] * 5 + [VOID], Verdict.PASS, id="late in a void window alone"),
        pytest.param([GOOD] * 4 + [MISSED, VOID], Verdict.FAIL, id="late in a good window, too"),
        pytest.param([GOOD] * 3 + [VOID] * 3, Verdict.PASS, id="exactly half is left"),
        pytest.param([GOOD] * 2 + [MISSED] + [VOID] * 3, Verdict.FAIL, id="exactly half is left, and one missed"),
        pytest.param([GOOD] * 2 + [VOID] * 4, Verdict.VOID, id="fewer than half are left"),
        pytest.param([MISSED] * 2 + [VOID] * 4, Verdict.VOID, id="fewer than half are left, and they missed"),
        pytest.param([VOID] * 6, Verdict.VOID, id="none is left"),
        pytest.param([GOOD._replace(empties=STALLED)] * 6, Verdict.PASS, id="all held, whatever the machine did"),
        pytest.param([GOOD] * 6, Verdict.PASS, id="no void window"),
    ],
)
def test_limits_are_judged_over_the_windows_that_are_left(windows: list[Seen], verdict: Verdict) -> None:
    """Void windows excuse what was late in them and nothing else, as long as half of the windows are left."""
    assert judge(Sla(), windows).verdict is verdict


@pytest.mark.parametrize(
    ("code", "others", "verdict"),
    [
        pytest.param("RESOURCE_EXHAUSTED", [GOOD] * 5, Verdict.PASS, id="refused"),
        pytest.param("DEADLINE_EXCEEDED", [GOOD] * 5, Verdict.PASS, id="given up"),
        pytest.param("INTERNAL", [GOOD] * 5, Verdict.FAIL, id="a fault"),
        pytest.param("INTERNAL", [VOID] * 5, Verdict.FAIL, id="a fault with no window left"),
    ],
)
def test_void_window_excuses_lateness_alone(code: str, others: list[Seen], verdict: Verdict) -> None:
    """Calls that were refused for lateness in a void window do not count; errors of another kind do."""
    void = Seen(tally(10_000, **{code: 1}), Tally(), STALLED)
    assert judge(Sla(), [*others, void]).verdict is verdict


def test_fault_is_not_excused_by_the_empty_handlers_errors() -> None:
    """When both fail in the same window the service's error still counts."""
    both = Seen(tally(10_000, UNAVAILABLE=1), Tally(), tally(999, UNAVAILABLE=1))
    assert judge(Sla(), [GOOD] * 5 + [both]).verdict is Verdict.FAIL


def test_answers_that_lack_something_count_in_void_windows() -> None:
    """A slow store is no stall of the machine."""
    degraded = Seen(tally(10_000, degraded=200), Tally(), STALLED)
    assert judge(Sla(), [GOOD] * 5 + [degraded]).verdict is Verdict.FAIL


def test_too_few_calls_in_the_windows_that_are_left() -> None:
    """Half of the windows may be left and still hold too few calls to tell."""
    small = Seen(tally(4_000), Tally(), QUIET)
    assert judge(Sla(), [small, small, VOID, VOID]).verdict is Verdict.VOID


def test_judgement_tells_void_windows_and_what_was_seen_over_all() -> None:
    """Nobody can say that bad stretches were hidden: they are counted, and shown beside what counts."""
    found = judge(Sla(), [GOOD] * 5 + [VOID])
    first = found.objectives[0]
    assert (found.windows, found.void) == (6, 1)
    assert found.sentence == f"all that was promised holds for 50,000 calls (1 of 6 windows of {WINDOW_S} s are void)"
    assert (first.holds, first.overall_holds) == (True, False)
    assert (first.seen[:9], first.overall[:8]) == ("100.0000%", "98.3333%")


def test_windows_hold_what_was_due_in_them() -> None:
    """Calls belong to the window of their second, by what they waited for."""
    scores = [counted(0, SCORE, 1), counted(9, SCORE, 2), counted(10, SCORE, 4)]
    tallies = dict([*scores, counted(10, EMPTY, 8), counted(19, RECORD, 16), counted(11, SCORE_RECORD, 32)])
    first, second = windows_of(tallies, 20)
    assert (first.begin_s, first.end_s, second.begin_s, second.end_s) == (0, 10, 10, 20)
    assert [tally.calls for tally in first.seen] == [3, 0, 0]
    assert [tally.calls for tally in second.seen] == [4, 48, 8]


def test_last_window_takes_what_is_left_over() -> None:
    """No window is shorter than ten seconds but one that is alone."""
    tallies = dict([counted(0, SCORE, 1), counted(10, SCORE, 1), counted(24, SCORE, 1), counted(25, SCORE, 1)])
    assert [(one.begin_s, one.end_s) for one in windows_of(tallies, 25)] == [(0, 10), (10, 25)]
    assert [(one.begin_s, one.end_s) for one in windows_of(tallies, 3)] == [(0, 3)]


def test_result_is_judged_by_its_windows() -> None:
    """A result knows when it was void, and passes by the seconds that were not."""
    kinds = [(10, SCORE, HELD), (10, EMPTY, QUIET), (27, SCORE, LATE), (27, EMPTY, STALLED)]
    found = result_of({Key(MEASURE, second, kind): one for second, kind, one in kinds})
    assert [(one.begin_s, one.end_s) for one in found.void_windows] == [(20, 30)]
    assert found.judgement.verdict is Verdict.PASS
