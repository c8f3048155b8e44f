"""The service against Feast and LightGBM in the same kind of gRPC handler: same Aerospike, entities, rows and model.

    python -m tests.bench.feast [--rounds 5] [--folder DIR]

Makes a venv of its own in a scratch directory (never in the project's) with Feast and the very versions of grpcio,
protobuf, the Aerospike client, LightGBM and numpy that the service runs on. `--folder` keeps it for the next time.
Every round measures each server once under as many calls as it takes and once at a fixed rate; all of them run
at the same time, one of them is called. Ends with 1 when a bar fails, with 2 when all latencies are void.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from service.core.compiled import compile_row
from service.core.event import KINDS, EntityKind, Event
from service.core.features import FEATURES, Feature
from service.core.formula import readings
from service.core.row import row_of
from service.pb import fraud_pb2 as pb
from service.registry.booster import Booster
from tests import asd
from tests.bench.feast_peer import FeastJob
from tests.bench.figures import Bar, Ratio, best, least, order_of, percentile, ratio
from tests.bench.load import at_rate, different, repeated, replies_of
from tests.bench.market import publish_model, request_of
from tests.bench.processes import (
    ROOT,
    SERVICE,
    Server,
    aerospike_settings,
    empty_handler,
    server,
    service_environment,
    stand_aside,
)
from tests.bench.stores import aerospike_server, free_port, open_aerospike, small_market

FEAST: Final = "0.67.0"
THREADS: Final = (1, 4)
RATE: Final = 300
CALLS: Final = {"empty": 20_000, "ours": 12_000, "feast": 2_500}
SECONDS_AT_RATE: Final = 6
PREFIX: Final = "bench-"
EMPTY, OURS = "empty handler", "this service"

CPU_BAR: Final = Bar("CPU per call", 0.25, at_most=True)
RATE_BAR: Final = Bar("throughput", 4.0)
TAIL_BAR: Final = Bar(f"p99 at {RATE} calls/s", 0.5, at_most=True)

EMPTY_P99_MS: Final = 5.0
"""What an empty handler keeps on a machine that does not stall."""

FAILED, VOID = 1, 2
CPU, CALLS_PER_S = 0, 1
_SETTLE_S: Final = 0.5


class Sample(NamedTuple):
    """What one server showed in one round."""

    cpu_us: float
    calls_per_s: float
    p50_ms: float
    p99_ms: float


Samples = dict[str, list[Sample]]


def kind_of(feature: Feature) -> EntityKind:
    """Return whose view holds a feature: its entity's, or the user's when it reads none."""
    kinds = {reading.kind for reading in readings([feature.formula])}
    return min(kinds, default=EntityKind.USER)


def views() -> dict[str, list[str]]:
    """Return the features that the view of each kind holds."""
    return {kind.name.lower(): [one.name for one in FEATURES if kind_of(one) is kind] for kind in KINDS}


def rows_of(host: str, purchases: Sequence[Event]) -> list[list[float]]:
    """Return the row of each purchase as the service computes it."""
    row = compile_row([one.formula for one in FEATURES])
    with closing(open_aerospike(host, PREFIX)) as store:
        return [row_of(row, one, store.read([one], 1.0)[0].images) for one in purchases]


def job_of(
    folder: Path, host: str, model: Path, purchases: Sequence[Event], rows: Sequence[Sequence[float]]
) -> FeastJob:
    """Return the peer's job: every entity has the values that the row of its purchase has."""
    names = [one.name for one in FEATURES]
    places = {kind: [names.index(name) for name in held] for kind, held in views().items()}
    values: dict[str, dict[str, list[float]]] = {kind: {} for kind in places}
    for purchase, row in zip(purchases, rows, strict=True):
        ids = (purchase.user_id, purchase.seller_id, purchase.item_id, purchase.card_hash)
        for entity_id, (kind, held) in zip(ids, places.items(), strict=True):
            values[kind][entity_id] = [row[place] for place in held]
    return FeastJob(str(folder), host, asd.NAMESPACE, str(model), names, views(), values)


def peer_python(folder: Path) -> Path:
    """Return the interpreter of the peer's venv, made when it is not there."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        same = [f"{name}=={version(name)}" for name in ("aerospike", "grpcio", "protobuf", "lightgbm", "numpy")]
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), f"feast=={FEAST}", *same], check=True)
    return python


def peer(python: Path, step: str, job: Path, *options: str) -> list[str]:
    """Return a command of the peer."""
    return [str(python), "-W", "ignore", "-m", "tests.bench.feast_peer", step, str(job), *options]


@contextmanager
def servers(folder: Path, host: str, python: Path, job: Path) -> Iterator[dict[str, Server]]:
    """Run the service and the peers, side by side."""
    quiet = {"FEAST_USAGE": "False", "PYTHONPATH": str(ROOT)}
    environment = service_environment(folder, free_port(), **aerospike_settings(host, PREFIX))
    with ExitStack() as stack:
        found = {
            EMPTY: stack.enter_context(server(empty_handler())),
            OURS: stack.enter_context(server(SERVICE, environment)),
        }
        for threads in THREADS:
            command = peer(python, "serve", job, "--threads", str(threads))
            found[f"feast, {threads} threads"] = stack.enter_context(server(command, quiet))
        yield found


def check(found: dict[str, Server], purchases: Sequence[Event], rows: Sequence[Sequence[float]], model: Path) -> None:
    """Assert that every server answers, whole and with the same rows."""
    messages = [request_of(purchase) for purchase in purchases]
    booster = Booster(model.read_bytes())
    wanted = {one.purchase_id: booster.raw_score(row) for one, row in zip(purchases, rows, strict=True)}
    for name, one in found.items():
        if name == EMPTY:
            continue
        replies = [pb.ScoreResponse.FromString(reply) for reply in replies_of(one, messages)]
        assert not any(reply.degraded for reply in replies), f"{name}: a degraded answer"
        if name != OURS:
            assert {reply.purchase_id: reply.score for reply in replies} == wanted, f"{name}: other rows"


def latencies_s(found: dict[str, Server], messages: Sequence[bytes]) -> dict[str, list[float]]:
    """Call all servers at the fixed rate, in turns of a second, so that a stall of the machine meets all of them."""
    latencies: dict[str, list[float]] = {name: [] for name in found}
    for second in range(SECONDS_AT_RATE):
        wanted = [messages[(second * RATE + n) % len(messages)] for n in range(RATE)]
        for name in order_of(second, list(found)):
            done, _ = at_rate(found[name], wanted, RATE)
            assert not done.failed, f"{name}: {done.failed} calls failed"
            latencies[name] += done.latencies_s
    return latencies


def sample(found: dict[str, Server], round_: int, messages: Sequence[bytes]) -> dict[str, Sample]:
    """Measure every server: as many calls as it takes, then the fixed rate."""
    loads = {}
    for name in order_of(round_, list(found)):
        calls = CALLS["empty" if name == EMPTY else "ours" if name == OURS else "feast"]
        loads[name] = different(found[name], repeated(messages, calls))
    time.sleep(_SETTLE_S)
    return {
        name: Sample(*loads[name], percentile(some, 0.5) * 1000, percentile(some, 0.99) * 1000)
        for name, some in latencies_s(found, messages).items()
    }


def measure(python: Path, rounds: int) -> Samples:
    """Set everything up and return what each server showed, round by round."""
    with TemporaryDirectory() as scratch, aerospike_server() as host:
        assert host, "put the Aerospike server `asd` on the PATH, or set FRAUD_TEST_AEROSPIKE=host:port"
        place = Path(scratch)
        purchases = small_market(open_aerospike(host, PREFIX), "typical")
        rows = rows_of(host, purchases)
        model = publish_model(place / "registry")
        job = job_of(place, host, model, purchases, rows).write(place / "job.json")
        subprocess.run(peer(python, "load", job), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        messages = [request_of(purchase) for purchase in purchases]
        with servers(place, host, python, job) as found:
            check(found, purchases, rows, model)
            rounds_of = [sample(found, round_, messages) for round_ in range(rounds)]
    return {name: [one[name] for one in rounds_of] for name in rounds_of[0]}


def quiet(samples: Samples) -> list[int]:
    """Return the rounds whose latencies count: those in which the machine let an empty handler keep its own bound."""
    return [at for at, one in enumerate(samples[EMPTY]) if one.p99_ms <= EMPTY_P99_MS]


def ratios(samples: Samples) -> dict[Bar, Ratio]:
    """Return how this service stands to the peer at its best: its number of threads is chosen for each figure."""
    peers = [name for name in samples if name not in (EMPTY, OURS)]
    cpu_us, calls_per_s = (
        {name: [one[field] for one in some] for name, some in samples.items()} for field in (CPU, CALLS_PER_S)
    )
    found = {
        CPU_BAR: ratio(cpu_us, OURS, least(cpu_us, peers)),
        RATE_BAR: ratio(calls_per_s, OURS, best(calls_per_s, peers)),
    }
    counted = quiet(samples)
    if counted:
        p99_ms = {name: [some[at].p99_ms for at in counted] for name, some in samples.items()}
        found[TAIL_BAR] = ratio(p99_ms, OURS, least(p99_ms, peers))
    return found


def report(samples: Samples, console: Console) -> int:
    """Print what was measured and how it stands to the bars; returns the exit code."""
    table = Table("server", "CPU a call, µs", "calls/s", f"p50 at {RATE}/s, ms", f"p99 at {RATE}/s, ms")
    for name, some in samples.items():
        columns = [median(column) for column in zip(*some, strict=True)]
        table.add_row(name, f"{columns[0]:,.0f}", f"{columns[1]:,.0f}", f"{columns[2]:.2f}", f"{columns[3]:.2f}")
    console.print(table)
    found = ratios(samples)
    bars = Table("this service / Feast at its best", "median of rounds (least to most)", "bar", "")
    for bar, figure in found.items():
        bars.add_row(bar.what, str(figure), str(bar), bar.verdict(figure.median))
    console.print(bars)
    console.print(f"latencies count in {len(quiet(samples))} of {len(samples[EMPTY])} rounds: ", end="")
    console.print(f"in the others the empty handler's p99 was over {EMPTY_P99_MS:g} ms, so the machine stalled")
    if any(bar.verdict(figure.median) == "FAILS" for bar, figure in found.items()):
        return FAILED
    return VOID if TAIL_BAR not in found else 0


def main() -> None:
    """Measure, print, and end with what became of the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the peer's venv is kept (default: made and thrown away)")
    options = parser.parse_args()
    stand_aside()
    with TemporaryDirectory() as scratch:
        samples = measure(peer_python(options.folder or Path(scratch)), options.rounds)
    sys.exit(report(samples, Console()))


if __name__ == "__main__":
    main()
