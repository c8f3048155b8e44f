"""The service level: what must hold of the calls of a run, and whether it did.

Two promises, because two things take time. A score is computed, and the service answers for every microsecond of it.
What is to be durable when it is answered waits for a disk besides, or for a cluster: `score(record=true)` and `Record`.

A shared machine stalls by itself now and then, and a service cannot answer while it does. So every run calls an empty
handler in the same seconds, through the same generator, and what that one misses too is nobody's fault: the run is
void and says so. What the service misses and the empty handler holds, is the service's.
"""

from __future__ import annotations

from collections import Counter
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


class Seen(NamedTuple):
    """The calls of a run, by what they waited for."""

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
    holds: bool
    empty_seen: str
    """The same of the empty handler; "" where it cannot miss it."""
    empty_holds: bool


class Judgement(NamedTuple):
    """The verdict with its reasons."""

    verdict: Verdict
    sentence: str
    objectives: tuple[Objective, ...]


LATE: Final = frozenset({"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNSENT"})
"""Statuses of calls that were refused because too many waited, or given up because their time was over."""

_CALLS_BEYOND: Final = 10
"""Scores that a limit must allow to be longer, for a share to say anything: 10,000 of them for 99.9 %."""


def judge(sla: Sla, seen: Seen) -> Judgement:
    """Judge the calls of a run by those that an empty handler got in the same seconds."""
    scores, durable, empties = seen
    calls = total((scores, durable))
    limits = (
        *(_limit("scores", limit, scores, empties) for limit in sla.limits),
        *(
            _limit("calls that wait to be durable", limit, durable, empties)
            for limit in sla.durable_limits
            if durable.calls >= 1 / (1 - limit.share)
        ),
    )
    empty_in_time = all(one.empty_holds for one in limits) and not empties.errors
    objectives = (*limits, *_errors(sla.max_errors, calls, empties, empty_in_time), _whole(sla.whole_share, calls))
    strictest = max(limit.share for limit in sla.limits)
    wanted = round(_CALLS_BEYOND / (1 - strictest)), round(1 / (1 - strictest))
    if scores.calls < wanted[0] or empties.calls < wanted[1]:
        sentence = (
            f"{scores.calls:,} scores and {empties.calls:,} empty calls are too few to tell {strictest:.1%}: "
            f"{wanted[0]:,} and {wanted[1]:,} are needed"
        )
        return Judgement(Verdict.VOID, sentence, objectives)
    missed = [one for one in objectives if not one.holds]
    if not missed:  # what the empty handler missed meanwhile is no matter: the service held all the same
        return Judgement(Verdict.PASS, f"all that was promised holds for {calls.calls:,} calls", objectives)
    own = [one for one in missed if one.empty_holds]
    if own:
        return Judgement(Verdict.FAIL, "missed: " + "; ".join(f"{one.wanted}: {one.seen}" for one in own), objectives)
    sentence = "the empty handler missed the same, so the machine did not give what it takes: run it again"
    return Judgement(Verdict.VOID, sentence, objectives)


def _limit(what: str, limit: Limit, calls: Tally, empties: Tally) -> Objective:
    (seen, holds), (empty_seen, empty_holds) = _within(limit, calls), _within(limit, empties)
    return Objective(
        f"{100 * limit.share:g} % of {what} within {limit.limit_ms:g} ms", seen, holds, empty_seen, empty_holds
    )


def _within(limit: Limit, tally: Tally) -> tuple[str, bool]:
    share = tally.latencies.within(limit.limit_ms) / tally.calls if tally.calls else 0.0
    latency_ms = tally.latencies.percentile_ms(limit.share)
    return f"{share:.4%} within, p{100 * limit.share:g} is {latency_ms:.2f} ms", share >= limit.share


def _errors(most: int, calls: Tally, empties: Tally, empty_in_time: bool) -> tuple[Objective, Objective]:  # noqa: FBT001
    """Return what holds of calls that were refused or given up for lateness, and of those that failed otherwise.

    A bounded service refuses what it could not answer in time. While the empty handler is late as well, that is right.
    """
    late = Counter({code: count for code, count in calls.codes.items() if code in LATE})
    other = Counter({code: count for code, count in calls.codes.items() if code not in LATE})
    empty = told_errors(empties.codes)
    return (
        Objective(
            f"at most {most} calls refused or given up",
            told_errors(late),
            late.total() <= most,
            empty if empty_in_time else f"{empty}, but late",
            empty_in_time,
        ),
        Objective(
            f"at most {most} other errors",
            told_errors(other),
            other.total() - other["OK"] <= most,
            empty,
            empty_holds=not empties.errors,
        ),
    )


def told_errors(codes: Counter[str]) -> str:
    """Return the calls without an answer, by the name of their status."""
    return ", ".join(f"{count:,} {code}" for code, count in codes.most_common() if code != "OK") or "none"


def _whole(wanted: float, calls: Tally) -> Objective:
    share = 1.0 - calls.partial / calls.answered if calls.answered else 0.0
    seen = f"{share:.4%} ({calls.degraded:,} degraded, {calls.unrecorded:,} not recorded)"
    return Objective(f"{100 * wanted:g} % of answers lack nothing", seen, share >= wanted, "", empty_holds=True)
