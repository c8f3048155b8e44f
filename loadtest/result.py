"""The result of a test: what was counted, what it was about, and how it is judged."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from loadtest.mix import EMPTY, RECORD, SCORE, SCORE_RECORD, Mix
from loadtest.plan import Plan
from loadtest.search import Step, peak_of, saturation_of
from loadtest.sla import Judgement, Sla, is_void, judge
from loadtest.tally import Key, Tally, total
from loadtest.windows import Window, windows_of


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
    def peak(self) -> float:
        """Return the calls a second that a closed loop got answered at most; 0 when that was not measured."""
        return peak_of(self.steps)

    @property
    def saturation(self) -> float:
        """Return the highest rate of an open loop that was answered nearly all; 0 when that was not measured."""
        return saturation_of(self.steps)

    @cached_property
    def windows(self) -> list[Window]:
        """Return the windows of the measured stage."""
        return windows_of(self.counted, self.plan.seconds)

    @cached_property
    def void_windows(self) -> list[Window]:
        """Return those in which the empty handler was late or failed."""
        return [window for window in self.windows if is_void(self.sla, window.seen.empties)]

    @cached_property
    def judgement(self) -> Judgement:
        """Return how it is judged."""
        return judge(self.sla, [window.seen for window in self.windows])

    @property
    def decided(self) -> str:
        """Return how the scores were decided, in words; "" when none was answered."""
        decisions = self.calls.decisions
        return ", ".join(f"{count / decisions.total():.1%} {name}" for name, count in decisions.most_common())

    @property
    def words(self) -> list[tuple[str, str]]:
        """Return what the first call of each status without an answer was told, most frequent status first."""
        calls = self.calls
        return [(code, calls.words[code]) for code, _ in calls.codes.most_common() if calls.words.get(code)]

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
        judgement = self.judgement
        return {
            "verdict": judgement.verdict.name,
            "sentence": judgement.sentence,
            "objectives": [one._asdict() for one in judgement.objectives],
            "windows": judgement.windows,
            "void_windows": [[window.begin_s, window.end_s] for window in self.void_windows],
            "began_at": self.began_at.astimezone(UTC).isoformat(timespec="seconds"),
            "target": self.target,
            "answer": self.answer,
            "workers": self.workers,
            "machine": self.machine,
            "plan": asdict(self.plan),
            "mix": asdict(self.mix),
            "peak": self.peak or None,
            "saturation": self.saturation or None,
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
