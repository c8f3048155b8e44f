"""Threads whose work can wait neither interrupt those that answer, nor hold them up."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter

import pytest

from service.client import FraudClient
from service.scheduling import FEW, give_way, unhurried

linux = pytest.mark.skipif(sys.platform != "linux", reason="SCHED_BATCH is of Linux")


def policies() -> Counter[str]:
    """Return how many threads of this process have each policy, but for those that gRPC's core and pytest have."""
    return Counter(
        f"{thread.name.partition('_')[0]}: {os.sched_getscheduler(thread.native_id)}"
        for thread in threading.enumerate()
        if thread.native_id is not None
    )


@linux
def test_who_gives_way_is_the_thread_that_calls() -> None:
    """No other one of the process."""
    found: list[int] = []

    def run() -> None:
        give_way()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@linux
@pytest.mark.usefixtures("app")
def test_what_is_written_and_explained_gives_way_to_scores(client: FraudClient) -> None:
    """The lane does not; recording, the decision log, reasons and calls of other methods do."""
    client.lineup()
    found = policies()
    for name in ("record-0", "decision-log", "explain", "call"):
        assert found[f"{name}: {os.SCHED_BATCH}"] >= 1, found
        assert found[f"{name}: {os.SCHED_OTHER}"] == 0, found
    assert found[f"lane: {os.SCHED_OTHER}"] == 1


@linux
def test_system_that_does_not_let_us_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes forbid the call."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(*arguments)

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    give_way()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_unhurried_work_pauses_after_every_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """All items come, in their order; others get a turn between, and none is waited for at the end of a few."""
    seen: list[int | str] = []
    monkeypatch.setattr("service.scheduling.pause", lambda: seen.append("pause"))
    for item in unhurried(iter(range(7)), few=3):
        seen.append(item)  # noqa: PERF402  pauses come between
    assert seen == [0, 1, 2, "pause", 3, 4, 5, "pause", 6]


@pytest.mark.parametrize(("hurried", "others"), [(True, 0), (False, 4)])
def test_others_run_between_the_few(hurried: bool, others: int) -> None:  # noqa: FBT001
    """With an interpreter that nobody would take from it for ten seconds, work lets go of it by itself."""
    turns = 0
    begun, over = threading.Event(), threading.Event()

    def other() -> None:
        nonlocal turns
        begun.set()
        while not over.is_set():
            turns += 1
            over.wait(1e-9)

    before_s = sys.getswitchinterval()
    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    try:
        sys.setswitchinterval(10)
        before = turns
        items = range(10 * FEW)
        for _ in items if hurried else unhurried(items):
            pass
        seen = turns - before
    finally:
        sys.setswitchinterval(before_s)
        over.set()
        thread.join()
    assert seen >= others if others else seen == 0
