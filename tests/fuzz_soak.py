"""A million mutated messages and raw bytes at the port: no crash, no INTERNAL, nothing told, memory flat.

    python -m tests.fuzz_soak [--messages 1000000] [--connections 20000] [--warm-up 200000] [--seed 1]

A worker grows until its profiles are full, what may be parked is, and its queues, the largest batches that it has in
hand and LMDB's list of changed pages have been as large as they get: that is what the warm-up is for. Memory is then
measured over all of the messages, and after each of several rounds of garbage: what the garbage takes while it comes
is told, what stays of it is judged.

Prints a table and a JSON summary; exit code 1 when a bar is missed. The same seed sends the same messages.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import grpc
from rich.console import Console
from rich.table import Table

from service.callers import ROLES, Entry, add_caller, new_token, token_sha256
from service.client import FraudClient
from service.edge_settings import ServerSettings
from service.heap import TRIM_EVERY_S
from service.identity import Identity
from service.pb import fraud_pb2 as pb
from service.registry.promotion import promote
from tests.fuzz.garbage import throw
from tests.fuzz.messages import CARD, MARK, Call, Fuzzer
from tests.registry.build import build_artifact
from tests.running import Running, running

FORBIDDEN: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "ABORTED"})
IN_FLIGHT: Final = 64
THROWERS: Final = 4
SAMPLES: Final = 400
"""Looks at memory while messages are sent: each is off by a megabyte or two, by what is in hand just then."""

LARGEST: Final = 1000
"""One in so many calls of the warm-up is as large as a call may be, and all of those come first: memory that many of
them take at once, and that Python keeps, is as much as any later ones can take."""

ROUNDS: Final = 6
"""Rounds of garbage; the first is its warm-up."""

SETTLE_S: Final = TRIM_EVERY_S + 35.0
"""Seconds until what a round left behind is answered, or given up, and given back. The core keeps 140 bytes for
each connection for half a minute after its end, and they hold pages that are free else: 5 MB after 8,000 of them."""

GROWTH_KB: Final = 4096
"""Growth of memory over a part that is still noise: the allocator's arenas come in steps of a megabyte."""


class Part(NamedTuple):
    """What one part of the soak came to."""

    name: str
    sent: int
    codes: Counter[str]
    told: int
    """Answers whose text repeats an id."""
    seconds: float
    memory_kb: Sequence[int]
    """Anonymous memory of the worker, evenly over the part: without the store, which is mapped."""
    highest_kb: int
    """The most that it had at any look."""

    def growth_kb(self) -> float:
        """Return by how much memory grew over the part, by the straight line through all looks."""
        return slope(self.memory_kb) * max(len(self.memory_kb) - 1, 0)


def slope(values: Sequence[float]) -> float:
    """Return the slope of a straight line through values, by least squares."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in range(len(values)))
    return sum((at - middle) * (value - mean) for at, value in enumerate(values)) / spread if spread else 0.0


def anonymous_kb(process_id: int) -> int:
    """Return the memory that a process has for itself; pages of files, as the store's, are not in it."""
    for line in Path(f"/proc/{process_id}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
    raise AssertionError("the kernel tells no anonymous memory")


def send_messages(calls: Iterator[Call], target: str, worker: int, messages: int, name: str) -> Part:
    """Send so many messages, some at a time."""
    codes: Counter[str] = Counter()
    told, memory = 0, []
    free = threading.Semaphore(IN_FLIGHT)
    noting = threading.Lock()
    begun_s = time.monotonic()

    def done(call: Any) -> None:
        nonlocal told
        text = call.details() or ""
        with noting:
            codes[call.code().name] += 1
            told += MARK in text or CARD in text
        free.release()

    with grpc.insecure_channel(target, [("grpc.max_send_message_length", 1 << 24)]) as channel:
        methods: dict[str, Any] = {}
        for number, call in enumerate(islice(calls, messages)):
            if call.path not in methods:
                methods[call.path] = channel.unary_unary(call.path)
            free.acquire()
            future = methods[call.path].future(call.message, timeout=call.timeout_s, metadata=call.metadata)
            future.add_done_callback(done)
            if number % max(messages // SAMPLES, 1) == 0:
                memory.append(anonymous_kb(worker))
        for _ in range(IN_FLIGHT):
            free.acquire()
    return Part(name, messages, codes, told, time.monotonic() - begun_s, memory, max(memory, default=0))


def send_garbage(port: int, worker: int, connections: int, seed: int, rest_s: float) -> Part:
    """Throw bytes at the port, over several connections at a time, in rounds with a rest after each."""
    settled, highest, seconds = [], 0, 0.0
    each = connections // (ROUNDS * THROWERS)

    def throw_many(random: Random) -> None:
        for _ in range(each):
            throw(port, random)

    randoms = [Random(f"{seed}/{number}") for number in range(THROWERS)]
    for _ in range(ROUNDS):
        begun_s = time.monotonic()
        throwers = [threading.Thread(target=throw_many, args=(random,)) for random in randoms]
        for thrower in throwers:
            thrower.start()
        while any(thrower.is_alive() for thrower in throwers):
            highest = max(highest, anonymous_kb(worker))
            time.sleep(0.1)
        seconds += time.monotonic() - begun_s
        time.sleep(rest_s)
        settled.append(anonymous_kb(worker))
    return Part("garbage", each * ROUNDS * THROWERS, Counter(), 0, seconds, settled[1:], highest)


class Truth:
    """An answer that must stay the same whatever else is sent."""

    def __init__(self, service: Running, token: str) -> None:
        """Ask for the first time."""
        self._target = service.target
        self._identity = Identity(token)
        self.first = self._ask()

    def holds(self) -> bool:
        """Ask again."""
        return self._ask() == self.first

    def _ask(self) -> tuple[float, tuple[int, ...], int]:
        purchase = pb.Purchase(
            purchase_id="truth", user_id="nobody", amount_minor=1999, event_time_ms=1_783_987_200_000
        )
        with FraudClient(self._target, score_deadline_ms=30_000, identity=self._identity) as client:
            answer = client.score(purchase)
            return answer.score, tuple(answer.model_versions), client.lineup().workers[0].worker


def soak(
    folder: Path, messages: int, connections: int, warm_up: int, seed: int, *, rest_s: float = SETTLE_S
) -> tuple[list[Part], dict[str, Any]]:
    """Run the warm-up and both parts against a fresh service; returns them and what must hold of all."""
    promote(folder / "registry", build_artifact(folder / "registry", trees=50), "fuzz", "first")
    token = new_token()
    callers = folder / "callers.toml"
    add_caller(callers, Entry(name="fuzz", token_sha256=token_sha256(token), roles=frozenset(ROLES)), 10)
    environment = {"FRAUD_ACCESS__CALLERS_PATH": str(callers), "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": str(1 << 33)}
    with running(folder, 1, **environment) as service:
        truth = Truth(service, token)
        worker = truth.first[2]
        fuzzer, bounds = Fuzzer(seed, token, int(time.time() * 1000)), ServerSettings()
        largest = fuzzer.largest(bounds.max_batch_events, bounds.max_batch_purchases)
        first = chain(islice(largest, warm_up // LARGEST), fuzzer.calls())
        parts = [
            send_messages(first, service.target, worker, warm_up, "warm-up"),
            send_messages(fuzzer.calls(), service.target, worker, messages, "messages"),
            send_garbage(service.port, worker, connections, seed, rest_s),
        ]
        same = truth.holds()
        code = service.stop()
        log = service.log()
    lines = [json.loads(line) for line in log.splitlines()]
    errors = Counter(line["event"] for line in lines if line["level"] in {"error", "critical"})
    return parts, {
        "answers_the_same": same,
        "exit_code": code,
        "forbidden": sum(part.codes[name] for part in parts for name in FORBIDDEN),
        "told": sum(part.told for part in parts),
        "logged_ids": sum(secret in log for secret in (MARK, CARD, token)),
        "logged_errors": dict(errors),
        "log_lines": len(lines),
    }


def good(parts: Sequence[Part], result: dict[str, Any], growth_kb: float) -> bool:
    """Tell whether the bars hold."""
    return (
        result["answers_the_same"]
        and result["exit_code"] == result["forbidden"] == result["told"] == result["logged_ids"] == 0
        and not result["logged_errors"]
        and all(part.growth_kb() < growth_kb for part in parts[1:])
    )


def show(parts: Sequence[Part], out: Callable[[Table], None]) -> None:
    """Print what each part came to."""
    table = Table("part", "sent", "a second", "codes", "memory MB, first to last", "highest", "growth, kB")
    for part in parts:
        codes = ", ".join(f"{code} {count:,}" for code, count in part.codes.most_common())
        memory = f"{part.memory_kb[0] / 1024:.1f} to {part.memory_kb[-1] / 1024:.1f}"
        rate = f"{part.sent / part.seconds:,.0f}"
        highest = f"{part.highest_kb / 1024:.1f}"
        table.add_row(part.name, f"{part.sent:,}", rate, codes, memory, highest, f"{part.growth_kb():,.0f}")
    out(table)


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=20_000)
    parser.add_argument("--warm-up", type=int, default=200_000, help="messages before memory is measured")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts, result = soak(Path(folder), options.messages, options.connections, options.warm_up, options.seed)
    show(parts, Console(width=200).print)
    passed = good(parts, result, GROWTH_KB)
    print(json.dumps(result | {"good": passed}, indent=2))  # noqa: T201  the answer of a command
    sys.exit(not passed)


if __name__ == "__main__":
    main()
