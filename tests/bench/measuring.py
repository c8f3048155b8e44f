"""What being measured costs: the service with its metrics against one that counts nothing, by the same client.

    python -m tests.bench.measuring [--rounds 9] [--calls 20000]

Both are scraped as Prometheus would, once in a round; the one that counts nothing takes no note of calls, shows
its answers to nobody, and watches no pauses. It is made here, of the service's own parts: no setting turns
counting off, because a service that is not measured is not run. Ends with 1 when measuring costs more than 5 %.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.table import Table

from service.observer import Observer
from service.served import Served
from service.settings import load
from service.telemetry.calls import Calls
from service.telemetry.pauses import Pauses
from service.worker import work
from tests.bench.figures import Ratio, order_of, ratio
from tests.bench.load import Load, has_h2load, recorded
from tests.bench.market import publish_model, request_of
from tests.bench.processes import SERVICE, lmdb_settings, server, service_environment, stand_aside
from tests.bench.pump import grpc_message
from tests.bench.stores import free_port, open_lmdb, purchases, small_market
from tests.prometheus import scraped

MEASURED, UNMEASURED = "measured", "unmeasured"
MOST: Final = 0.05
"""Share of the throughput that measuring may cost."""


def serve_unmeasured() -> None:
    """Serve without counting calls and answers."""

    def count_nothing(_: Calls, method: str, code: str, seconds: float) -> None:
        del method, code, seconds

    def look_at_nothing(_: Observer, batch: list[Served]) -> None:
        del batch

    Calls.note = count_nothing  # type: ignore[assignment,method-assign]
    Observer.take = look_at_nothing  # type: ignore[assignment,method-assign]
    Pauses.watch = Pauses.leave = lambda _: None  # type: ignore[assignment,method-assign]
    work(load())


def measure(rounds: int, calls: int) -> dict[str, list[Load]]:
    """Return what both showed, round by round; the first round warms up and is left out."""
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        publish_model(folder / "registry")
        store = open_lmdb(folder / "store")
        small_market(store, "typical")
        store.close()
        body = folder / "body"
        body.write_bytes(grpc_message(request_of(purchases()[7])))
        own = [sys.executable, "-m", "tests.bench.measuring", "--serve-unmeasured"]
        ports = {MEASURED: free_port(), UNMEASURED: free_port()}
        found = {
            name: stack.enter_context(
                server(command, service_environment(folder, ports[name], **lmdb_settings(folder / "store")))
            )
            for name, command in ((MEASURED, SERVICE), (UNMEASURED, own))
        }
        loads: dict[str, list[Load]] = {name: [] for name in found}
        for round_ in range(rounds + 1):
            for name in order_of(round_, list(found)):
                load_ = recorded(found[name], body, calls)
                scraped(ports[name])
                if round_:
                    loads[name].append(load_)
        return loads


def report(loads: dict[str, list[Load]], console: Console) -> bool:
    """Print what was measured; returns whether measuring costs little enough."""
    table = Table("service", "CPU a call, µs", "calls/s", title=f"median of {len(loads[MEASURED])} rounds")
    for name, some in loads.items():
        cpu_us, rate = (median(values) for values in zip(*some, strict=True))
        table.add_row(name, f"{cpu_us:.1f}", f"{rate:,.0f}")
    console.print(table)
    rates: Ratio = ratio(
        {name: [one.calls_per_s for one in some] for name, some in loads.items()}, MEASURED, UNMEASURED
    )
    cpu: Ratio = ratio({name: [one.cpu_us for one in some] for name, some in loads.items()}, MEASURED, UNMEASURED)
    console.print(f"measured / unmeasured: throughput {rates}, CPU a call {cpu}")
    return rates.median >= 1.0 - MOST


def main() -> None:
    """Measure, print, and end with 1 when measuring costs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=20_000, help="calls to each server in each round")
    parser.add_argument("--serve-unmeasured", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_unmeasured:
        serve_unmeasured()
        return
    if not has_h2load():
        parser.error("no h2load on the PATH: install Debian's package nghttp2-client")
    stand_aside()
    if not report(measure(options.rounds, options.calls), Console()):
        sys.exit(1)


if __name__ == "__main__":
    main()
