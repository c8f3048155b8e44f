"""A whole score in the running server against handlers that do less, in one run and by one client.

    python -m tests.bench.bars [--rounds 5] [--calls 20000]

Measured, each as CPU of the server for a call and calls answered in a second, with 64 calls in flight by `pump`, each
about other entities than those before it:

* an empty handler on a standard threaded gRPC server;
* the whole score on LMDB: one worker, metrics and decision log on, typical fill, 300 trees of 31 leaves;
* on Aerospike, if there is one: a bare handler that does one batch read of the same records and one call of the
  same model and nothing else, with 4, 8 and 16 threads, of which the best counts; and the whole score.

All servers run at the same time on the first processor and one of them is called; generator and Aerospike are on
the second. Each round measures all of them, beginning with another one, and gives a ratio; the median of the
rounds is compared with the bar. Ends with 1 when a bar fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.table import Table

from service.core.event import Event
from service.pb import fraud_pb2 as pb
from tests.bench.figures import Bar, Ratio, best, order_of, ratio
from tests.bench.load import Load, different, repeated, replies_of
from tests.bench.market import LEAVES, TREES, publish_model, request_of
from tests.bench.processes import (
    SERVICE,
    Server,
    aerospike_settings,
    bare_handler,
    empty_handler,
    lmdb_settings,
    server,
    service_environment,
    stand_aside,
)
from tests.bench.stores import aerospike_server, free_port, job_of, open_aerospike, open_lmdb, purchases, small_market

PREFIX: Final = "bench-"
BARE_THREADS: Final = (4, 8, 16)
EMPTY, ON_LMDB, ON_AEROSPIKE = "empty handler", "whole score, LMDB", "whole score, Aerospike"
BARE: Final = {threads: f"bare read and model, {threads} threads" for threads in BARE_THREADS}

LMDB_BAR: Final = Bar("whole score on LMDB / empty handler", 0.55, aim=0.8)
AEROSPIKE_BAR: Final = Bar("whole score on Aerospike / bare handler", 0.7, aim=0.9)

Loads = dict[str, list[Load]]


@contextmanager
def servers(folder: Path, host: str) -> Iterator[dict[str, Server]]:
    """Run everything that is compared; `host` is "" when there is no Aerospike."""
    model = publish_model(folder / "registry")
    scored = small_market(open_lmdb(folder / "store"), "typical")
    with ExitStack() as stack:
        on_lmdb = service_environment(folder, free_port(), **lmdb_settings(folder / "store"))
        found = {
            EMPTY: stack.enter_context(server(empty_handler())),
            ON_LMDB: stack.enter_context(server(SERVICE, on_lmdb)),
        }
        if host:
            small_market(open_aerospike(host, PREFIX), "typical")
            job = job_of(host, PREFIX, scored[7], model).write(folder / "job.json")
            for threads, name in BARE.items():
                found[name] = stack.enter_context(server(bare_handler(host, job, threads)))
            on_aerospike = service_environment(folder, free_port(), **aerospike_settings(host, PREFIX))
            found[ON_AEROSPIKE] = stack.enter_context(server(SERVICE, on_aerospike))
        yield found


def assert_whole(one: Server, scored: Sequence[Event]) -> None:
    """Assert that a service answers wholly under the load that it is measured with; it warms up by that."""
    replies = [pb.ScoreResponse.FromString(reply) for reply in replies_of(one, [request_of(each) for each in scored])]
    assert not any(reply.degraded or reply.missing for reply in replies), "a degraded answer costs less"


def assert_nothing_left_out(one: Server) -> None:
    """Assert that what was measured are whole scores, each of which was logged."""
    for metric in ("fraud_degraded_total", "fraud_given_up_total", "fraud_decision_log_dropped_total"):
        assert not one.counted(metric), f"{metric}: {one.counted(metric):,.0f}"


def measure(rounds: int, calls: int) -> Loads:
    """Return what each server showed, round by round; the first round, which warms up, is left out."""
    with TemporaryDirectory() as scratch, aerospike_server() as host, servers(Path(scratch), host) as found:
        scored = purchases()
        messages = [request_of(one) for one in scored]
        loads: Loads = {name: [] for name in found}
        for round_ in range(rounds + 1):
            for name in order_of(round_, list(found)):
                if name in (ON_LMDB, ON_AEROSPIKE):
                    assert_whole(found[name], scored)
                load = different(found[name], repeated(messages, calls if round_ else calls // 4))
                if round_:
                    loads[name].append(load)
        for name in loads:
            if name in (ON_LMDB, ON_AEROSPIKE):
                assert_nothing_left_out(found[name])
    return loads


def ratios(loads: Loads) -> dict[Bar, Ratio]:
    """Return how throughput stands to the bars; a bare handler counts with its best number of threads."""
    rates = {name: [load.calls_per_s for load in some] for name, some in loads.items()}
    found = {LMDB_BAR: ratio(rates, ON_LMDB, EMPTY)}
    if ON_AEROSPIKE in rates:
        found[AEROSPIKE_BAR] = ratio(rates, ON_AEROSPIKE, best(rates, list(BARE.values())))
    return found


def by_cpu(loads: Loads) -> dict[Bar, Ratio]:
    """Return the same by CPU for a call: what throughput would be if nothing else ran on the server's processor."""
    rates = {name: [load.calls_per_s for load in some] for name, some in loads.items()}
    cpu_us = {name: [load.cpu_us for load in some] for name, some in loads.items()}
    found = {LMDB_BAR: ratio(cpu_us, EMPTY, ON_LMDB)}
    if ON_AEROSPIKE in rates:
        found[AEROSPIKE_BAR] = ratio(cpu_us, best(rates, list(BARE.values())), ON_AEROSPIKE)
    return found


def report(loads: Loads, console: Console) -> bool:
    """Print what was measured and how it stands to the bars; returns whether all of them hold."""
    table = Table(
        "server", "CPU a call, µs", "calls/s", title=f"{TREES} x {LEAVES}, median of {len(loads[EMPTY])} rounds"
    )
    for name, some in loads.items():
        table.add_row(
            name, f"{median(load.cpu_us for load in some):.1f}", f"{median(load.calls_per_s for load in some):,.0f}"
        )
    console.print(table)
    bars = Table("throughput", "median of rounds (least to most)", "by CPU", "bar", "")
    found, cpu = ratios(loads), by_cpu(loads)
    for bar, figure in found.items():
        bars.add_row(bar.what, str(figure), f"{cpu[bar].median:.2f}", str(bar), bar.verdict(figure.median))
    console.print(bars)
    if AEROSPIKE_BAR not in found:
        console.print("no Aerospike: put the server `asd` on the PATH, or set FRAUD_TEST_AEROSPIKE=host:port")
    return all(bar.verdict(figure.median) == "holds" for bar, figure in found.items())


def main() -> None:
    """Measure, print, and end with 1 when a bar fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20_000, help="calls to each server in each round")
    options = parser.parse_args()
    stand_aside()
    if not report(measure(options.rounds, options.calls), Console()):
        sys.exit(1)


if __name__ == "__main__":
    main()
