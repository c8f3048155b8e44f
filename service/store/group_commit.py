"""Group commit: calls that come while one commit is under way share the next one, and its flush to disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

from service.errors import StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Call(Generic[Item, Result]):
    """One caller's items; `turn` is let go when they are done, or when the caller is to lead."""

    __slots__ = ("error", "items", "results", "turn")

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.results: list[Result] | None = None
        self.error = ""
        self.turn = Lock()
        self.turn.acquire()


class GroupCommit(Generic[Item, Result]):
    """Runs one commit at a time over the items of all callers that wait.

    The caller at the head of the queue leads: it commits for everybody who waits, then hands over to the
    next. So a lone caller commits in its own thread, with no hand-over at all, where a thread kept for
    writing would cost two wake-ups for each commit, a life of its own and a place in the shutdown.

    `commit` gets at most `max_items` items and returns one result for each; its StoreUnavailable
    reaches every caller whose items it had. What waits is bounded by the threads that call.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], list[Result]], max_items: int) -> None:
        """Begin with nobody waiting."""
        self._commit = commit
        self._max_items = max_items
        self._lock = Lock()
        self._queue: deque[_Call[Item, Result]] = deque()
        self._led = False

    @property
    def waiting(self) -> int:
        """Return how many calls wait for a commit that has not begun."""
        return len(self._queue)

    def run(self, items: Sequence[Item]) -> list[Result]:
        """Commit the items, most likely with those of others, and return their results in order."""
        call: _Call[Item, Result] = _Call(items)
        with self._lock:
            self._queue.append(call)
            leads, self._led = not self._led, True
        if not leads:
            call.turn.acquire()
        if call.results is None and not call.error:
            self._lead()
        if call.results is None:
            raise StoreUnavailable(call.error)
        return call.results

    def _lead(self) -> None:
        calls = self._take()
        try:
            self._commit_all(calls)
        except StoreUnavailable as error:
            for call in calls:
                call.error = str(error)
        finally:
            self._hand_over(calls)

    def _take(self) -> list[_Call[Item, Result]]:
        """Take what fits one commit from the head of the queue, where the leader's own call stands."""
        with self._lock:
            calls = [self._queue.popleft()]
            room = self._max_items - len(calls[0].items)
            while self._queue and len(self._queue[0].items) <= room:
                calls.append(self._queue.popleft())
                room -= len(calls[-1].items)
        return calls

    def _commit_all(self, calls: Sequence[_Call[Item, Result]]) -> None:
        items = [item for call in calls for item in call.items]
        results: list[Result] = []
        # Only a call that is larger than a commit by itself takes more than one.
        for start in range(0, len(items), self._max_items):
            results += self._commit(items[start : start + self._max_items])
        taken = 0
        for call in calls:
            call.results = results[taken : taken + len(call.items)]
            taken += len(call.items)

    def _hand_over(self, calls: Sequence[_Call[Item, Result]]) -> None:
        """Wake those who are done, and the next leader if anybody waits."""
        with self._lock:
            self._led = bool(self._queue)
            if self._led:
                self._queue[0].turn.release()
        for call in calls:
            if call.results is None and not call.error:
                call.error = "the commit was broken off"
            call.turn.release()
