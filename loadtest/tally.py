"""Tallies: what became of the calls of one kind that were due in one second of one stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from loadtest.latencies import Latencies


class Key(NamedTuple):
    """What a tally is of."""

    stage: str
    second: int
    """Since the stage began, by when the calls were due."""
    kind: str


class Tally:
    """Counts of one kind of call; what answered late counts in the second in which it was due."""

    __slots__ = ("codes", "decisions", "degraded", "failures", "latencies", "unrecorded", "words")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.latencies = Latencies()
        """Of answered calls, from the instant at which they were due."""
        self.failures = Latencies()
        """Of the others, until it was told that they have none."""
        self.codes: Counter[str] = Counter()
        """Calls by the name of their status; UNSENT are those that the generator had no room for."""
        self.words: dict[str, str] = {}
        """What the first of the calls with each code was told, of those without an answer."""
        self.decisions: Counter[str] = Counter()
        """Answers by their decision: what is not approved is explained, which costs more than its score."""
        self.degraded = 0
        """Answers that lack a profile which could not be read."""
        self.unrecorded = 0
        """Answers that did not record what they were asked to."""

    @property
    def calls(self) -> int:
        """Return how many calls were due."""
        return self.codes.total()

    @property
    def answered(self) -> int:
        """Return how many were answered."""
        return self.codes["OK"]

    @property
    def errors(self) -> int:
        """Return how many were not."""
        return self.calls - self.answered

    @property
    def partial(self) -> int:
        """Return how many answers lack something that was asked for."""
        return self.degraded + self.unrecorded

    def add(self, other: Tally) -> None:
        """Count all that another one counted."""
        self.latencies.add(other.latencies)
        self.failures.add(other.failures)
        self.codes.update(other.codes)
        self.words = other.words | self.words
        self.decisions.update(other.decisions)
        self.degraded += other.degraded
        self.unrecorded += other.unrecorded

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "latencies": self.latencies.to_plain(),
            "failures": self.failures.to_plain(),
            "codes": dict(self.codes),
            "words": self.words,
            "decisions": dict(self.decisions),
            "degraded": self.degraded,
            "unrecorded": self.unrecorded,
        }

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> Tally:
        """Return what `to_plain` was made of."""
        tally = cls()
        tally.latencies = Latencies.of_plain(plain["latencies"])
        tally.failures = Latencies.of_plain(plain["failures"])
        tally.codes, tally.decisions = Counter(plain["codes"]), Counter(plain["decisions"])
        tally.words = dict(plain["words"])
        tally.degraded, tally.unrecorded = plain["degraded"], plain["unrecorded"]
        return tally


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    whole = Tally()
    for one in tallies:
        whole.add(one)
    return whole
