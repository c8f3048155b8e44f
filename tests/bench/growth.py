"""What a score costs as profiles grow from a thousand to ten million, and from typical to full histories.

    python -m tests.bench.growth [--sizes 1000 100000 1000000 10000000] [--rounds 5] [--calls 10000] [--folder DIR]

On LMDB, which keeps everything on the machine that scores; on Aerospike a look-up costs this process the same
whatever is stored. Every call is about other entities, drawn anew for each round: evenly, so that hardly
any record was read before, or by Zipf's law (exponent 1), as busy buyers and sellers are. A small store of a
thousand profiles is measured in every round beside the one that grows, and the ratio to that is what counts.

A store in memory is mapped page by page, when a process first touches each: so what is measured is a server that
has run for a while, and what its first calls cost is told beside it.

Two figures: CPU of the running server for a call under 64 calls in flight, which is what the bar is about; and in
this process the read, the row and the model alone, where what memory costs shows most. A tenth as many events as
profiles stand in the store too. Ten million typical profiles take 13 GB of disk, and as much page cache while
they are measured; `--folder` keeps them for the next time. Ends with 1 when the bar fails.
"""

from __future__ import annotations

import argparse
import gc
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from service.core.compiled import compile_row
from service.core.event import EntityKind, Event
from service.core.features import FEATURES
from service.core.row import row_of
from service.registry.artifact import MODEL_FILE, version_path
from service.registry.booster import Booster
from service.store.lmdb import LmdbStore
from service.store.protocol import LoggedEvent
from tests.bench.figures import Bar, order_of, ratio
from tests.bench.load import different, in_batches
from tests.bench.market import Fill, batch_request_of, counts_of, fill_store, publish_model, purchase_of, request_of
from tests.bench.processes import SERVICE, Server, lmdb_settings, server, service_environment, stand_aside
from tests.bench.stores import free_port, open_lmdb

SIZES: Final = (1_000, 100_000, 1_000_000, 10_000_000)
SMALL: Final = 1_000
MAX_SIZE_BYTES: Final = 1 << 36
PROFILES_PER_EVENT: Final = 10
BAR: Final = Bar("CPU per call of the server, most profiles / a thousand", 1.3, at_most=True)

_STRIDE: Final = 2_654_435_761
_BATCH: Final = 20_000
_WARM_CALLS: Final = 25_600
_BATCH_CALLS: Final = 64
_MAX_WARMING: Final = 40
_WARM_SEED: Final = 1_000
_FEW_FAULTS: Final = 0.05
_STILL_FALLING: Final = 0.9

Numbers = npt.NDArray[np.int64]
Law = Callable[[np.random.Generator, int, int], Numbers]


def uniform(random: np.random.Generator, count: int, draws: int) -> Numbers:
    """Draw numbers below `count`, all alike."""
    return random.integers(0, count, draws)


def zipf(random: np.random.Generator, count: int, draws: int) -> Numbers:
    """Draw numbers below `count` by Zipf's law of exponent 1; the busy ones lie scattered over all of them."""
    rank = np.minimum((count ** random.random(draws)).astype(np.int64), count) - 1
    return (rank * _STRIDE + 1) % count


LAWS: Final[Mapping[str, Law]] = {"uniform": uniform, "zipf": zipf}


def purchases(law: Law, profiles: int, seed: int, count: int) -> list[Event]:
    """Return purchases by entities that a law draws; every user has a card of his own."""
    random, counts = np.random.default_rng(seed), counts_of(profiles)
    users = law(random, counts[EntityKind.USER], count).tolist()
    sellers = law(random, counts[EntityKind.SELLER], count).tolist()
    items = law(random, counts[EntityKind.ITEM], count).tolist()
    return [
        purchase_of(user, seller, item, user, number)
        for number, (user, seller, item) in enumerate(zip(users, sellers, items, strict=True))
    ]


# --- stores ---------------------------------------------------------------------------------------


def grow(path: Path, profiles: int, fill: Fill, *, before: int = 0) -> None:
    """Add to a store what makes `before` profiles so many, and events."""
    first = counts_of(before) if before else dict.fromkeys(EntityKind, 0)
    with closing(open_lmdb(path, MAX_SIZE_BYTES)) as store:
        fill_store(store, counts_of(profiles), fill, first)
        events = _events(before // PROFILES_PER_EVENT, profiles // PROFILES_PER_EVENT)
        while batch := list(islice(events, _BATCH)):
            store.restore(batch)


def _events(begin: int, end: int) -> Iterator[LoggedEvent]:
    for number in range(begin, end):
        yield LoggedEvent(purchase_of(number, 0, 0, number, -number), (), None)


class Place(NamedTuple):
    """A store that is measured."""

    path: Path
    profiles: int

    @property
    def disk_bytes(self) -> int:
        """Return what it takes on disk."""
        return sum(one.stat().st_blocks * 512 for one in self.path.iterdir())


# --- measuring ------------------------------------------------------------------------------------


class Cost(NamedTuple):
    """What a call costs, in microseconds of CPU."""

    served_us: float
    """Of the running server."""
    inner_us: float
    """Of the read, the row and the model, in a process that does nothing else."""


class Costs(NamedTuple):
    """What was measured of a pair of stores, `small` and `this`."""

    rounds: dict[str, list[Cost]]
    """By store and law, as in "this, zipf"."""
    first_us: float
    """Of the running server on `this`, while most calls touch pages that it had not mapped yet."""


def inner_us(store: LmdbStore, booster: Booster, scored: Sequence[Event]) -> float:
    """Return the CPU microseconds of read, row and model for each of these purchases, every one read once."""
    row = compile_row([one.formula for one in FEATURES])
    gc.collect()
    gc.disable()
    begun_s = time.process_time()
    for purchase in scored:
        booster.raw_score(row_of(row, purchase, store.read((purchase,), 1.0)[0].images))
    used_s = time.process_time() - begun_s
    gc.enable()
    return used_s / len(scored) * 1e6


@contextmanager
def served(places: Mapping[str, Place], folder: Path) -> Iterator[dict[str, Server]]:
    """Run a service on each store."""
    with ExitStack() as stack:
        found = {}
        for name, place in places.items():
            run = stack.enter_context(TemporaryDirectory())
            environment = service_environment(folder, free_port(), **lmdb_settings(place.path, MAX_SIZE_BYTES))
            found[name] = stack.enter_context(server(SERVICE, {**environment, "FRAUD_SERVER__RUN_PATH": run}))
        yield found


def cache(path: Path) -> None:
    """Read a store's file through, so that all of it is in memory, if there is room."""
    with (path / "data.mdb").open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def warm(one: Server, store: LmdbStore, profiles: int) -> None:
    """Ask about everybody, until the server's touches of pages that it had not mapped become no fewer.

    A few remain for ever: memory of its own, and what it writes.
    """
    last = math.inf
    for seed in range(_MAX_WARMING):
        scored = purchases(uniform, profiles, _WARM_SEED + seed, _WARM_CALLS)
        pieces = [scored[at : at + _BATCH_CALLS] for at in range(0, len(scored), _BATCH_CALLS)]
        before = one.page_faults()
        in_batches(one, [batch_request_of(piece) for piece in pieces])
        faults = (one.page_faults() - before) / len(scored)
        for purchase in scored:
            store.read((purchase,), 1.0)
        if faults < _FEW_FAULTS or faults > _STILL_FALLING * last:
            return
        last = faults


def measure(places: Mapping[str, Place], folder: Path, rounds: int, calls: int) -> Costs:
    """Return what a call costs on each store by each law, round by round, and what the first ones cost."""
    booster = Booster((version_path(folder / "registry", 1) / MODEL_FILE).read_bytes())
    with ExitStack() as stack, served(places, folder) as servers:
        stores = {
            name: stack.enter_context(closing(open_lmdb(place.path, MAX_SIZE_BYTES))) for name, place in places.items()
        }
        first_us = {}
        for name, place in places.items():
            cache(place.path)
            # Of a small store, so that nothing but its profiles is new to the server.
            different(servers[name], [request_of(one) for one in purchases(uniform, SMALL, 0, calls)])
            drawn = purchases(uniform, place.profiles, _WARM_SEED - 1, calls)
            first_us[name] = different(servers[name], [request_of(one) for one in drawn]).cpu_us
            warm(servers[name], stores[name], place.profiles)
        draw = {
            f"{name}, {law_name}": (name, partial(purchases, law, place.profiles))
            for name, place in places.items()
            for law_name, law in LAWS.items()
        }
        costs: dict[str, list[Cost]] = {subject: [] for subject in draw}
        for round_ in range(rounds):
            for subject in order_of(round_, list(draw)):
                name, draws = draw[subject]
                load = different(servers[name], [request_of(one) for one in draws(2 * round_ + 1, calls)])
                costs[subject].append(Cost(load.cpu_us, inner_us(stores[name], booster, draws(2 * round_ + 2, calls))))
    return Costs(costs, first_us["this"])


# --- what is told ---------------------------------------------------------------------------------


class Line(NamedTuple):
    """One line of the table: a store and a law against the small store by the same law, of the same rounds."""

    what: str
    costs: list[Cost]
    small: list[Cost]
    first_us: float

    @property
    def served(self) -> float:
        """Return how the server's cost stands to that on the small store."""
        return self._ratio("served_us")

    @property
    def inner(self) -> float:
        """Return how the inner cost stands to that on the small store."""
        return self._ratio("inner_us")

    def _ratio(self, field: str) -> float:
        figures = {
            "this": [getattr(one, field) for one in self.costs],
            "small": [getattr(one, field) for one in self.small],
        }
        return ratio(figures, "this", "small").median


def lines(what: str, costs: Costs) -> list[Line]:
    """Return the lines of one comparison, one for each law."""
    found = costs.rounds
    return [Line(f"{what}, {law}", found[f"this, {law}"], found[f"small, {law}"], costs.first_us) for law in LAWS]


def report(found: Sequence[Line], console: Console) -> None:
    """Print the table."""
    table = Table("profiles", "server, µs", "/ 1,000", "at first, µs", "read, row, model, µs", "/ 1,000")
    for line in found:
        served_us = median(one.served_us for one in line.costs)
        inner = median(one.inner_us for one in line.costs)
        table.add_row(
            line.what,
            f"{served_us:.1f}",
            f"{line.served:.2f}",
            f"{line.first_us:.1f}",
            f"{inner:.1f}",
            f"{line.inner:.2f}",
        )
    console.print(table)


def run(folder: Path, sizes: Sequence[int], rounds: int, calls: int, console: Console) -> bool:
    """Fill, measure and print; returns whether the bar holds for the most profiles."""
    small = Place(folder / "small", SMALL)
    if not small.path.exists():
        publish_model(folder / "registry")
        grow(small.path, SMALL, "typical")
    full = Place(folder / "full", SMALL)
    if not full.path.exists():
        grow(full.path, SMALL, "worst")
    found: list[Line] = []
    grown = folder / "grown"
    mark = folder / "grown.size"
    for size in sorted(sizes):
        before = int(mark.read_text(encoding="ascii")) if mark.exists() else 0
        if size > before:
            begun_s = time.monotonic()
            grow(grown, size, "typical", before=before)
            mark.write_text(str(size), encoding="ascii")
            console.print(f"filled to {size:,} in {time.monotonic() - begun_s:.0f} s")
        place = Place(grown, size)
        # Now, because what is measured leaves its decisions there.
        console.print(f"{size:,} profiles take {place.disk_bytes / size:.0f} bytes of disk each")
        found += lines(f"{size:,}", measure({"small": small, "this": place}, folder, rounds, calls))
        report(found[-len(LAWS) :], console)
    most = found[-len(LAWS) :]
    found += lines("full histories", measure({"small": small, "this": full}, folder, rounds, calls))
    report(found, console)
    held = all(BAR.verdict(line.served) == "holds" for line in most)
    console.print(f"{BAR.what}: {max(line.served for line in most):.2f}, bar {BAR}: {'holds' if held else 'FAILS'}")
    return held


def main() -> None:
    """Measure, print, and end with 1 when the bar fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10_000, help="calls in each round, for each store and law")
    parser.add_argument("--folder", type=Path, help="where the stores are kept (default: made and thrown away)")
    options = parser.parse_args()
    stand_aside()
    with TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        free = shutil.disk_usage(folder).free
        needed = max(options.sizes) * 1500
        if free < needed:
            sys.exit(
                f"{folder} has {free / 1e9:.0f} GB free, and {needed / 1e9:.0f} GB are needed: name another --folder"
            )
        if not run(folder, options.sizes, options.rounds, options.calls, Console()):
            sys.exit(1)


if __name__ == "__main__":
    main()
