"""The conductor's end of the generators: starts the processes, gives orders, gathers what they counted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from loadtest.generator import Order, Setup
from loadtest.tally import Key, Tally

ROOT: Final = Path(__file__).resolve().parents[1]
END_WITHIN_S: Final = 30.0
"""Seconds that a process gets to end once it was told to; then it is killed."""

Listener = Callable[[dict[Key, Tally]], None]


class Generators:
    """Generator processes that act as one: rates and calls in flight are shared out evenly."""

    def __init__(self, setups: list[Setup], listener: Listener | None = None) -> None:
        """Start a process for each setup and wait until it takes orders.

        `listener` is told what each report brought, in a thread of its own.
        """
        self.tallies: defaultdict[Key, Tally] = defaultdict(Tally)
        """All that was counted. Complete once `stop` returned; till then read it through `of_stage`."""
        self.max_lag_ms = 0.0
        """How late a call was sent, at most; every latency counts from when it was due, so holds it already."""
        self._cpu_s = [0.0] * len(setups)
        self._in_flight = [0] * len(setups)
        self._listener = listener
        self._gathering = threading.Lock()
        self._processes = [_process("loadtest.generator") for _ in setups]
        self._threads = []
        for process, setup in zip(self._processes, setups, strict=True):
            plain = asdict(setup) | {"target": setup.target._asdict()}
            _tell(process, plain)
        for number, process in enumerate(self._processes):
            assert process.stdout is not None
            assert process.stdout.readline(), "a generator did not start; it said why on the error output"
            thread = threading.Thread(target=self._gather, args=(number, process), daemon=True)
            thread.start()
            self._threads.append(thread)

    def follow(self, order: Order) -> None:
        """Have all do something else from now on."""
        count = len(self._processes)
        for number, process in enumerate(self._processes):
            in_flight = order.in_flight // count + (number < order.in_flight % count)
            share = replace(order, in_flight=in_flight, rate=order.rate / count, empty_rate=order.empty_rate / count)
            _tell(process, asdict(share))

    def of_stage(self, stage: str) -> dict[Key, Tally]:
        """Return what was counted of a stage up to now, as a copy."""
        with self._gathering:
            found: dict[Key, Tally] = {}
            for key, tally in self.tallies.items():
                if key.stage == stage:
                    found[key] = Tally()
                    found[key].add(tally)
            return found

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds that the processes have used."""
        return sum(self._cpu_s)

    @property
    def in_flight(self) -> int:
        """Return how many calls were under way at the last report."""
        return sum(self._in_flight)

    def stop(self) -> None:
        """End the processes, once every call has ended."""
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        until_s = time.monotonic() + END_WITHIN_S
        for process, thread in zip(self._processes, self._threads, strict=True):
            thread.join(max(until_s - time.monotonic(), 0.1))
            _end(process)

    def _gather(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            report = json.loads(line)
            news = {Key(*key): Tally.of_plain(tally) for *key, tally in report["tallies"]}
            with self._gathering:
                self._cpu_s[number] = report["cpu_s"]
                self._in_flight[number] = report["in_flight"]
                self.max_lag_ms = max(self.max_lag_ms, report["max_lag_ms"])
                for key, tally in news.items():
                    self.tallies[key].add(tally)
            if self._listener is not None and news:
                self._listener(news)


@contextmanager
def empty_handler(*prefix: str) -> Iterator[str]:
    """Run the empty handler in a process of its own; gives its host:port. `prefix` goes before its command."""
    process = _process("loadtest.empty", *prefix)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        _end(process)


@contextmanager
def generators(setups: list[Setup], listener: Listener | None = None) -> Iterator[Generators]:
    """Run generators that are ended whatever happens."""
    running = Generators(setups, listener)
    try:
        yield running
    finally:
        running.stop()


def _process(module: str, *prefix: str) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-m", module]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)  # noqa: S603  our own module


def _tell(process: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()
