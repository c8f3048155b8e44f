"""The whole story once: `make run`.

Simulate a market, start the service on the embedded store, record the history through gRPC, train,
promote, watch the service pick the version up, play the last day live, and show what was caught.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import numpy as np
import polars as pl
import typer
from rich.table import Table

from service.client import FraudClient, purchase_message
from service.core.event import EventKind
from service.core.windows import DAY_MS
from service.exit_codes import run
from service.pb import fraud_pb2 as pb
from service.registry.promotion import promote
from training.console import OUT, progress
from training.data import events
from training.learning.options import TrainOptions
from training.learning.train import TrainSummary, train
from training.live import answered, record, record_file, running_service, wait_followed
from training.metrics import average_precision, recall_at
from training.pictures import draw_last_day
from training.simulate import MarketSettings, SimulationSummary, simulate

REVIEW_RATE: Final = 0.02


class Played(NamedTuple):
    """One purchase of the last day: the truth, the answer, and how long the call took."""

    purchase_id: str
    pattern: str
    label: int
    score: float
    decision: int
    call_ms: float


def market_settings(purchases: int, days: int, seed: int) -> MarketSettings:
    """Return the market of the story."""
    return MarketSettings(purchases=purchases, days=days, seed=seed, fraud_rate=0.02, settle_completed=False)


def train_options(seed: int) -> TrainOptions:
    """Return how its model is trained."""
    return TrainOptions(seed=seed, review_rate=REVIEW_RATE, decline_precision=0.8, least_declined=10, notes="make run")


def play(client: FraudClient, frame: pl.DataFrame, tell: events.Progress) -> list[Played]:
    """Send one day as it happened: purchases are scored and recorded one by one, the rest is recorded."""
    day = events.events_of(frame)
    truth = zip(frame["label"].fill_null(0).to_list(), frame["pattern"].to_list(), strict=True)
    played = []
    for done, (event, (label, pattern)) in enumerate(zip(day, truth, strict=True), 1):
        if event.kind is EventKind.PURCHASE:
            begun_s = time.perf_counter()
            with answered():
                answer = client.score(purchase_message(event), record=True)
            call_ms = (time.perf_counter() - begun_s) * 1000
            played.append(Played(event.event_id, pattern, label, answer.score, answer.decision, call_ms))
        else:
            record(client, [event])
        tell("playing the last day live", done, len(day))
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
    settings = market_settings(purchases, days, seed)
    last_day_ms = settings.end_ms - DAY_MS
    with progress(quiet=False, console=OUT) as tell:
        market = simulate(settings, out / "events.parquet", tell)
        history, day = _divide(market, last_day_ms, settings.end_ms, out)
        with running_service(out, out / "registry") as target, FraudClient(target, score_deadline_ms=1000) as client:
            _step(f"service on {target}, embedded store in {out / 'store'}")
            recorded = record_file(client, history, tell)
            _step("recorded " + ", ".join(f"{count:,} {name}" for name, count in sorted(recorded.items())))
            trained = train(history, out / "registry", train_options(seed), datetime.now(UTC), tell)
            assert trained.version is not None, "it was told to publish"
            promote(out / "registry", trained.version, "make run", "first version of the demonstration")
            live_s = wait_followed(client, trained.version)
            _step(f"version {trained.version} trained, promoted, and live in the service after {live_s:.2f} s")
            played = play(client, day, tell)
    pictures = draw_last_day(played, out / "pictures")
    _show(market, trained, played, out, pictures, time.monotonic() - begun_s)


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
    OUT.print(table)
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
    OUT.print(facts)


def _decided(some: Sequence[Played]) -> list[str]:
    decisions = Counter(one.decision for one in some)
    return [f"{len(some):,}", *(f"{decisions[one]:,}" for one in (pb.DECLINE, pb.REVIEW, pb.APPROVE))]


def _step(sentence: str) -> None:
    OUT.print(f"• {sentence}", highlight=False)


if __name__ == "__main__":
    run(lambda: typer.run(main))
