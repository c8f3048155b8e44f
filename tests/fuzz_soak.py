"""A million mutated messages and raw bytes at the port: no crash, no INTERNAL, nothing told, memory flat.

    python -m tests.fuzz_soak [--messages 1000000] [--connections 20000] [--seed 1]

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
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import grpc
from rich.console import Console
from rich.table import Table

from service.callers import ROLES, Entry, add_caller, new_token, token_sha256
from service.client import FraudClient
from service.identity import Identity
from service.pb import fraud_pb2 as pb
from service.registry.promotion import promote
from tests.fuzz.garbage import throw
from tests.fuzz.messages import CARD, MARK, Fuzzer
from tests.registry.build import build_artifact
from tests.running import Running, running

FORBIDDEN: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "ABORTED"})
IN_FLIGHT: Final = 64
THROWERS: Final = 4
SAMPLES: Final = 40
"""Looks at memory in each part; the slope is that of the later half."""

GROWTH_KB: Final = 4096
"""Growth of memory per million messages that is still noise: the allocator's arenas come in steps of a megabyte."""


class Part(NamedTuple):
    """What one part of the soak came to."""

    name: str
    sent: int
    codes: Counter[str]
    told: int
    """Answers whose text repeats an id."""
    seconds: float
    memory_kb: Sequence[int]
    """Anonymous memory of the worker over the part: without the store, which is mapped."""

    def growth_kb(self) -> float:
        """Return by how much memory grows with a million messages, by the later half of the part."""
        later = self.memory_kb[len(self.memory_kb) // 2 :]
        return slope(later) * len(self.memory_kb) / max(self.sent, 1) * 1e6


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


def send_messages(target: str, token: str, worker: int, messages: int, seed: int) -> Part:
    """Send mutated messages, some at a time."""
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

    fuzzer = Fuzzer(seed, token, int(time.time() * 1000))
    with grpc.insecure_channel(target, [("grpc.max_send_message_length", 1 << 24)]) as channel:
        methods: dict[str, Any] = {}
        for number, call in enumerate(islice(fuzzer.calls(), messages)):
            if call.path not in methods:
                methods[call.path] = channel.unary_unary(call.path)
            free.acquire()
            future = methods[call.path].future(call.message, timeout=call.timeout_s, metadata=call.metadata)
            future.add_done_callback(done)
            if number % max(messages // SAMPLES, 1) == 0:
                memory.append(anonymous_kb(worker))
        for _ in range(IN_FLIGHT):
            free.acquire()
    return Part("messages", messages, codes, told, time.monotonic() - begun_s, memory)


def send_garbage(port: int, worker: int, connections: int, seed: int) -> Part:
    """Throw bytes at the port, over several connections at a time."""
    memory: list[int] = []
    begun_s = time.monotonic()

    def throw_many(number: int) -> None:
        random = Random(f"{seed}/{number}")
        for _ in range(connections // THROWERS):
            throw(port, random)

    throwers = [threading.Thread(target=throw_many, args=(number,)) for number in range(THROWERS)]
    for thrower in throwers:
        thrower.start()
    while any(thrower.is_alive() for thrower in throwers):
        memory.append(anonymous_kb(worker))
        time.sleep(0.1)
    sent = connections // THROWERS * THROWERS
    return Part("garbage", sent, Counter(), 0, time.monotonic() - begun_s, memory)


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


def soak(folder: Path, messages: int, connections: int, seed: int) -> tuple[list[Part], dict[str, Any]]:
    """Run both parts against a fresh service; returns them and what must hold of all."""
    promote(folder / "registry", build_artifact(folder / "registry", trees=50), "fuzz", "first")
    token = new_token()
    callers = folder / "callers.toml"
    add_caller(callers, Entry(name="fuzz", token_sha256=token_sha256(token), roles=frozenset(ROLES)), 10)
    environment = {"FRAUD_ACCESS__CALLERS_PATH": str(callers), "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": str(1 << 33)}
    with running(folder, 1, **environment) as service:
        truth = Truth(service, token)
        worker = truth.first[2]
        parts = [
            send_messages(service.target, token, worker, messages, seed),
            send_garbage(service.port, worker, connections, seed),
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
        and parts[0].growth_kb() < growth_kb
    )


def show(parts: Sequence[Part], out: Callable[[Table], None]) -> None:
    """Print what each part came to."""
    table = Table("part", "sent", "a second", "codes", "memory MB, first to last", "growth, kB a million")
    for part in parts:
        codes = ", ".join(f"{code} {count:,}" for code, count in part.codes.most_common())
        memory = f"{part.memory_kb[0] / 1024:.1f} to {part.memory_kb[-1] / 1024:.1f}"
        rate = f"{part.sent / part.seconds:,.0f}"
        table.add_row(part.name, f"{part.sent:,}", rate, codes, memory, f"{part.growth_kb():,.0f}")
    out(table)


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts, result = soak(Path(folder), options.messages, options.connections, options.seed)
    show(parts, Console(width=200).print)
    passed = good(parts, result, GROWTH_KB)
    print(json.dumps(result | {"good": passed}, indent=2))  # noqa: T201  the answer of a command
    sys.exit(not passed)


if __name__ == "__main__":
    main()
