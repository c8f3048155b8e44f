"""Client-side throttling: calls that the service would most likely refuse are refused by the client, at once.

To refuse a call costs the service a third of a score on the embedded store, so callers that go on asking twice as
much as can be answered take half of the answers from one another. Each client therefore keeps to what it was given
lately, and a little more, by which it learns when there is room again:
https://sre.google/sre-book/handling-overload/#client-side-throttling-a7sYUg

By that rule alone a client that was held to half of its calls takes more than six half-lives to send all of them again:
what it does not send is not taken in, and so speaks against the next one. So it forgets the past when nothing was
refused for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SLACK: Final = 1.1
"""Calls that are sent for each that was taken in lately: of eleven, one may find out whether there is room."""

HALF_LIFE_S: Final = 1.0
"""Seconds after which what happened counts half."""

RUN: Final = 20
"""So many calls taken in one after the other. A service without room, which refuses one of eleven, takes in as many
now and then (of 100 times that it refuses one, 15); what is sent in vain then is a few calls, until it refuses one."""

RUN_S: Final = 0.25
"""And for so long: refusals come in crowds, one at each turn of the queue, which is a few milliseconds long."""

FEW: Final = 10.0
"""So few calls tell little: one that is refused does not stop the next."""


class Throttle:
    """Remembers how many calls were asked for and how many the service took in.

    Threads may lose one another's note: it is a measure, no account. Cost: 0.5 µs a call.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing refused."""
        self._clock = clock
        self._asked = 0.0
        self._taken = 0.0
        self._at_s = clock()
        self._run = 0
        self._refused_s = self._at_s

    def refuses(self, chance: float) -> bool:
        """Return whether a call is not to be sent, for a random number below 1."""
        excess = self._asked - SLACK * self._taken
        if excess <= 0 or chance >= excess / (self._asked + FEW):
            return False
        self._note()
        return True

    def ended(self, *, taken: bool) -> None:
        """Take note of a call that was sent: whether the service took it in, whatever became of it then."""
        now_s = self._note()
        if not taken:
            self._run, self._refused_s = 0, now_s
            return
        self._taken += 1.0
        self._run += 1
        if self._run >= RUN and now_s - self._refused_s >= RUN_S and self._asked > self._taken:
            self._asked = self._taken = 0.0

    def _note(self) -> float:
        """Count a call that was asked for, and let what happened before fade; returns the time."""
        now_s = self._clock()
        if now_s - self._at_s > HALF_LIFE_S / 8:
            kept = 0.5 ** ((now_s - self._at_s) / HALF_LIFE_S)
            self._asked *= kept
            self._taken *= kept
            self._at_s = now_s
        self._asked += 1.0
        return now_s
