"""Callers that ask on a schedule and throttle themselves, in numbers that `FraudClient` cannot send from one core.

Each is a connection with a `service.throttle.Throttle` of its own, which it asks and tells what `FraudClient` asks and
tells it. What an application asks comes by Poisson's law, whatever became of the asks before, and every latency counts
from the instant at which the ask was due. An ask that is sent costs some 30 µs here, one that is not costs 5. Two
simplifications: nothing is tried again, which `FraudClient` does for lost connections only; and a call that ends
without a reply counts as refused, as its status stands in a table of HPACK that nobody here keeps.
"""

from __future__ import annotations

import selectors
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import cycle
from random import Random
from typing import Final, NamedTuple, Self

from loadtest.arrivals import Arrivals
from loadtest.mix import SCORE
from loadtest.tally import Key, Tally
from service.throttle import Throttle
from tests.bench.pump import Connection

OK, REFUSED, THROTTLED, EXPIRED, UNSENT = "OK", "REFUSED", "THROTTLED", "EXPIRED", "UNSENT"
"""How an ask ended: with a reply in time; without one; by its own caller, at once; with a reply too late or with none
at the end; because its connection had no room."""

MAX_UNDER_WAY: Final = 100
"""Calls under way on one connection, fewer than the service allows; gRPC's own client would wait for one to end."""

_AT_ONCE: Final = 64
"""Asks of those that are due which are looked at before replies are: a generator that is late goes on listening."""

_LAST_S: Final = 1.0
"""Seconds for which the last replies are awaited."""


class Stage(NamedTuple):
    """So many asks a second, of all callers together, for so long."""

    name: str
    asks_per_s: float
    seconds: float


class _Caller:
    """A connection, its throttle, and what is to be sent."""

    def __init__(self, connection: Connection, throttle: Throttle) -> None:
        self.connection = connection
        self.throttle = throttle
        self.unsent: list[bytes] = []


class Callers:
    """Several callers of one server on this machine; closes their connections at the end of a `with` block."""

    def __init__(self, connections: Sequence[Connection], deadline_s: float, seed: int = 1) -> None:
        """Take connections, one for each; a reply later than `deadline_s` after the ask was due is none."""
        self._callers = [_Caller(one, Throttle()) for one in connections]
        self._deadline_s = deadline_s
        self._random = Random(seed)
        self._stages: list[tuple[float, str]] = []
        self._tallies: defaultdict[Key, Tally] = defaultdict(Tally)
        # Select waits for microseconds, where epoll rounds up to milliseconds.
        self._selector = selectors.SelectSelector()
        for caller in self._callers:
            self._selector.register(caller.connection.socket, selectors.EVENT_READ, caller)

    def __enter__(self) -> Self:
        """Do nothing: they are connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the connections."""
        self._selector.close()
        for caller in self._callers:
            caller.connection.socket.close()

    def ask(self, messages: Sequence[bytes], stages: Sequence[Stage]) -> dict[Key, Tally]:
        """Ask stage after stage, with these messages again and again; returns what became of the asks of each second.

        Nothing lies between two stages, and what a caller learned in one it knows in the next.
        """
        endless = cycle(messages)
        for stage in stages:
            self._follow(stage, endless)
        until_s = time.monotonic() + _LAST_S
        while any(caller.connection.waiting for caller in self._callers) and time.monotonic() < until_s:
            self._listen(until_s - time.monotonic())
        for caller in self._callers:
            for due_s in caller.connection.waiting.values():
                self._count(EXPIRED, due_s, time.monotonic())
        return dict(self._tallies)

    def _follow(self, stage: Stage, messages: Iterator[bytes]) -> None:
        begun_s = time.monotonic()
        until_s = begun_s + stage.seconds
        self._stages.append((begun_s, stage.name))
        arrivals = Arrivals(stage.asks_per_s, "poisson", begun_s, seed=len(self._stages))
        while arrivals.due_s < until_s:
            for _ in range(_AT_ONCE):
                now_s, due_s = time.monotonic(), arrivals.due_s
                if due_s > now_s or due_s >= until_s:
                    break
                self._ask(self._random.choice(self._callers), messages, due_s, now_s)
                arrivals.advance()
            for caller in self._callers:
                if caller.unsent:
                    caller.connection.socket.sendall(b"".join(caller.unsent))
                    caller.unsent.clear()
            self._listen(min(arrivals.due_s, until_s) - time.monotonic())

    def _ask(self, caller: _Caller, messages: Iterator[bytes], due_s: float, now_s: float) -> None:
        """Do what `FraudClient` does when it is asked."""
        if caller.throttle.refuses(self._random.random()):
            self._count(THROTTLED, due_s, now_s)
        elif len(caller.connection.waiting) >= MAX_UNDER_WAY:
            self._count(UNSENT, due_s, now_s)
        else:
            caller.unsent.append(caller.connection.call(next(messages), due_s))

    def _listen(self, wait_s: float) -> None:
        """Take what comes, and wait for it no longer than this."""
        for key, _ in self._selector.select(max(wait_s, 0.0)):
            caller: _Caller = key.data
            caller.connection.receive()
            for due_s, ended_s, replied in caller.connection.ended:
                caller.throttle.ended(taken=replied)
                in_time = ended_s - due_s <= self._deadline_s
                self._count((OK if in_time else EXPIRED) if replied else REFUSED, due_s, ended_s)
            caller.connection.ended.clear()

    def _count(self, code: str, due_s: float, ended_s: float) -> None:
        """Count an ask in the second and the stage in which it was due."""
        begun_s, name = next(stage for stage in reversed(self._stages) if stage[0] <= due_s)
        tally = self._tallies[Key(name, int(due_s - begun_s), SCORE)]
        tally.codes[code] += 1
        (tally.latencies if code == OK else tally.failures).note(ended_s - due_s)
