"""The result of a test: what was counted, what it was about, and how it is judged."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest.mix import EMPTY, RECORD, SCORE, SCORE_RECORD, Mix
from loadtest.plan import Plan, Step
from loadtest.sla import Judgement, Seen, Sla, judge
from loadtest.tally import Key, Tally, total


@dataclass(frozen=True)
class Result:
    """All that is known of a test that came to its end."""

    began_at: datetime
    target: str
    answer: tuple[int, ...]
    """Versions that answered."""
    workers: int
    machine: str
    plan: Plan
    mix: Mix
    sla: Sla
    steps: tuple[Step, ...]
    rate: float
    """Calls a second that were due."""
    counted: Mapping[Key, Tally]
    """Of the measured stage."""
    generator_cores: float
    """Cores that the generators used, on average."""
    max_lag_ms: float

    @property
    def calls(self) -> Tally:
        """Return the service's calls together."""
        return total(tally for key, tally in self.counted.items() if key.kind != EMPTY)

    @property
    def empties(self) -> Tally:
        """Return the calls to the empty handler."""
        return self.of_kind(EMPTY)

    @property
    def judgement(self) -> Judgement:
        """Return how it is judged."""
        durable = total((self.of_kind(SCORE_RECORD), self.of_kind(RECORD)))
        return judge(self.sla, Seen(self.of_kind(SCORE), durable, self.empties))

    def of_kind(self, kind: str) -> Tally:
        """Return the calls of one kind."""
        return total(tally for key, tally in self.counted.items() if key.kind == kind)

    def kinds(self) -> Iterator[tuple[str, Tally]]:
        """Yield each kind of call that was made, with its tally."""
        for kind in (SCORE, SCORE_RECORD, RECORD, EMPTY):
            tally = self.of_kind(kind)
            if tally.calls:
                yield kind, tally

    def by_second(self, *, empty: bool) -> list[tuple[int, Tally]]:
        """Return each second of the measured stage with its calls, in order."""
        found: dict[int, Tally] = {}
        for key, tally in self.counted.items():
            if (key.kind == EMPTY) == empty:
                found.setdefault(key.second, Tally()).add(tally)
        return sorted(found.items())

    def write(self, folder: Path) -> None:
        """Write result.json: everything, so that another look needs no other run."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(self._plain(), indent=1), encoding="utf-8")

    def _plain(self) -> dict[str, Any]:
        verdict, sentence, objectives = self.judgement
        return {
            "verdict": verdict.name,
            "sentence": sentence,
            "objectives": [one._asdict() for one in objectives],
            "began_at": self.began_at.astimezone(UTC).isoformat(timespec="seconds"),
            "target": self.target,
            "answer": self.answer,
            "workers": self.workers,
            "machine": self.machine,
            "plan": asdict(self.plan),
            "mix": asdict(self.mix),
            "steps": [step._asdict() for step in self.steps],
            "rate": self.rate,
            "generator_cores": round(self.generator_cores, 3),
            "max_lag_ms": round(self.max_lag_ms, 3),
            "tallies": [[*key, tally.to_plain()] for key, tally in sorted(self.counted.items())],
        }


def machine() -> str:
    """Return what the test ran on, in a few words."""
    model = platform.processor() or platform.machine()
    for line in (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else ()
    ):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{cores()} cores, {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
