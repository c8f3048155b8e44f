"""What a score costs: CPU in process, against an empty gRPC call, and inside the running server.

    python -m tests.bench.cost [--calls 20000]

The server is pinned to the first processor, the generator (h2load) to the second; every figure is CPU
time of the process, not elapsed time, and all of them come from one run.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
from rich.console import Console
from rich.table import Table

from service.client import purchase_message
from service.clock import EventClock
from service.core.event import Event
from service.core.row import row_of
from service.metrics import Metrics
from service.pb import fraud_pb2 as pb
from service.recorder import Recorder
from service.registry.promotion import promote
from service.registry.watcher import Watcher
from service.scorer import Question, Scorer
from service.settings import LmdbSettings, RegistrySettings, ScoringSettings
from service.store.lmdb import LmdbStore
from service.store.protocol import Submission
from tests.make import NOW_MS, make_purchase
from tests.registry.build import build_artifact

TREES: Final = 300
LEAVES: Final = 31
ENTITIES: Final = 500
HOUR_MS: Final = 3_600_000
EMPTY_REPLY: Final = bytes(60)
FILLS: Final = (("typical", 12, 20 * 24 * HOUR_MS), ("worst", 300, 30 * 24 * HOUR_MS))
"""Name, purchases of each entity, over how long: a dozen in three weeks, or more than the windows can tell apart."""


class Ignored:
    """Takes decisions and keeps none: the decision log's own cost is measured in the server."""

    def put(self, record: object) -> None:
        """Take it."""


def fill(store: LmdbStore, purchases_each: int, spread_ms: int) -> list[Event]:
    """Give every entity a history, and return the purchases to score."""
    events = [
        purchase(entity, f"h-{entity}-{n}", NOW_MS - spread_ms * (purchases_each - n) // purchases_each)
        for n in range(purchases_each)
        for entity in range(ENTITIES)
    ]
    for at in range(0, len(events), 1000):
        store.apply([Submission(event) for event in events[at : at + 1000]])
    return [purchase(entity, f"p-{entity}", NOW_MS) for entity in range(ENTITIES)]


def purchase(entity: int, purchase_id: str, time_ms: int) -> Event:
    """Return a purchase of the entities of one number."""
    return make_purchase(
        purchase_id,
        user_id=f"u-{entity}",
        seller_id=f"s-{entity}",
        item_id=f"i-{entity}",
        card_hash=f"c-{entity}",
        amount_minor=1000 + 37 * entity,
        event_time_ms=time_ms,
    )


def cpu_us(work: Callable[[int], object], calls: int) -> float:
    """Return CPU microseconds a call, the least of five rounds, caches warm."""
    for n in range(min(calls, ENTITIES)):
        work(n)
    gc.collect()
    gc.disable()
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for n in range(calls):
            work(n)
        best = min(best, (time.process_time() - begun) / calls * 1e6)
    gc.enable()
    return best


def live_lineup(registry: Path) -> Watcher:
    """Return a watcher with a model of the size that the bar names live."""
    promote(registry, build_artifact(registry, trees=TREES, leaves=LEAVES), "bench", "bench")
    watcher = Watcher(RegistrySettings(path=registry), "attempts", lambda: NOW_MS)
    watcher.refresh()
    return watcher


def in_process(store: LmdbStore, watcher: Watcher, purchases: Sequence[Event], calls: int) -> dict[str, float]:
    """Return CPU microseconds of a whole score, and of its parts."""
    lineup = watcher.lineup
    assert lineup is not None
    settings = ScoringSettings(explain_decisions=False)
    metrics = Metrics()
    scorer = Scorer(store, Recorder(store, 1, 1, metrics), watcher, Ignored(), EventClock(NOW_MS), settings, metrics)
    questions = [Question(one) for one in purchases]
    views = [store.read((one,), 1.0)[0].images for one in purchases]
    rows = [row_of(lineup.row, one, seen) for one, seen in zip(purchases, views, strict=True)]
    integers = sum(len(image) for image in views[0] if image is not None)
    deadline_s = time.monotonic() + 1e6

    def read(n: int) -> object:
        return store.read((purchases[n % ENTITIES],), 1.0)

    def row(n: int) -> object:
        return row_of(lineup.row, purchases[n % ENTITIES], views[n % ENTITIES])

    return {
        f"whole score, {integers} integers in four profiles": cpu_us(
            lambda n: scorer.score(questions[n % ENTITIES], deadline_s), calls
        ),
        "  read of five records": cpu_us(read, calls),
        f"  row of {len(lineup.names)} features": cpu_us(row, calls),
        f"  LightGBM, {TREES} x {LEAVES}": cpu_us(lambda n: lineup.answer[0].raw_score(rows[n % ENTITIES]), calls),
    }


# --- servers ------------------------------------------------------------------------------------


def serve_empty() -> None:
    """Serve an empty handler with the options of ours, until killed."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda *_: EMPTY_REPLY)
    service = grpc.method_handlers_generic_handler("fraud.v1.FraudScoring", {"Score": handler})
    running = grpc.server(ThreadPoolExecutor(4), handlers=[service], maximum_concurrent_rpcs=256)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    sys.stdout.write(f"listening on port {port}\n")
    sys.stdout.flush()
    running.wait_for_termination()


@contextmanager
def server(command: Sequence[str], **environment: str) -> Iterator[tuple[int, int]]:
    """Run a server on the first processor; gives its process id and port."""
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline().rsplit(" ", 1)[1])
    finally:
        process.terminate()
        process.wait(20)


def process_cpu_s(process_id: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(process_id: int, port: int, body: Path, calls: int) -> tuple[float, float]:
    """Return CPU microseconds a call and calls a second under 64 calls in flight."""
    command = ["taskset", "-c", "1", "h2load", "-n", str(calls), "-c", "8", "-m", "8", "-d", str(body)]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    before_s, begun_s = process_cpu_s(process_id), time.monotonic()
    done = subprocess.run(
        [*command, *headers, f"http://127.0.0.1:{port}/fraud.v1.FraudScoring/Score"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"{calls} succeeded" in done.stdout, done.stdout
    elapsed_s = time.monotonic() - begun_s
    return (process_cpu_s(process_id) - before_s) / calls * 1e6, calls / elapsed_s


def frame(message: bytes) -> bytes:
    """Return a message as gRPC frames it."""
    return struct.pack(">BI", 0, len(message)) + message


def against_servers(folder: Path, calls: int) -> dict[str, tuple[float, float]]:
    """Return CPU a call and calls a second of an empty handler and of the full score, alternating."""
    body = folder / "body"
    body.write_bytes(frame(pb.ScoreRequest(purchase=purchase_message(purchase(7, "p-7", NOW_MS))).SerializeToString()))
    own = [sys.executable, "-m", "tests.bench.cost", "--serve-empty"]
    full = [sys.executable, "-m", "service", "serve"]
    environment = {
        "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
        "FRAUD_SERVER__BUDGET_MS": "5000",
        "FRAUD_STORE__LMDB__PATH": str(folder / "typical"),
        "FRAUD_REGISTRY__PATH": str(folder / "registry"),
        "FRAUD_INGEST__CLOCK": "event",
        "FRAUD_SCORING__EXPLAIN_DECISIONS": "false",
        "FRAUD_LOG_LEVEL": "error",
    }
    figures: dict[str, list[tuple[float, float]]] = {"empty handler": [], "full score": []}
    with server(own) as empty, server(full, **environment) as scoring:
        for round_ in range(4):
            for name, (process_id, port) in (("empty handler", empty), ("full score", scoring)):
                figure = load(process_id, port, body, calls)
                if round_:  # the first round warms up
                    figures[name].append(figure)
    return {name: sorted(rounds)[len(rounds) // 2] for name, rounds in figures.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--serve-empty", action="store_true")
    options = parser.parse_args()
    if options.serve_empty:
        serve_empty()
        return
    parts: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        watcher = live_lineup(folder / "registry")
        for name, purchases_each, spread_ms in FILLS:
            store = LmdbStore(LmdbSettings(path=folder / name, max_size_bytes=1 << 30), "attempts", 100)
            purchases = fill(store, purchases_each, spread_ms)
            for part, figure_us in in_process(store, watcher, purchases, options.calls).items():
                parts[f"{name} fill: {part}"] = figure_us
            store.close()
        servers = against_servers(folder, options.calls) if shutil.which("h2load") else {}
    empty_us = servers["empty handler"][0] if servers else float("nan")
    table = Table("CPU", "µs", "of an empty call", title="what a score costs")
    for name, figure_us in parts.items():
        table.add_row(name, f"{figure_us:.1f}", f"{figure_us / empty_us:.2f}")
    for name, (figure_us, rate) in servers.items():
        table.add_row(f"server, {name} ({rate:,.0f} calls/s)", f"{figure_us:.1f}", f"{figure_us / empty_us:.2f}")
    console = Console()
    console.print(table)
    if servers:
        added = servers["full score"][0] - empty_us
        console.print(f"the full score adds {added:.1f} µs to a call of the running server")
    else:
        console.print("no h2load on the PATH: install nghttp2-client to measure against an empty call")


if __name__ == "__main__":
    main()
