"""What is noted while a person is being forgotten, so that it can be finished when it was broken off.

It leads to the person, with the secret that erased ids are made with, and so it goes at the end.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.receipts import Counts
from service.store.papers import Papers
from service.store.protocol import Entry

FORGETTING: Final = "forgetting"
"""The folder of papers with what is under way, by person."""

PURCHASES: Final = "forgetting-purchases"
"""The folder of papers with the purchases of persons who are being forgotten."""

PAPER_IDS: Final = 1000
"""Ids of purchases that are noted in one paper."""

_SECRET_BYTES: Final = 32


class State(BaseModel):
    """What is under way.

    The lists hold what is being erased right now: noted before it is begun, and perhaps not finished. What is noted
    as counted is counted once, however often it is tried.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    secret: str
    """In hex."""
    receipt: str
    """The id of the receipt that will be written."""
    why: str
    who: str
    cards: dict[str, bool] = Field(default_factory=dict)
    """The person's cards, and whether each is the person's alone."""
    events: list[Entry] = Field(default_factory=list)
    given_up: list[Entry] = Field(default_factory=list)
    decisions: list[Entry] = Field(default_factory=list)
    parked: dict[str, str] = Field(default_factory=dict)
    """Events, and the purchases that they wait for."""
    mended: set[str] = Field(default_factory=set)
    """Shared cards whose profiles knew the person."""
    dropped: set[str] = Field(default_factory=set)
    """Profiles that there were."""
    counts: Counts = Field(default_factory=Counts)


class Notes:
    """The notes about one person, in the papers of the store. Every method raises StoreUnavailable."""

    def __init__(self, papers: Papers, person: str, receipt: str, why: str, who: str) -> None:
        """Go on from what was broken off, or begin."""
        self._papers = papers
        self._person = person
        begun = State(secret=secrets.token_hex(_SECRET_BYTES), receipt=receipt, why=why, who=who)
        there = papers.add(FORGETTING, person, begun.model_dump_json().encode())
        self.state = State.model_validate_json(there)

    def keep(self) -> None:
        """Make what the state says durable."""
        self._papers.put(FORGETTING, self._person, self.state.model_dump_json().encode())

    def add_purchases(self, ids: Sequence[str]) -> None:
        """Note purchases before they are rewritten: what only names one of them is the person's, too."""
        taken = len(self._names())
        for number, first in enumerate(range(0, len(ids), PAPER_IDS), taken + 1):
            paper = json.dumps(ids[first : first + PAPER_IDS]).encode()
            self._papers.put(PURCHASES, f"{self._person}-{number:06d}", paper)

    def purchases(self) -> set[str]:
        """Return the purchases that were noted."""
        papers = [self._papers.get(PURCHASES, name) for name in self._names()]
        return {id_ for paper in papers if paper for id_ in json.loads(paper)}

    def drop(self) -> None:
        """Let go of all of it; the secret last, so that what is left can still be found."""
        for name in self._names():
            self._papers.drop(PURCHASES, name)
        self._papers.drop(FORGETTING, self._person)

    def _names(self) -> list[str]:
        return [name for name in self._papers.names(PURCHASES) if name.startswith(self._person)]
