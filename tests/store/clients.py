"""Clients of Aerospike that fail on purpose, each in one named way."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aerospike

TIMED_OUT = -15
"""What the official client gives every key of a batch whose answer never came."""


class Crash(Exception):
    """The process is gone."""


class CrashingClient:
    """The official client in a process that dies at its `at`-th write, before it is sent or after the server ran it."""

    def __init__(self, config: dict[str, Any], at: int, *, sent: bool) -> None:
        """Connect."""
        self._client = aerospike.client(config)
        self._left, self._sent = at, sent

    def batch_read(self, keys: Any, bins: Any, policy: Any) -> Any:
        """Read, while alive."""
        self._die_if(self._left <= 0)
        return self._client.batch_read(keys, bins, policy)

    def batch_write(self, batch_records: Any, policy_batch: Any) -> Any:
        """Write, while alive."""
        self._left -= 1
        self._die_if(self._left < 0 or (self._left == 0 and not self._sent))
        results = self._client.batch_write(batch_records, policy_batch)
        self._die_if(self._left == 0)
        return results

    def info_all(self, command: str) -> Any:
        """Ask, while alive."""
        return self._client.info_all(command)

    def get_stats(self) -> Any:
        """Tell of its nodes and connections."""
        return self._client.get_stats()

    def close(self) -> None:
        """Let go of it."""
        self._client.close()

    def _die_if(self, now: bool) -> None:  # noqa: FBT001 - read aloud
        if now:
            raise Crash


class DeafClient:
    """The official client, which never hears the answer to its `at`-th write; the server ran it all the same."""

    def __init__(self, config: dict[str, Any], at: int) -> None:
        """Connect."""
        self._client = aerospike.client(config)
        self._left = at

    @property
    def unheard(self) -> bool:
        """Tell whether it came to that."""
        return self._left <= 0

    def batch_read(self, keys: Any, bins: Any, policy: Any) -> Any:
        """Read."""
        return self._client.batch_read(keys, bins, policy)

    def batch_write(self, batch_records: Any, policy_batch: Any) -> Any:
        """Write, and hear of it or not."""
        results = self._client.batch_write(batch_records, policy_batch)
        self._left -= 1
        if self._left:
            return results
        unheard = SimpleNamespace(result=TIMED_OUT, record=None)
        return SimpleNamespace(result=TIMED_OUT, batch_records=[unheard] * len(batch_records.batch_records))

    def info_all(self, command: str) -> Any:
        """Ask."""
        return self._client.info_all(command)

    def get_stats(self) -> Any:
        """Tell of its nodes and connections."""
        return self._client.get_stats()

    def close(self) -> None:
        """Let go of it."""
        self._client.close()


class SleepyClient:
    """The official client in a process that is stopped before its `at`-th write, while something else happens."""

    def __init__(self, config: dict[str, Any], at: int, meanwhile: Callable[[], None]) -> None:
        """Connect."""
        self._client = aerospike.client(config)
        self._left, self._meanwhile = at, meanwhile

    @property
    def slept(self) -> bool:
        """Tell whether it came to that."""
        return self._left <= 0

    def batch_read(self, keys: Any, bins: Any, policy: Any) -> Any:
        """Read."""
        return self._client.batch_read(keys, bins, policy)

    def batch_write(self, batch_records: Any, policy_batch: Any) -> Any:
        """Write, after a sleep or not."""
        self._left -= 1
        if self._left == 0:
            self._meanwhile()
        return self._client.batch_write(batch_records, policy_batch)

    def info_all(self, command: str) -> Any:
        """Ask."""
        return self._client.info_all(command)

    def get_stats(self) -> Any:
        """Tell of its nodes and connections."""
        return self._client.get_stats()

    def close(self) -> None:
        """Let go of it."""
        self._client.close()


class Clock:
    """The time of day as a test sets it."""

    def __init__(self, now_s: float) -> None:
        """Begin at a time."""
        self.now_s = now_s

    def __call__(self) -> float:
        """Return it."""
        return self.now_s
