"""The service level: what must hold of the calls of a run, and whether it did.

Two promises, because two things take time. A score is computed, and the service answers for every microsecond of it.
What is to be durable when it is answered waits for a disk besides, or for a cluster: `score(record=true)` and `Record`.

A shared machine stalls by itself now and then, and a service cannot answer while it does. So every run calls an empty
handler in the same seconds, through the same generator, and is cut into windows of ten seconds. A window in which the
empty handler misses a limit of the scores, or fails, is void, whatever the service did in it. What depends on time
(limits, and calls that were refused or given up for lateness) is judged over the windows that are left; errors of
other kinds and answers that lack something over all, for no stall excuses them.

A service that hogs the machine makes the empty handler late, too. So a run with fewer than half of its windows left is
void, unless all that was promised holds over all of them; and the figures over all are told beside those that count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from loadtest.tally import Tally, total


class Verdict(IntEnum):
    """What a run showed; its number is the exit code."""

    PASS = 0
    FAIL = 1
    VOID = 2


class Limit(NamedTuple):
    """At least `share` of the calls are answered within `limit_ms`, from the instant at which they were due."""

    share: float
    limit_ms: float


@dataclass(frozen=True, slots=True)
class Sla:
    """What must hold of the calls of a run."""

    limits: tuple[Limit, ...] = (Limit(0.99, 5.0), Limit(0.999, 20.0))
    """Of calls that wait for nothing but their score."""
    durable_limits: tuple[Limit, ...] = (Limit(0.99, 25.0), Limit(0.999, 100.0))
    """Of calls that wait until something is durable."""
    max_errors: int = 0
    """Calls without an answer of all kinds, of those that were late and of all others each."""
    whole_share: float = 0.999
    """Answers that lack nothing: every profile was readable, and what was to be recorded is. Without it a service
    could hold the limits by answering `degraded` at once when its store is slow."""
    late_are_errors: bool = True
    """Whether calls that were refused or given up count against `max_errors`; against the limits they always do."""


class Seen(NamedTuple):
    """The calls of a run or of a window, by what they waited for."""

    scores: Tally
    """For nothing but the answer."""
    durable: Tally
    """Until something was durable."""
    empties: Tally
    """For the empty handler."""


class Objective(NamedTuple):
    """One thing that must hold, and what was seen of it."""

    wanted: str
    seen: str
    """Over the windows that count for it."""
    holds: bool
    empty_seen: str
    """The same of the empty handler; "" where it cannot miss it."""
    empty_holds: bool
    overall: str
    """Over all windows, void ones among them."""
    overall_holds: bool


class Judgement(NamedTuple):
    """The verdict with its reasons."""

    verdict: Verdict
    sentence: str
    objectives: tuple[Objective, ...]
    windows: int = 1
    void: int = 0
    """Windows that are void."""

    @property
    def selects(self) -> bool:
        """Return whether void windows were left out of what counts."""
        return any(one.seen != one.overall for one in self.objectives)


WINDOW_S: Final = 10
"""Seconds of a window: a stall voids no more, and a hundred empty calls a second tell 99.9 % in it, just."""

LEAST_LEFT: Final = 0.5
"""Share of the windows that must not be void, for what is left to stand for the run."""

LATE: Final = frozenset({"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNSENT"})
"""Statuses of calls that were refused because too many waited, or given up because their time was over."""

_CALLS_BEYOND: Final = 10
"""Scores that a limit must allow to be longer, for a share to say anything: 10,000 of them for 99.9 %."""

_CRUMB: Final = 1e-9
"""1 - 0.999 is a little less or more than 0.001 in binary."""


def judge(sla: Sla, windows: Sequence[Seen]) -> Judgement:
    """Judge the calls of a run, window by window, by those that an empty handler got in the same seconds."""
    kept = [one for one in windows if not is_void(sla, one.empties)]
    everything, left, void = together(windows), together(kept), len(windows) - len(kept)
    enough = len(kept) >= LEAST_LEFT * len(windows) and not _too_few(sla, left)
    seen = left if enough else everything
    timely, faults = _timely(sla, seen, everything), _faults(sla, everything)
    missed = [one for one in (*timely, *faults) if not one.holds]
    own = [one for one in missed if one.empty_holds and (enough or one in faults)]
    lost = f"{void:,} of {len(windows):,} windows of {WINDOW_S} s are void"
    if too_few := _too_few(sla, everything):
        verdict, sentence = Verdict.VOID, too_few
    elif not missed:  # what the empty handler missed meanwhile is no matter: the service held all the same
        calls = total((seen.scores, seen.durable)).calls
        verdict, sentence = Verdict.PASS, f"all that was promised holds for {calls:,} calls"
    elif own:
        verdict, sentence = Verdict.FAIL, "missed: " + "; ".join(f"{one.wanted}: {one.seen}" for one in own)
    else:
        why = "the empty handler missed the same" if enough else "what is left is too little to judge"
        verdict, sentence = Verdict.VOID, f"{why}, so the machine did not give what it takes: run it again"
    return Judgement(verdict, f"{sentence} ({lost})" if void else sentence, (*timely, *faults), len(windows), void)


def is_void(sla: Sla, empties: Tally) -> bool:
    """Return whether calls to the empty handler say that the machine did not give what its window took."""
    return not empties.calls or bool(empties.errors) or any(late(limit, empties) for limit in sla.limits)


def late(limit: Limit, calls: Tally) -> bool:
    """Return whether more calls were late or failed than a limit allows. One alone never is: it tells of no share."""
    allowed = max(1, math.floor((1 - limit.share) * calls.calls + _CRUMB))
    return calls.calls - calls.latencies.within(limit.limit_ms) > allowed


def together(windows: Iterable[Seen]) -> Seen:
    """Return the calls of several windows."""
    windows = list(windows)
    return Seen(
        total(one.scores for one in windows),
        total(one.durable for one in windows),
        total(one.empties for one in windows),
    )


def _too_few(sla: Sla, seen: Seen) -> str:
    """Return why calls are too few to tell what is promised; "" when they are not."""
    strictest = max(limit.share for limit in sla.limits)
    scores, empties = round(_CALLS_BEYOND / (1 - strictest)), round(1 / (1 - strictest))
    if seen.scores.calls >= scores and seen.empties.calls >= empties:
        return ""
    return (
        f"{seen.scores.calls:,} scores and {seen.empties.calls:,} empty calls are too few to tell {strictest:.1%}: "
        f"{scores:,} and {empties:,} are needed"
    )


def _timely(sla: Sla, seen: Seen, everything: Seen) -> tuple[Objective, ...]:
    """Return what holds of all that a stall makes late."""
    limits = (
        *(_limit("scores", limit, seen.scores, everything.scores, seen.empties) for limit in sla.limits),
        *(
            _limit("calls that wait to be durable", limit, seen.durable, everything.durable, seen.empties)
            for limit in sla.durable_limits
            if seen.durable.calls >= 1 / (1 - limit.share)
        ),
    )
    in_time = all(one.empty_holds for one in limits) and not seen.empties.errors
    if not sla.late_are_errors:
        return limits
    return (*limits, _late_errors(sla.max_errors, seen, everything, empty_in_time=in_time))


def _limit(what: str, limit: Limit, calls: Tally, all_calls: Tally, empties: Tally) -> Objective:
    wanted = f"{100 * limit.share:g} % of {what} within {limit.limit_ms:g} ms"
    return Objective(wanted, *_within(limit, calls), *_within(limit, empties), *_within(limit, all_calls))


def _within(limit: Limit, tally: Tally) -> tuple[str, bool]:
    share = tally.latencies.within(limit.limit_ms) / tally.calls if tally.calls else 0.0
    latency_ms = tally.latencies.percentile_ms(limit.share)
    return f"{share:.4%} within, p{100 * limit.share:g} is {latency_ms:.2f} ms", share >= limit.share


def _late_errors(most: int, seen: Seen, everything: Seen, *, empty_in_time: bool) -> Objective:
    """Return what holds of calls that were refused or given up for lateness.

    A bounded service refuses what it could not answer in time. While the empty handler is late as well, that is right.
    """

    def told(of: Seen) -> tuple[str, bool]:
        codes = _codes(of, late=True)
        return told_errors(codes), codes.total() <= most

    empty = told_errors(seen.empties.codes)
    return Objective(
        f"at most {most} calls refused or given up",
        *told(seen),
        empty if empty_in_time else f"{empty}, but late",
        empty_in_time,
        *told(everything),
    )


def _faults(sla: Sla, everything: Seen) -> tuple[Objective, Objective]:
    """Return what holds of all that no stall excuses."""
    codes = _codes(everything, late=False)
    calls = total((everything.scores, everything.durable))
    share = 1.0 - calls.partial / calls.answered if calls.answered else 0.0
    errors = told_errors(codes), codes.total() - codes["OK"] <= sla.max_errors
    whole = f"{share:.4%} ({calls.degraded:,} degraded, {calls.unrecorded:,} not recorded)", share >= sla.whole_share
    empty = told_errors(everything.empties.codes)
    return (
        Objective(f"at most {sla.max_errors} other errors", *errors, empty, True, *errors),
        Objective(f"{100 * sla.whole_share:g} % of answers lack nothing", *whole, "", True, *whole),
    )


def _codes(seen: Seen, *, late: bool) -> Counter[str]:
    codes = total((seen.scores, seen.durable)).codes
    return Counter({code: count for code, count in codes.items() if (code in LATE) == late})


def told_errors(codes: Counter[str]) -> str:
    """Return the calls without an answer, by the name of their status."""
    return ", ".join(f"{count:,} {code}" for code, count in codes.most_common() if code != "OK") or "none"
