"""A run passes, fails or is void by what the service and the empty handler did in the same seconds."""

from __future__ import annotations

import pytest

from loadtest.sla import Limit, Seen, Sla, Verdict, judge
from loadtest.tally import Tally
from tests.loadtest.make import tally

QUIET = tally(5_000)


@pytest.mark.parametrize(
    ("calls", "empties", "verdict"),
    [
        pytest.param(tally(20_000), QUIET, Verdict.PASS, id="all in time"),
        pytest.param(tally(19_980, slow=20), QUIET, Verdict.PASS, id="as many late as are allowed"),
        pytest.param(tally(19_979, slow=21), QUIET, Verdict.FAIL, id="one more than allowed"),
        pytest.param(tally(19_700, slow=300, slow_ms=6), QUIET, Verdict.FAIL, id="the 99 percent limit"),
        pytest.param(tally(19_900, slow=100), tally(4_900, slow=100), Verdict.VOID, id="both late"),
        pytest.param(tally(20_000), tally(4_000, slow=1_000), Verdict.PASS, id="the empty handler alone is late"),
        pytest.param(
            tally(15_000, slow=5_000), tally(4_990, slow=10), Verdict.VOID, id="another limit than the empty handler"
        ),
        pytest.param(tally(20_000, UNAVAILABLE=1), QUIET, Verdict.FAIL, id="one error"),
        pytest.param(tally(20_000, RESOURCE_EXHAUSTED=1), QUIET, Verdict.FAIL, id="one call refused"),
        pytest.param(
            tally(20_000, RESOURCE_EXHAUSTED=9), tally(4_900, slow=100), Verdict.VOID, id="refused during a stall"
        ),
        pytest.param(
            tally(20_000, INTERNAL=1), tally(4_900, slow=100), Verdict.FAIL, id="a fault is no stall's consequence"
        ),
        pytest.param(tally(20_000, degraded=21), QUIET, Verdict.FAIL, id="fast because degraded"),
        pytest.param(tally(20_000, degraded=20), QUIET, Verdict.PASS, id="as many degraded as are allowed"),
        pytest.param(tally(9_000), QUIET, Verdict.VOID, id="too few calls to tell"),
        pytest.param(tally(20_000), tally(500), Verdict.VOID, id="too few empty calls to tell"),
        pytest.param(Tally(), Tally(), Verdict.VOID, id="nothing"),
    ],
)
def test_verdict(calls: Tally, empties: Tally, verdict: Verdict) -> None:
    """What the service misses and the empty handler holds fails; what both miss is void."""
    assert judge(Sla(), [Seen(calls, Tally(), empties)]).verdict is verdict


@pytest.mark.parametrize(
    ("durable", "verdict"),
    [
        pytest.param(tally(990, slow=10, slow_ms=99), Verdict.PASS, id="as many late as are allowed"),
        pytest.param(tally(989, slow=11, slow_ms=99), Verdict.FAIL, id="one more than allowed"),
        pytest.param(tally(9_980, slow=20, slow_ms=101), Verdict.FAIL, id="the 99.9 percent limit"),
        pytest.param(tally(50, slow=49, slow_ms=99), Verdict.PASS, id="too few to tell"),
        pytest.param(tally(10, UNAVAILABLE=1), Verdict.FAIL, id="one error"),
    ],
)
def test_verdict_on_calls_that_wait_to_be_durable(durable: Tally, verdict: Verdict) -> None:
    """They have limits of their own, errors and gaps count for all."""
    assert judge(Sla(), [Seen(tally(20_000), durable, QUIET)]).verdict is verdict


def test_call_without_an_answer_is_no_call_in_time() -> None:
    """A limit is a share of all calls that were due, not of those that were answered."""
    sla = Sla((Limit(0.99, 5.0),), max_errors=1_000)
    assert judge(sla, [Seen(tally(20_000, UNAVAILABLE=300), Tally(), QUIET)]).verdict is Verdict.FAIL


def test_refused_calls_may_count_as_late_ones_alone() -> None:
    """A soak's promise is about p99.9: a call that is refused misses it, and is no error besides."""
    sla = Sla((Limit(0.999, 20.0),), late_are_errors=False)
    assert judge(sla, [Seen(tally(19_980, RESOURCE_EXHAUSTED=20), Tally(), QUIET)]).verdict is Verdict.PASS
    assert judge(sla, [Seen(tally(19_979, RESOURCE_EXHAUSTED=21), Tally(), QUIET)]).verdict is Verdict.FAIL
    assert judge(sla, [Seen(tally(20_000, UNAVAILABLE=1), Tally(), QUIET)]).verdict is Verdict.FAIL


def test_sentence_names_what_was_missed() -> None:
    """A failed run says which promise was broken, and by how much."""
    sentence = judge(Sla(), [Seen(tally(20_000, UNAVAILABLE=2), Tally(), QUIET)]).sentence
    assert sentence == "missed: at most 0 other errors: 2 UNAVAILABLE"


def test_verdicts_are_exit_codes() -> None:
    """0 is pass, 1 is fail, 2 is void."""
    assert [int(one) for one in Verdict] == [0, 1, 2]
