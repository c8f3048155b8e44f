"""The generator: a process that sends calls on a schedule and counts how they end.

It takes orders as lines of JSON on its input and reports as lines of JSON on its output, so that whatever conducts
it (locust and its greenlets, or a soak) cannot slow it down. `loadtest.generators` is the other end.

Threads: the main one takes orders, one sends, one for each line receives, one reports.
"""

from __future__ import annotations

import gc
import json
import math
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from loadtest.arrivals import Arrivals, Spacing
from loadtest.line import Answer, Line, Target
from loadtest.mix import EMPTY, RECORD, SCORE, SCORE_RECORD, Asks, Mix
from loadtest.tally import Key, Tally
from service.pb import fraud_pb2 as pb
from service.scheduling import give_way

SCORE_METHOD: Final = "/fraud.v1.FraudScoring/Score"
RECORD_METHOD: Final = "/fraud.v1.EventIngest/Record"
METHODS: Final = {SCORE: SCORE_METHOD, SCORE_RECORD: SCORE_METHOD, RECORD: RECORD_METHOD, EMPTY: SCORE_METHOD}

MAX_IN_FLIGHT: Final = 10_000
"""Calls under way at once; a call that is due beyond it is UNSENT."""

SWITCH_S: Final = 0.0001
"""Seconds for which a thread that counts answers keeps the interpreter from the one that sends; Python's 5 milliseconds
made calls late by as much, which is all that a score is promised."""

REPORT_EVERY_S: Final = 0.5
LONGEST_SLEEP_S: Final = 0.02
"""Longest sleep of the sender, after which it looks for a new order."""

_TAKEN_IN: Final = frozenset({pb.APPLIED, pb.DUPLICATE, pb.LATE, pb.PARKED})
_STOP: Final = "stop"


@dataclass(frozen=True)
class Setup:
    """What a generator is told before it begins."""

    target: Target
    empty: str
    """host:port of the empty handler."""
    name: str
    """Of its calls: purchase ids begin with it."""
    seed: int
    lines: int = 2
    deadline_ms: int = 1_000
    spacing: Spacing = "poisson"
    mix: Mix = field(default_factory=Mix)


@dataclass(frozen=True)
class Order:
    """What to send until the next order comes."""

    stage: str
    in_flight: int = 0
    """Closed loop: so many calls under way at every instant, each followed by the next one."""
    rate: float = 0.0
    """Open loop: calls a second, whatever becomes of them."""
    empty_rate: float = 0.0
    """Calls a second to the empty handler, in the same loop."""


class Sent:
    """A call under way."""

    __slots__ = ("due_s", "key")

    def __init__(self, key: Key, due_s: float) -> None:
        """Take note of it."""
        self.key = key
        self.due_s = due_s


class Generator:
    """Sends and counts."""

    def __init__(self, setup: Setup) -> None:
        """Make the lines."""
        self._asks = Asks(setup.mix, setup.name, setup.seed)
        self._asking = threading.Lock()
        self._lines = [Line(setup.target, (SCORE_METHOD, RECORD_METHOD)) for _ in range(setup.lines)]
        self._empty = Line(Target(setup.empty), (SCORE_METHOD,))
        self._deadline_s = setup.deadline_ms / 1000
        self._setup = setup
        self._order = Order("rest")
        self._begun_s = time.monotonic()
        self._turn = 0
        self._in_flight = 0
        self._counting = threading.Lock()
        self._tallies: defaultdict[Key, Tally] = defaultdict(Tally)
        self._max_lag_s = 0.0
        self._stopping = threading.Event()
        self._receivers = [
            threading.Thread(target=self._receive, args=(line,), daemon=True) for line in (*self._lines, self._empty)
        ]
        self._sender = threading.Thread(target=self._send_all, daemon=True)

    def start(self) -> None:
        """Begin to take part; the first order rests."""
        for thread in (*self._receivers, self._sender):
            thread.start()

    def follow(self, order: Order) -> None:
        """Do something else from now on."""
        self._order = order

    def stop(self) -> None:
        """Send no more and wait for what is under way, which every call's deadline bounds."""
        self._stopping.set()
        self._sender.join()
        for line in (*self._lines, self._empty):
            line.send(SCORE_METHOD, b"", time.time() + self._deadline_s, _STOP)
        for thread in self._receivers:
            thread.join(2 * self._deadline_s + 1.0)

    def report(self) -> dict[str, Any]:
        """Return what was counted since the last report, and how the generator itself fares."""
        with self._counting:
            tallies, self._tallies = self._tallies, defaultdict(Tally)
            lag_s, self._max_lag_s = self._max_lag_s, 0.0
        return {
            "tallies": [[*key, tally.to_plain()] for key, tally in tallies.items()],
            "in_flight": self._in_flight,
            "max_lag_ms": lag_s * 1000,
            "cpu_s": time.process_time(),
        }

    # --- sending --------------------------------------------------------------------------------

    def _send_all(self) -> None:
        while not self._stopping.is_set():
            order = self._order
            self._begun_s = time.monotonic()
            if order.rate > 0:
                self._send_open(order)
            elif order.in_flight > 0:
                self._send_closed(order)
            else:
                time.sleep(LONGEST_SLEEP_S)

    def _send_open(self, order: Order) -> None:
        """Send by two schedules, the service's and the empty handler's, until the order changes."""
        spacing, begun_s, seed = self._setup.spacing, self._begun_s, self._setup.seed
        calls = Arrivals(order.rate, spacing, begun_s, seed)
        empties = Arrivals(max(order.empty_rate, 1e-9), spacing, begun_s if order.empty_rate else 1e18, seed + 1)
        until_s = math.inf
        while True:
            if until_s == math.inf and (order is not self._order or self._stopping.is_set()):
                until_s = time.monotonic()  # what is due by now is still sent, however late
            to_empty = empties.due_s < calls.due_s
            arrivals = empties if to_empty else calls
            if arrivals.due_s > until_s:
                return
            wait_s = arrivals.due_s - time.monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, LONGEST_SLEEP_S))
                continue
            self._max_lag_s = max(self._max_lag_s, -wait_s)
            self._send(order, arrivals.due_s, to_empty=to_empty)
            arrivals.advance()

    def _send_closed(self, order: Order) -> None:
        """Fill up to the number of calls in flight; the receivers send one for each that ends."""
        while order is self._order and not self._stopping.is_set():
            if self._in_flight < order.in_flight:
                self._send(order, time.monotonic(), to_empty=False)
            else:
                time.sleep(LONGEST_SLEEP_S)

    def _send(self, order: Order, due_s: float, *, to_empty: bool) -> None:
        second = int(due_s - self._begun_s)
        if to_empty:
            kind, message, line = EMPTY, b"", self._empty
        else:
            with self._asking:
                kind, message = self._asks.take()
                self._turn = (self._turn + 1) % len(self._lines)
            line = self._lines[self._turn]
        key = Key(order.stage, second, kind)
        with self._counting:
            if self._in_flight >= MAX_IN_FLIGHT:
                self._tallies[key].codes["UNSENT"] += 1
                return
            self._in_flight += 1
        line.send(METHODS[kind], message, time.time() + self._deadline_s, Sent(key, due_s))

    # --- receiving ------------------------------------------------------------------------------

    def _receive(self, line: Line) -> None:
        give_way()  # an answer that came waits its turn; a call that is due does not
        while True:
            answer = line.receive()
            if answer.tag is _STOP:
                return
            self._count(answer, time.monotonic())
            order = self._order
            # A burst of empty ends must not outrun the schedule: only a closed loop sends from here.
            if order.in_flight and not order.rate and self._in_flight < order.in_flight:
                self._send(order, time.monotonic(), to_empty=False)

    def _count(self, answer: Answer, now_s: float) -> None:
        sent: Sent = answer.tag
        kind, code = sent.key.kind, answer.code
        degraded = unrecorded = False
        decision = ""
        if code == "OK":
            if kind == RECORD:
                outcomes = pb.RecordResponse.FromString(answer.message).outcomes
                unrecorded = any(one.status not in _TAKEN_IN for one in outcomes)
            elif kind != EMPTY:
                response = pb.ScoreResponse.FromString(answer.message)
                degraded, decision = response.degraded, pb.Decision.Name(response.decision)
                unrecorded = kind == SCORE_RECORD and not response.recorded
        with self._counting:
            self._in_flight -= 1
            tally = self._tallies[sent.key]
            tally.codes[code] += 1
            if code == "OK":
                tally.latencies.note(now_s - sent.due_s)
                tally.degraded += degraded
                tally.unrecorded += unrecorded
                if decision:
                    tally.decisions[decision] += 1
            else:
                tally.failures.note(now_s - sent.due_s)
                tally.words.setdefault(code, answer.words)


# --- the process ----------------------------------------------------------------------------------


def tell(message: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(message, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Follow orders until the input ends."""
    plain = json.loads(sys.stdin.readline())
    setup = Setup(**plain | {"target": Target(**plain["target"]), "mix": Mix(**plain["mix"])})
    sys.setswitchinterval(SWITCH_S)
    generator = Generator(setup)
    ending = threading.Event()

    def report() -> None:
        while not ending.wait(REPORT_EVERY_S):
            tell(generator.report())

    reporter = threading.Thread(target=report)
    gc.collect()
    gc.freeze()
    generator.start()
    tell(generator.report())  # it is there and takes orders
    reporter.start()
    for line in sys.stdin:
        generator.follow(Order(**json.loads(line)))
    generator.stop()
    ending.set()
    reporter.join()
    tell(generator.report())


if __name__ == "__main__":
    main()
