"""The lane's threads, and how much of their time is to spare."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace

import pytest

from service.access import ANYBODY
from service.lane_pool import LEISURE_S, Arrival, Call, Leisure, Pool
from tests.running import wait_until


def test_leisure_is_the_share_of_time_with_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is a time constant ago counts 1/e, whatever happened how often since."""
    now_s = 100.0
    monkeypatch.setattr("service.lane_pool.time", SimpleNamespace(monotonic=lambda: now_s))
    leisure = Leisure()
    assert leisure.share == 1.0
    leisure.note(idle=False)
    now_s += LEISURE_S
    assert leisure.share == pytest.approx(1 / math.e)
    leisure.note(idle=True)
    now_s += LEISURE_S
    assert leisure.share == pytest.approx(1 - (1 - 1 / math.e) / math.e)
    for n in range(4_000):  # a quarter of the time idle, in short stretches
        leisure.note(idle=not n % 4)
        now_s += LEISURE_S / 400
    assert leisure.share == pytest.approx(0.25, abs=0.01)


def test_leisure_of_a_pool_is_that_of_all_its_threads() -> None:
    """With one of two at work half of the time is to spare: both would take twice as long."""
    go_on = threading.Semaphore(0)

    def work(call: Call) -> int:
        del call
        go_on.acquire()
        return 1

    pool = Pool(2, "test", work)
    pool.start()
    call = Call(None, Arrival(0.0, 0.0, (), ANYBODY))
    pool.put(call)
    wait_until(lambda: 0.5 < pool.leisure.share < 0.55)
    pool.put(call)
    wait_until(lambda: pool.leisure.share < 0.1)
    go_on.release()
    wait_until(lambda: pool.leisure.share > 0.45)
    time.sleep(3 * LEISURE_S)
    assert pool.leisure.share < 0.55, "one is at work still"
    go_on.release()
    wait_until(lambda: pool.leisure.share > 0.9)
    pool.stop()
