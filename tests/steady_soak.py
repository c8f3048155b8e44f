"""Half an hour at 60 % of saturation: memory must not grow, and p99.9 must be inside the service level.

    python -m tests.steady_soak [--minutes 30] [--workers 1] [--pin] [--store lmdb|aerospike]

The whole mix of the load tests, on a schedule that no answer changes, with the empty handler beside it. Memory is
that of the workers without the pages of the mapped store, which are the kernel's. Windows of ten seconds in which the
empty handler is late are void and told; memory is judged over all. Exit codes: 0 all holds, 1 it does not, 2 nobody can
tell, because too much of the time was void, or because there is no rate that the service can answer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import Final, NamedTuple

from rich.console import Console

from loadtest.conduct import NotReady, Trial, conduct
from loadtest.line import Target
from loadtest.mix import Mix
from loadtest.plan import MEASURE, Plan, Stage
from loadtest.report import write_report
from loadtest.show import show
from loadtest.sla import Limit, Sla, Verdict
from tests.asd import Asd
from tests.bench.market import publish_model
from tests.reload_soak import memory_kb
from tests.running import running

LEVEL: Final = Sla(limits=(Limit(0.999, 20.0),), durable_limits=(Limit(0.999, 100.0),), late_are_errors=False)
"""What must hold of half an hour: the service level's p99.9, for which a call that is refused is a late one."""

SAMPLES: Final = 360
"""Looks at the memory in the whole time: one in five seconds of half an hour."""

SETTLED: Final = 1 / 3
"""Share of the time in which caches fill; memory is judged over the rest."""

BLOCKS: Final = 8
"""Neighbouring samples resemble each other, so the slope's noise is that of the means of so many stretches."""

T_95: Final = 2.447
"""Student's t for six degrees of freedom: BLOCKS - 2."""

NEGLIGIBLE: Final = 0.01
"""Growth over the whole time, as a share of the memory, that counts as none even where noise is less."""


class Slope(NamedTuple):
    """How a quantity grows over the time that it was watched, as a share of its mean, with its 95 % interval."""

    growth: float
    half_width: float

    @property
    def flat(self) -> bool:
        """Return whether it does not grow, within noise."""
        return self.growth <= max(self.half_width, NEGLIGIBLE)

    def __str__(self) -> str:
        """Return it in percent."""
        return f"{self.growth:+.2%} ± {self.half_width:.2%}"


def slope_of(samples: Sequence[float]) -> Slope:
    """Return the slope of samples taken at even distances, at least BLOCKS of them, by least squares of block means."""
    size = len(samples) // BLOCKS
    assert size, "too few samples for a slope"
    means = [fmean(samples[n * size : (n + 1) * size]) for n in range(BLOCKS)]
    at = [n - (BLOCKS - 1) / 2 for n in range(BLOCKS)]
    spread = sum(x * x for x in at)
    slope = sum(x * y for x, y in zip(at, means, strict=True)) / spread
    middle = fmean(means)
    left = [y - middle - slope * x for x, y in zip(at, means, strict=True)]
    error = (sum(one * one for one in left) / (BLOCKS - 2) / spread) ** 0.5
    scale = BLOCKS / middle
    return Slope(slope * scale, T_95 * error * scale)


class Sampler:
    """Looks at the memory of processes every few seconds of the stage that counts."""

    def __init__(self, process_ids: Sequence[int], every_s: float) -> None:
        """Begin to look when told to."""
        self.samples_kb: list[float] = []
        self._process_ids = process_ids
        self._every_s = every_s
        self._looking = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def begin(self, stage: Stage) -> None:
        """Look during the measured stage alone."""
        if stage.name == MEASURE:
            self._looking.set()
        else:
            self._looking.clear()

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(self._every_s):
            if self._looking.is_set():
                self.samples_kb.append(float(sum(memory_kb(one)["own_kb"] for one in self._process_ids)))


@contextmanager
def store_settings(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """Give the settings of a store; one of Aerospike is started for the block."""
    if kind == "lmdb":
        yield {"FRAUD_STORE__LMDB__PATH": str(folder / "store"), "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": str(1 << 34)}
        return
    server = Asd(folder / "asd", data_size="4G")
    server.start()
    try:
        yield {"FRAUD_STORE__KIND": "aerospike", "FRAUD_STORE__AEROSPIKE__HOSTS": f'["{server.host}"]'}
    finally:
        server.stop()


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pin", action="store_true", help="keep each worker on a processor of its own")
    parser.add_argument("--store", choices=["lmdb", "aerospike"], default="lmdb")
    parser.add_argument("--out", type=Path, default=Path("var/load"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        publish_model(folder / "registry")
        settings = {
            "FRAUD_SERVER__BUDGET_MS": "20",
            "FRAUD_SERVER__PIN_WORKERS": str(options.pin).lower(),
            "FRAUD_LOG_LEVEL": "error",
        }
        with (
            store_settings(options.store, folder) as store,
            running(folder, options.workers, **settings, **store) as it,
        ):
            plan = Plan(seconds=round(options.minutes * 60), warm_up_s=20)
            sampler = Sampler(it.workers(), plan.seconds / SAMPLES)
            try:
                result = conduct(Trial(Target(it.target), plan, Mix(), LEVEL), sampler.begin)
            except NotReady as error:
                Console().print(f"nothing was tested: {error}", highlight=False)
                sys.exit(int(Verdict.VOID))
            finally:
                sampler.end()
    page = write_report(result, options.out / f"soak-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    show(result, page)
    settled = sampler.samples_kb[round(len(sampler.samples_kb) * SETTLED) :]
    slope = slope_of(settled)
    told = f"memory of the workers: {fmean(settled) / 1024:.1f} MB ± {stdev(settled) / 1024:.2f}, growth {slope}"
    Console().print(told, "[green]flat" if slope.flat else "[red]grows", highlight=False)
    sys.exit(int(result.judgement.verdict) if slope.flat else int(Verdict.FAIL))


if __name__ == "__main__":
    main()
