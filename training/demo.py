"""The whole story once: `make run`.

Simulate a market, start the service on the embedded store, record the history through gRPC, train,
promote, watch the service pick the version up, play the last day live, and show what was caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.client import FraudClient, event_message, purchase_message
from service.core.event import Event, EventKind
from service.core.windows import DAY_MS
from service.errors import FraudError
from service.exit_codes import ExitCode
from service.pb import fraud_pb2 as pb
from service.registry.promotion import promote
from training import events
from training.metrics import average_precision, recall_at
from training.pictures import draw_last_day
from training.simulate import MarketSettings, SimulationSummary, simulate
from training.train import TrainOptions, TrainSummary, train

BATCH_EVENTS: Final = 1000
REVIEW_RATE: Final = 0.02
PICKED_UP_S: Final = 30.0
"""How long the service may take to pick a promoted version up before the run fails."""

_OUT = Console()
_TO_RETRY: Final = frozenset({pb.REJECTED, pb.RETRY})


class Played(NamedTuple):
    """One purchase of the last day: the truth, the answer, and how long the call took."""

    purchase_id: str
    pattern: str
    label: int
    score: float
    decision: int
    call_ms: float


@contextmanager
def service(folder: Path) -> Iterator[tuple[FraudClient, int]]:
    """Run the service on the embedded store in a folder; gives a client and the port. Ends it by its process id."""
    environment = {
        **os.environ,
        "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
        "FRAUD_STORE__KIND": "lmdb",
        "FRAUD_STORE__LMDB__PATH": str(folder / "store"),
        "FRAUD_REGISTRY__PATH": str(folder / "registry"),
        "FRAUD_INGEST__CLOCK": "event",
    }
    with (folder / "service.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve"], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise typer.Exit(_failed(f"the service did not start: see {folder / 'service.log'}"))
            port = int(line.rsplit(" ", 1)[1])
            with FraudClient(f"127.0.0.1:{port}", score_deadline_ms=1000) as client:
                yield client, port
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


def record_history(client: FraudClient, history: Sequence[Event], progress: Progress) -> Counter[str]:
    """Record events in their order, in batches; returns how many had which outcome."""
    task = progress.add_task("recording the history through gRPC", total=len(history))
    outcomes: Counter[str] = Counter()
    for start in range(0, len(history), BATCH_EVENTS):
        batch = [event_message(event, with_ingest_time=True) for event in history[start : start + BATCH_EVENTS]]
        for outcome in client.record(batch):
            outcomes[pb.RecordStatus.Name(outcome.status)] += 1
            if outcome.status in _TO_RETRY:
                raise typer.Exit(_failed(f"event {outcome.event_id}: {outcome.field} {outcome.reason}"))
        progress.advance(task, len(batch))
    return outcomes


def wait_live(client: FraudClient, version: int) -> float:
    """Wait until the service answers from a version; returns the seconds that it took."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < PICKED_UP_S:
        if any(version in worker.answer for worker in client.lineup().workers):
            return time.monotonic() - begun_s
        time.sleep(0.02)
    raise typer.Exit(_failed(f"the service did not pick up version {version} within {PICKED_UP_S:g} s"))


def play(client: FraudClient, frame: pl.DataFrame, progress: Progress) -> list[Played]:
    """Send one day as it happened: purchases are scored and recorded one by one, the rest is recorded."""
    day = events.events_of(frame)
    truth = zip(frame["label"].fill_null(0).to_list(), frame["pattern"].to_list(), strict=True)
    task = progress.add_task("playing the last day live", total=len(day))
    played = []
    for event, (label, pattern) in zip(day, truth, strict=True):
        if event.kind is EventKind.PURCHASE:
            begun_s = time.perf_counter()
            answer = client.score(purchase_message(event), record=True)
            call_ms = (time.perf_counter() - begun_s) * 1000
            played.append(Played(event.event_id, pattern, label, answer.score, answer.decision, call_ms))
        else:
            client.record([event_message(event, with_ingest_time=True)])
        progress.advance(task)
    return played


def main(
    purchases: Annotated[int, typer.Option(help="Purchases of the simulated market.", min=20_000)] = 100_000,
    days: Annotated[int, typer.Option(help="Days of the simulated market.", min=45)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the market and of the training.")] = 7,
    out: Annotated[
        Path, typer.Option(help="Where everything is kept; what an earlier run left there is removed.")
    ] = Path("var/run"),
) -> None:
    """Play the whole story once, and end."""
    begun_s = time.monotonic()
    _prepare(out)
    settings = MarketSettings(purchases=purchases, days=days, seed=seed, fraud_rate=0.02, settle_completed=False)
    last_day_ms = settings.end_ms - DAY_MS
    bars = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*bars, console=_OUT, disable=not _OUT.is_terminal) as progress:

        def tell(what: str, done: int, total: int) -> None:
            known = next((task.id for task in progress.tasks if task.description == what), None)
            progress.update(known if known is not None else progress.add_task(what), completed=done, total=total)

        market = simulate(settings, out / "events.parquet", tell)
        history, day = _divide(market, last_day_ms, settings.end_ms, out)
        with service(out) as (client, port):
            _step(f"service on port {port}, embedded store in {out / 'store'}")
            recorded = record_history(client, events_in(history), progress)
            _step("recorded " + ", ".join(f"{count:,} {name}" for name, count in sorted(recorded.items())))
            options = TrainOptions(
                seed=seed, review_rate=REVIEW_RATE, decline_precision=0.8, least_declined=10, notes="make run"
            )
            trained = train(history, out / "registry", options, datetime.now(UTC), tell)
            promote(out / "registry", trained.version, "make run", "first version of the demonstration")
            live_s = wait_live(client, trained.version)
            _step(f"version {trained.version} trained, promoted, and live in the service after {live_s:.2f} s")
            played = play(client, day, progress)
    pictures = draw_last_day(played, out / "pictures")
    _show(market, trained, played, out, pictures, time.monotonic() - begun_s)


def events_in(path: Path) -> list[Event]:
    """Return all events of a file."""
    return [event for batch in events.batches(path) for event in batch]


def _prepare(out: Path) -> None:
    for name in ("store", "registry", "pictures"):
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)


def _divide(market: SimulationSummary, from_ms: int, until_ms: int, out: Path) -> tuple[Path, pl.DataFrame]:
    """Write what was known before the last day, and return the last day."""
    frame = events.scan(market.file.path).collect()
    known_ms = pl.col("ingest_time_ms")
    history = out / "history.parquet"
    events.write(history, [frame.filter(known_ms < from_ms)], {"made_by": "make run", "before_ms": from_ms})
    return history, frame.filter((known_ms >= from_ms) & (known_ms < until_ms))


def _show(
    market: SimulationSummary,
    trained: TrainSummary,
    played: Sequence[Played],
    out: Path,
    pictures: Path,
    seconds: float,
) -> None:
    labels = np.array([one.label for one in played], np.int8)
    scores = np.array([one.score for one in played])
    table = Table(title="the last day, as the service decided it", title_style="bold")
    for name in ("fraud pattern", "purchases", "declined", "reviewed", "missed"):
        table.add_column(name, justify="left" if name == "fraud pattern" else "right")
    for pattern in sorted({one.pattern for one in played if one.label}):
        table.add_row(pattern, *_decided([one for one in played if one.label and one.pattern == pattern]))
    table.add_section()
    table.add_row("all fraud", *_decided([one for one in played if one.label]), style="bold")
    table.add_row("honest (missed = let through)", *_decided([one for one in played if not one.label]))
    _OUT.print(table)
    call_ms = np.array([one.call_ms for one in played])
    facts = Table.grid(padding=(0, 2))
    facts.add_row("market", f"{market.purchases:,} purchases, {market.frauds:,} of them fraud")
    facts.add_row("average precision", f"{average_precision(labels, scores):.3f} on the last day")
    recall = recall_at(REVIEW_RATE)(labels, scores, np.ones(len(labels)))
    facts.add_row("recall", f"{recall:.1%} of the fraud among the {REVIEW_RATE:.0%} with the highest scores")
    facts.add_row(
        "calls",
        f"{len(played):,}, each recorded: p50 {np.median(call_ms):.2f} ms, p99 {np.quantile(call_ms, 0.99):.2f} ms",
    )
    facts.add_row("store", str(out / "store"))
    facts.add_row("registry", f"{out / 'registry'} (report: versions/{trained.version:06d}/report.html)")
    facts.add_row("pictures", str(pictures))
    riskiest = max(played, key=lambda one: one.score).purchase_id
    python = (
        Path(sys.executable).relative_to(Path.cwd()) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"
    )
    facts.add_row("look at one", f"FRAUD_STORE__LMDB__PATH={out / 'store'} {python} -m service decision {riskiest}")
    facts.add_row("took", f"{seconds:.0f} s")
    _OUT.print(facts)


def _decided(some: Sequence[Played]) -> list[str]:
    decisions = Counter(one.decision for one in some)
    return [f"{len(some):,}", *(f"{decisions[one]:,}" for one in (pb.DECLINE, pb.REVIEW, pb.APPROVE))]


def _step(sentence: str) -> None:
    _OUT.print(f"• {sentence}", highlight=False)


def _failed(sentence: str) -> ExitCode:
    typer.echo(f"error: {sentence}", err=True)
    return ExitCode.FAILED


if __name__ == "__main__":
    try:
        typer.run(main)
    except FraudError as error:
        sys.exit(_failed(str(error)))
