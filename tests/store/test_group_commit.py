"""Callers that come during a commit share the next one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Event, Lock

import pytest

from service.errors import StoreUnavailable
from service.store.group_commit import GroupCommit

CALLERS = 6


class Disk:
    """A commit that can be held up, and remembers the batches that it was given."""

    def __init__(self) -> None:
        """Let everything pass."""
        self.batches: list[list[int]] = []
        self.entered, self.may_go = Event(), Event()
        self.may_go.set()
        self.overlapping = False
        self._busy = Lock()

    def commit(self, items: Sequence[int]) -> list[int]:
        """Return ten times each item, when it may go on; a negative item cannot be kept."""
        self.overlapping |= not self._busy.acquire(blocking=False)
        self.batches.append(list(items))
        self.entered.set()
        assert self.may_go.wait(10)
        self._busy.release()
        if any(item < 0 for item in items):
            raise StoreUnavailable("no disk")
        return [10 * item for item in items]


def held_up(disk: Disk, commits: GroupCommit[int, int], threads: ThreadPoolExecutor) -> Future[list[int]]:
    """Begin a commit that does not end before the disk may go on."""
    disk.may_go.clear()
    first = threads.submit(commits.run, [0])
    assert disk.entered.wait(10)
    return first


def queue_up(
    commits: GroupCommit[int, int], threads: ThreadPoolExecutor, calls: Sequence[list[int]]
) -> list[Future[list[int]]]:
    """Start calls that must wait, and return once they do."""
    waiting = []
    for count, items in enumerate(calls, 1):
        waiting.append(threads.submit(commits.run, items))
        while commits.waiting < count:
            time.sleep(0.001)
    return waiting


def test_a_lone_caller_gets_its_results_in_order() -> None:
    """One call is one commit."""
    disk = Disk()
    assert GroupCommit(disk.commit, 100).run([3, 1, 2]) == [30, 10, 20]
    assert disk.batches == [[3, 1, 2]]


def test_nothing_is_committed_for_nothing() -> None:
    """An empty call touches no disk."""
    disk = Disk()
    assert GroupCommit(disk.commit, 100).run([]) == []
    assert disk.batches == []


def test_those_who_wait_share_a_commit() -> None:
    """Six callers that come during a commit take one more, and each gets its own results."""
    disk = Disk()
    commits = GroupCommit(disk.commit, 100)
    with ThreadPoolExecutor(CALLERS + 1) as threads:
        first = held_up(disk, commits, threads)
        waiting = queue_up(commits, threads, [[number, number + 100] for number in range(CALLERS)])
        disk.may_go.set()
        assert first.result() == [0]
        assert [one.result() for one in waiting] == [[10 * number, 10 * number + 1000] for number in range(CALLERS)]
    assert disk.batches == [[0], [item for number in range(CALLERS) for item in (number, number + 100)]]


def test_a_commit_is_bounded() -> None:
    """No commit has more items than the bound; a call that is larger by itself takes several."""
    disk = Disk()
    commits = GroupCommit(disk.commit, 4)
    with ThreadPoolExecutor(4) as threads:
        held_up(disk, commits, threads)
        waiting = queue_up(commits, threads, [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10]])
        disk.may_go.set()
        assert [one.result() for one in waiting] == [[10, 20, 30], [40, 50], [60, 70, 80, 90, 100]]
    assert disk.batches == [[0], [1, 2, 3], [4, 5], [6, 7, 8, 9], [10]]


def test_a_failure_reaches_all_who_shared_it_and_nobody_else() -> None:
    """Those behind a commit that failed are served."""
    disk = Disk()
    commits = GroupCommit(disk.commit, 2)
    with ThreadPoolExecutor(4) as threads:
        first = held_up(disk, commits, threads)
        waiting = queue_up(commits, threads, [[-1], [2], [3]])
        disk.may_go.set()
        assert first.result() == [0]
        for one in waiting[:2]:
            with pytest.raises(StoreUnavailable, match="no disk"):
                one.result()
        assert waiting[2].result() == [30]


def test_one_commit_runs_at_a_time() -> None:
    """However many threads call, commits never overlap and every item is committed once."""
    disk = Disk()
    commits = GroupCommit(disk.commit, 8)
    barrier = Barrier(CALLERS)

    def call(caller: int) -> None:
        barrier.wait()
        for number in range(100):
            item = 100 * caller + number
            assert commits.run([item]) == [10 * item]

    with ThreadPoolExecutor(CALLERS) as threads:
        list(threads.map(call, range(CALLERS)))
    assert not disk.overlapping
    assert sorted(item for batch in disk.batches for item in batch) == list(range(100 * CALLERS))
