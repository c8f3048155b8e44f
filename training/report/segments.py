"""Is anyone treated worse? Error rates of named segments against those of everybody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from service.core.features import Feature
from training.report.judged import Flags, JudgedRows
from training.report.shares import Question, Share, Shares, shares
from training.report.words import percent

NEW_DAYS: Final = 30
_TENURE_HALF_DAYS: Final = 180.0
_NEW: Final = NEW_DAYS / (NEW_DAYS + _TENURE_HALF_DAYS)
"""What the tenure features are for somebody who came a month ago."""

_CLEARLY: Final = 1.25
"""How many times the rate of the others is worth a sentence, when it is no accident."""

_EARNED: Final = 1.5
"""How far a rate may run ahead of how much more frequent fraud is, which is itself known only roughly."""

_LEAST_HITS: Final = 5
_LEAST_ROWS: Final = 30


class Segment(NamedTuple):
    """Purchases that belong together, by name, and what that name means."""

    name: str
    meaning: str
    rows: Flags


class Treatment(NamedTuple):
    """How a segment is treated: what of its honest purchases is stopped or declined, what of its fraud gets through."""

    segment: Segment
    purchases: int
    frauds: int
    stopped: Share
    declined: Share
    missed: Share
    said: float
    """The mean score."""
    was: Share
    """The share of fraud; scores are fair to a segment when both agree."""


class Finding(NamedTuple):
    """A sentence on a segment that is treated clearly worse, and whether how frequent fraud is there is why."""

    sentence: str
    earned: bool


class Fairness(NamedTuple):
    """Every segment, a sentence for each that is treated clearly worse than the others, and what cannot be told."""

    treatments: Sequence[Treatment]
    findings: Sequence[Finding]
    untold: Sequence[str]


def segments_of(judged: JudgedRows, features: Sequence[Feature]) -> list[Segment]:
    """Return the segments that these rows can tell apart."""
    columns = {feature.name: judged.matrix[:, at] for at, feature in enumerate(features)}
    found = []
    for noun in ("user", "seller"):
        tenure = columns.get(f"{noun}_tenure")
        if tenure is not None:
            new = ~(tenure > _NEW)  # unknown is as new as can be
            found += [
                Segment(f"new {noun}s", f"registered or first seen in the last {NEW_DAYS} days", new),
                Segment(f"established {noun}s", f"here for more than {NEW_DAYS} days", ~new),
            ]
    if judged.seller is not None and judged.seller.size:
        found += _by_size(judged)
    low, high = np.quantile(judged.amount_minor, (1 / 3, 2 / 3))
    amounts = judged.amount_minor
    found += [
        Segment("low prices", f"up to {low / 100:,.2f}", amounts <= low),
        Segment("middle prices", f"up to {high / 100:,.2f}", (amounts > low) & (amounts <= high)),
        Segment("high prices", f"above {high / 100:,.2f}", amounts > high),
    ]
    return [segment for segment in found if segment.rows.any()]


def _by_size(judged: JudgedRows) -> list[Segment]:
    """Return small and large sellers: the small ones are those that make a third of the purchases together."""
    assert judged.seller is not None, "the caller looked"
    _, place, sales = np.unique(judged.seller, return_inverse=True, return_counts=True)
    of_seller = sales[place]
    most = int(np.quantile(of_seller, 1 / 3, method="inverted_cdf"))
    small = of_seller <= most
    return [
        Segment("small sellers", f"at most {most} of these purchases each", small),
        Segment("large sellers", f"more than {most} of these purchases each", ~small),
    ]


def fairness_of(judged: JudgedRows, segments: Sequence[Segment], review: float, decline: float, seed: int) -> Fairness:
    """Return how each segment is treated with these thresholds, next to everybody.

    A segment is treated clearly worse when its rate lies a quarter above that of all others, with 95 %
    certainty (bootstrap over cards), and rests on at least 5 cases among 30.
    """
    everybody = Segment("everybody", "all judged purchases", np.ones_like(judged.fraud))
    whole = [everybody, *segments]
    sides = [_questions(judged, rows, review, decline) for one in whole for rows in (one.rows, ~one.rows)]
    answers = shares([question for side in sides for question in side], judged, seed)
    treatments = [
        _treatment(judged, segment, answers.each[at : at + _ASKED])
        for at, segment in zip(range(0, 2 * _ASKED * len(whole), 2 * _ASKED), whole, strict=True)
    ]
    findings = [
        finding
        for at, segment in enumerate(segments, start=1)
        for finding in _findings(segment, answers, 2 * _ASKED * at)
    ]
    findings += [finding for one in treatments[1:] for finding in _overstated(one, treatments[0])]
    untold = [] if judged.seller is not None else ["Small sellers cannot be told apart: these rows name no sellers."]
    return Fairness(treatments, findings, untold)


_MISSED: Final = "Fraud against {name} gets through {more} other fraud: {here} against {there}."
_WORSE: Final = (
    "Honest purchases of {name} are stopped {more} the others: {here} against {there}.",
    "Honest purchases of {name} are declined {more} the others: {here} against {there}.",
    _MISSED,
)
_ASKED: Final = len(_WORSE) + 1
"""What is asked of each segment, and then of those outside of it: these, and last what share is fraud."""


def _questions(judged: JudgedRows, rows: Flags, review: float, decline: float) -> list[Question]:
    fraud, honest = rows & judged.fraud, rows & ~judged.fraud
    stopped, declined = judged.scores >= review, judged.scores >= decline
    return [
        Question(honest & stopped, honest),
        Question(honest & declined, honest),
        Question(fraud & ~stopped, fraud),
        Question(fraud, rows),
    ]


def _treatment(judged: JudgedRows, segment: Segment, rates: Sequence[Share]) -> Treatment:
    stopped, declined, missed, was = rates
    weight = judged.weights[segment.rows]
    return Treatment(
        segment,
        purchases=int(segment.rows.sum()),
        frauds=int(judged.fraud[segment.rows].sum()),
        stopped=stopped,
        declined=declined,
        missed=missed,
        said=float(weight @ judged.scores[segment.rows] / weight.sum()),
        was=was,
    )


def _findings(segment: Segment, answers: Shares, at: int) -> Iterator[Finding]:
    """Yield what is clearly worse; the segment's answers stand from `at` on, then those of the others."""
    inside, outside = answers.each[at : at + _ASKED], answers.each[at + _ASKED : at + 2 * _ASKED]
    frequency = _times(inside[-1].found.value, outside[-1].found.value)
    for number, sentence in enumerate(_WORSE):
        one, other = inside[number], outside[number]
        if min(one.of, other.of) < _LEAST_ROWS or one.hits < _LEAST_HITS:
            continue
        times = _times(one.found.value, other.found.value)
        if times < _CLEARLY or not answers.difference(at + number, at + number + _ASKED).low > 0.0:
            continue
        more = "far more often than" if np.isinf(times) else f"{times:.1f} times as often as"
        rates = percent(one.found.value), percent(other.found.value)
        told = sentence.format(name=segment.name, more=more, here=rates[0], there=rates[1])
        yield _weighed(told, frequency, times, missed=sentence is _MISSED)


def _weighed(told: str, frequency: float, times: float, *, missed: bool) -> Finding:
    """Return a finding with how frequent fraud is there, and whether that is why."""
    if np.isinf(frequency):
        return Finding(told, earned=False)
    because = f"{told} Fraud is {frequency:.1f} times as frequent there, "
    if missed:
        rarer = frequency < 1.0
        return Finding(because + "which makes it harder to find." if rarer else told, earned=rarer)
    earned = times <= _EARNED * frequency
    return Finding(because + ("which accounts for it." if earned else "which does not account for it."), earned)


def _overstated(one: Treatment, everybody: Treatment) -> Iterator[Finding]:
    """Yield it when scores say clearly more fraud than there was, by more than they do of everybody."""
    found = one.was.found
    usual = max(_times(everybody.said, everybody.was.found.value), 1.0)
    if one.purchases >= _LEAST_ROWS and one.said > max(found.high, _CLEARLY * usual * found.value):
        told, was, high = percent(one.said), percent(found.value), percent(found.high)
        yield Finding(
            f"The score overstates fraud of {one.segment.name}: {told} on average, {was} was, at most {high}.", False
        )


def _times(one: float, other: float) -> float:
    """Return how many times the other one is, infinite when that is nothing."""
    return one / other if other > 0.0 else np.inf if one > 0.0 else 1.0
