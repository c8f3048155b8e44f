"""Conducting: prepares a service, has the generators follow the plan stage by stage, and returns the result.

`locustfile` conducts in a greenlet of locust, the soaks in plain threads: nothing here knows the difference.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from loadtest.generator import Order, Setup
from loadtest.generators import ROOT, Generators, Listener, empty_handler, generators
from loadtest.line import Target
from loadtest.mix import Mix
from loadtest.plan import MEASURE, REST, WARM_UP, Course, Plan, Stage
from loadtest.result import Result, machine
from loadtest.search import shortcoming
from loadtest.sla import Sla

LATE_S: Final = 1.0
"""Rest between stages beyond a call's deadline, in which the last answers come and are reported."""


LINES_PER_WORKER: Final = 4
"""Connections for each worker. The kernel gives each to some worker by chance: of two for each, most often one worker
gets three quarters of the load."""


class NotReady(Exception):
    """The service cannot be tested; the text says why."""


@dataclass(frozen=True)
class Trial:
    """What to test, and how."""

    target: Target
    plan: Plan
    mix: Mix
    sla: Sla
    generators: int = 1
    """Processes that send; one sends some 8,000 calls a second on a core of its own."""
    deadline_ms: int = 1_000
    seed: int = 7
    constant: bool = False
    """Space calls evenly instead of letting them come independently of each other."""


def conduct(trial: Trial, begin: Callable[[Stage], None], listener: Listener | None = None) -> Result:
    """Carry a test out. `begin` is called as each stage begins, `listener` with what each report brought.

    Raises NotReady when the service cannot be reached, has no model, answers nothing, or too little at every rate.
    """
    began_at = datetime.now(UTC)
    found = prepared(trial)
    name = f"{began_at:%m%d%H%M%S}"
    with empty_handler() as empty:
        setups = [
            Setup(
                target=trial.target,
                empty=empty,
                name=f"{name}-{number}",
                seed=trial.seed + number,
                lines=max(LINES_PER_WORKER, LINES_PER_WORKER * found["workers"] // trial.generators),
                deadline_ms=trial.deadline_ms,
                spacing="constant" if trial.constant else "poisson",
                mix=trial.mix,
            )
            for number in range(trial.generators)
        ]
        with generators(setups, listener) as sending:
            course, cpu_s = _play(trial, sending, begin)
    counted = sending.of_stage(MEASURE)
    if not counted:
        raise NotReady(f"{trial.target.address} {shortcoming(course.steps)}")
    return Result(
        began_at=began_at,
        target=trial.target.address,
        answer=tuple(found["answer"]),
        workers=found["workers"],
        machine=machine(),
        plan=trial.plan,
        mix=trial.mix,
        sla=trial.sla,
        steps=course.steps,
        rate=course.rate,
        counted=counted,
        generator_cores=cpu_s / trial.plan.seconds,
        max_lag_ms=sending.max_lag_ms,
    )


def _play(trial: Trial, sending: Generators, begin: Callable[[Stage], None]) -> tuple[Course, float]:
    """Go through the stages; returns the course and the CPU seconds that the generators took to measure."""
    course, cpu_s = Course(trial.plan, sending.of_stage), 0.0
    rest = Stage(trial.deadline_ms / 1000 + LATE_S, Order(REST))
    for stage in course.stages():
        before_s = sending.cpu_s
        sending.max_lag_ms = 0.0
        for one in (stage,) if stage.name == WARM_UP else (stage, rest):
            begin(one)
            sending.follow(one.order)
            time.sleep(one.seconds)
        cpu_s = sending.cpu_s - before_s
    return course, cpu_s


def prepared(trial: Trial) -> dict[str, Any]:
    """Have the service take in the population's history; returns what it has live. Raises NotReady."""
    plain = {"target": trial.target._asdict(), "mix": asdict(trial.mix)}
    command = [sys.executable, "-m", "loadtest.prepare"]
    # gRPC says on the error output what it could not do, and so does the line that it prints.
    done = subprocess.run(  # noqa: S603  our own module
        command, input=json.dumps(plain), capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise NotReady(done.stderr.strip().rpartition("\n")[2])
    found: dict[str, Any] = json.loads(done.stdout)
    if "problem" in found:
        raise NotReady(found["problem"])
    return found
