"""Promotions and rollbacks under constant load: no call may fail or be wrong, and memory stays flat.

    python -m tests.reload_soak [--changes 100] [--workers 2]

Client threads ask without a pause while the lineup is changed again and again. Every answer names a revision
and versions: they must be those that the history has for that revision and that user, the score what those
versions give when LightGBM itself is asked, and the revision none that was already replaced in every worker
when the call began. Prints a JSON summary; exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import grpc

from service.client import FraudClient, purchase_message
from service.core.compiled import compile_row
from service.core.draw import Draw
from service.core.event import Event
from service.core.features import FEATURES
from service.core.row import row_of
from service.pb import fraud_pb2 as pb
from service.registry.artifact import read_artifact, version_path
from service.registry.lineup_file import CanaryAnswer, LineupSpec
from service.registry.manifest import ThresholdChoice
from service.registry.promotion import promote, rollback, set_blend, set_canary, set_challengers
from service.registry.servable import resolved
from service.settings import LmdbSettings
from service.store.lmdb import LmdbStore
from tests.make import NOW_MS, make_purchase
from tests.registry.build import build_artifact
from tests.running import running, wait_until

USERS: Final = 40
PURCHASES: Final = 200
SETTLED: Final = 10
"""Changes after which memory is taken for settled."""

LIVE_WITHIN_S: Final = 2.0
GROWTH: Final = 1.10

REST_S: Final = 0.1
"""Pause after each change, so that every revision answers for a while."""


class Answered(NamedTuple):
    """What an answer said, in what matters here."""

    purchase: int
    revision: int
    versions: tuple[int, ...]
    score: float
    decision: int


class Load:
    """Client threads that ask without a pause, and what they were told."""

    def __init__(self, target: str, purchases: Sequence[Event], threads: int) -> None:
        """Get what it needs."""
        self.answers: Counter[Answered] = Counter()
        self.failures: Counter[str] = Counter()
        self.stale = 0
        self.floor = 0
        """Revision below which no call that begins now may be answered."""
        self._target = target
        self._messages = [purchase_message(one) for one in purchases]
        self._stopping = threading.Event()
        self._noting = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(threads)]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        pick = random.Random(seed)
        with FraudClient(self._target, score_deadline_ms=10_000) as client:
            while not self._stopping.is_set():
                at, floor = pick.randrange(len(self._messages)), self.floor
                try:
                    answer = client.score(self._messages[at])
                except grpc.RpcError as error:
                    with self._noting:
                        self.failures[f"{error.code().name}: {error.details()}"] += 1
                    continue
                told = Answered(at, answer.lineup_revision, tuple(answer.model_versions), answer.score, answer.decision)
                with self._noting:
                    self.answers[told] += 1
                    self.stale += answer.lineup_revision < floor


# --- what the answers must be -------------------------------------------------------------------


class Truth:
    """The score of every purchase by every version, as LightGBM's own package gives it."""

    def __init__(self, folder: Path, purchases: Sequence[Event], versions: Sequence[int]) -> None:
        """Work it out; the profiles must not change any more."""
        import lightgbm  # noqa: PLC0415  takes a second

        store = LmdbStore(LmdbSettings(path=folder / "store", max_size_bytes=1 << 28), "attempts", 100)
        images = [view.images for view in store.read(purchases, 10.0)]
        store.close()
        self._users = [one.user_id for one in purchases]
        self._scores: dict[tuple[int, int], float] = {}
        self._thresholds: dict[int, ThresholdChoice] = {}
        for version in versions:
            artifact = read_artifact(version_path(folder / "registry", version))
            row = compile_row([feature.formula for feature in resolved(artifact.manifest)])
            rows = [row_of(row, *one) for one in zip(purchases, images, strict=True)]
            booster = lightgbm.Booster(model_str=artifact.model_text.decode())
            calibration = artifact.manifest.calibration.calibration()
            for at, raw in enumerate(booster.predict(rows, raw_score=True, num_threads=1)):
                self._scores[version, at] = calibration.score(float(raw))
            self._thresholds[version] = artifact.manifest.thresholds

    def wrong(self, told: Answered, lineups: dict[int, LineupSpec]) -> str:
        """Return what is wrong with an answer, or ""."""
        spec = lineups.get(told.revision)
        if spec is None:
            return f"revision {told.revision} never was"
        versions = spec.answering
        if isinstance(spec.answer, CanaryAnswer):
            drawn = Draw("canary:", spec.answer.share).takes(self._users[told.purchase])
            versions = (spec.answer.version,) if drawn else (spec.champion,)
        if told.versions != versions:
            return f"revision {told.revision} answers by {versions}, not {told.versions}"
        score = sum(self._scores[version, told.purchase] for version in versions) / len(versions)
        if told.score != score:
            return f"versions {versions} score purchase {told.purchase} {score}, not {told.score}"
        chosen = spec.answer.thresholds if spec.answer.kind == "blend" else self._thresholds[versions[0]]
        decision = pb.DECLINE if score >= chosen.decline else pb.REVIEW if score >= chosen.review else pb.APPROVE
        return "" if told.decision == decision else f"score {score} decides {decision}, not {told.decision}"


# --- the changes ----------------------------------------------------------------------------------


def change(registry: Path, number: int, versions: Sequence[int], present: LineupSpec) -> LineupSpec:
    """Change the lineup: mostly promotions and rollbacks, and now and then a shadow, a canary or a blend."""
    who, why = "soak", f"change {number}"
    others = [version for version in versions if version != present.champion]
    one = others[number % len(others)]
    if number % 10 == 4:
        return set_challengers(registry, [one], who, why)
    if number % 10 == 6:
        return set_canary(registry, one, 0.3, who, why)
    if number % 10 == 8:
        return set_blend(registry, [present.champion, one], who, why)
    if number % 3 == 2:
        return rollback(registry, who, why)
    return promote(registry, one, who, why)


def memory_kb(process_id: int) -> dict[str, int]:
    """Return the resident memory of a process: all of it, what is the mapped store's, and the rest, which is its own.

    Pages of the store are the kernel's cache, which it takes back; they come as decisions are written and read.
    """
    process = Path(f"/proc/{process_id}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text(encoding="ascii").splitlines())
    rss_kb, store_kb, in_store = int(status["VmRSS"].split()[0]), 0, False
    for line in (process / "smaps").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if "-" in name.split()[0]:  # a mapping begins: addresses, rights, and the file
            in_store = line.endswith("/data.mdb")
        elif in_store and name == "Rss":
            store_kb += int(value.split()[0])
    return {"rss_kb": rss_kb, "store_kb": store_kb, "own_kb": rss_kb - store_kb}


def live_everywhere(client: FraudClient, workers: int, revision: int) -> bool:
    """Return whether every worker answers from a revision or a later one."""
    told = client.lineup().workers
    return len(told) == workers and all(one.lineup_revision >= revision for one in told)


def soak(folder: Path, changes: int, workers: int, threads: int, trees: int) -> dict[str, Any]:
    """Run it and return the summary."""
    registry = folder / "registry"
    sets = (FEATURES, FEATURES[:30], FEATURES[::2], FEATURES[10:])
    versions = [
        build_artifact(
            registry,
            features,
            seed=seed,
            trees=trees,
            leaves=31,
            thresholds=ThresholdChoice(review=0.3 + seed / 20, decline=0.6, why="a test"),
        )
        for seed, features in enumerate(sets)
    ]
    lineups = {1: promote(registry, versions[0], "soak", "first")}
    environment = {"FRAUD_SERVER__MAX_CONNECTION_AGE_S": "7", "FRAUD_SCORING__EXPLAIN_DECISIONS": "false"}
    asked = [purchase(n, f"p-{n}", NOW_MS) for n in range(PURCHASES)]
    with running(folder, workers, **environment) as service, FraudClient(service.target) as client:
        prepare(service.target)
        truth, load = Truth(folder, asked, versions), Load(service.target, asked, threads)
        live_s, memory = [], []
        wait_until(lambda: live_everywhere(client, workers, 1))
        ids = [worker.worker for worker in client.lineup().workers]
        load.start()
        for number in range(changes):
            made = change(registry, number, versions, lineups[max(lineups)])
            lineups[made.revision] = made
            live_s.append(wait_until(partial(live_everywhere, client, workers, made.revision)))
            load.floor = made.revision
            time.sleep(REST_S)
            memory.append([memory_kb(process_id) for process_id in ids])
        load.stop()
        kept = ids == [worker.worker for worker in client.lineup().workers]
        code = service.stop()
    store_kb = sum(path.stat().st_blocks for path in (folder / "store").iterdir()) // 2
    wrong = Counter[str]()
    for told, count in load.answers.items():
        if problem := truth.wrong(told, lineups):
            wrong[problem] += count
    rest = {"store_kb": store_kb, "workers_kept": kept, "exit_code": code, "workers": workers}
    return summary(load, wrong, live_s, memory) | rest


def purchase(number: int, purchase_id: str, time_ms: int) -> Event:
    """Return a purchase of entities that others share, each with an amount of its own."""
    return make_purchase(
        purchase_id,
        user_id=f"u-{number % USERS}",
        seller_id=f"s-{number % 7}",
        item_id=f"i-{number % 11}",
        card_hash=f"c-{number % USERS}",
        amount_minor=500 + 997 * (number % PURCHASES),
        event_time_ms=time_ms,
    )


def prepare(target: str) -> None:
    """Give the users a history; nothing is recorded after it."""
    past = [purchase(n, f"h-{n}", NOW_MS - (USERS * 6 - n) * 600_000) for n in range(USERS * 6)]
    with FraudClient(target) as client:
        outcomes = client.record(pb.Event(purchase=purchase_message(one)) for one in past)
    assert {one.status for one in outcomes} <= {pb.APPLIED, pb.LATE}, outcomes


def summary(
    load: Load, wrong: Counter[str], live_s: Sequence[float], memory: Sequence[Sequence[dict[str, int]]]
) -> dict[str, Any]:
    """Return what came of it, as plain values."""
    settled = memory[min(SETTLED, len(memory)) - 1]
    late = memory[-max(len(memory) // 5, 1) :]
    growth = {
        key: [max(sample[at][key] for sample in late) / one[key] for at, one in enumerate(settled)]
        for key in ("rss_kb", "own_kb")
    }
    failed = sum(load.failures.values())
    return {
        "changes": len(live_s),
        "calls": sum(load.answers.values()) + failed,
        "failed": failed,
        "failures": dict(load.failures),
        "wrong": sum(wrong.values()),
        "wrongs": dict(wrong.most_common(5)),
        "stale": load.stale,
        "revisions_seen": len({told.revision for told in load.answers}),
        "live_everywhere_s": {"median": round(median(live_s), 3), "max": round(max(live_s), 3)},
        "memory_after_tenth": settled,
        "memory_at_end": memory[-1],
        "growth_rss": [round(one, 3) for one in growth["rss_kb"]],
        "growth_own": [round(one, 3) for one in growth["own_kb"]],
    }


def main() -> None:
    """Run the soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--trees", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), options.changes, options.workers, options.threads, options.trees)
    good = (
        result["failed"] == result["wrong"] == result["stale"] == result["exit_code"] == 0
        and result["workers_kept"]
        and result["live_everywhere_s"]["max"] < LIVE_WITHIN_S
        and max(result["growth_own"]) < GROWTH
    )
    print(json.dumps(result | {"good": good}, indent=2))  # noqa: T201  the answer of a command
    sys.exit(not good)


if __name__ == "__main__":
    main()
