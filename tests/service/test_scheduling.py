"""Threads whose work can wait do not interrupt those that answer."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter

import pytest

from service.client import FraudClient
from service.scheduling import give_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SCHED_BATCH is of Linux")


def policies() -> Counter[str]:
    """Return how many threads of this process have each policy, but for those that gRPC's core and pytest have."""
    return Counter(
        f"{thread.name.partition('_')[0]}: {os.sched_getscheduler(thread.native_id)}"
        for thread in threading.enumerate()
        if thread.native_id is not None
    )


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


@pytest.mark.usefixtures("app")
def test_what_is_written_and_explained_gives_way_to_scores(client: FraudClient) -> None:
    """The lane does not; recording, the decision log, reasons and calls of other methods do."""
    client.lineup()
    found = policies()
    for name in ("record-0", "decision-log", "explain", "call"):
        assert found[f"{name}: {os.SCHED_BATCH}"] >= 1, found
        assert found[f"{name}: {os.SCHED_OTHER}"] == 0, found
    assert found[f"lane: {os.SCHED_OTHER}"] == 1


def test_system_that_does_not_let_us_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sandboxes forbid the call."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(*arguments)

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    give_way()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
