"""The connection to an Aerospike cluster: how it is configured, what its codes mean, what is tried again.

Batches of the official client raise nothing when a node is slow or down: each result carries a code of its
own, and now and then there are fewer results than keys. Here every key gets its `Answer`, always.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol

import aerospike
from aerospike import exception

# Not in a function: two threads whose first batch imported this lazily have crashed client 19.3.0.
from aerospike_helpers.batch.records import BatchRecords, Read, Remove, Write

from service.errors import BadSetting, StoreUnavailable
from service.settings import AerospikeSettings

Bins = Mapping[str, Any]
Key = tuple[str, str, str]
Operation = dict[str, Any]

OK: Final = 0
NOT_FOUND: Final = 2
INVALID_REQUEST: Final = 4
EXISTS: Final = 5
FULL: Final = 8
WRONG_TYPE: Final = 12
TOO_BIG: Final = 13
UNKNOWN_NAMESPACE: Final = 20
BAD_BIN_NAME: Final = 21
FORBIDDEN: Final = 22
ELEMENT_EXISTS: Final = 24
NOT_APPLICABLE: Final = 26
FILTERED: Final = 27
NO_ANSWER: Final = -15

POISON: Final = frozenset({WRONG_TYPE, NOT_APPLICABLE})
"""Codes that say that the record at hand will never take this write."""

_FINAL: Final = POISON | {
    OK,
    NOT_FOUND,
    INVALID_REQUEST,
    EXISTS,
    FULL,
    TOO_BIG,
    UNKNOWN_NAMESPACE,
    BAD_BIN_NAME,
    FORBIDDEN,
    ELEMENT_EXISTS,
    FILTERED,
}
"""Codes that trying again at once does not change; any other is a node that is slow, down, busy or starting."""

_SENTENCES: Final = {
    INVALID_REQUEST: "the cluster does not allow it: see its log (more than 4095 sets? a life beyond ten years?)",
    FULL: "the namespace has no room left: give it more memory or storage",
    TOO_BIG: "its record is full: raise max-record-size of the namespace, or lower store.aerospike.dedupe_horizon_s",
    UNKNOWN_NAMESPACE: "the namespace does not exist: correct store.aerospike.namespace",
    FORBIDDEN: "the namespace refuses writes: ask `python -m service check` why",
    WRONG_TYPE: "its record holds something that this service did not write",
    NOT_APPLICABLE: "it was in doubt for longer than store.aerospike.dedupe_horizon_s",
}

MAX_BATCH_RECORDS: Final = 512
"""Records in one request; more are sent one request after the other."""

_BACKOFF_S: Final = 0.005
_MAX_BACKOFF_S: Final = 0.2
_TEND_INTERVAL_MS: Final = 1000
_CONNECT_TIMEOUT_MS: Final = 500
_MAX_PORT: Final = 65_535


class Client(Protocol):
    """What we use of the official client."""

    def batch_read(self, keys: list[Key], bins: list[str], policy: dict[str, Any]) -> Any:  # noqa: ANN401 - theirs
        """Return one result for each key, or fewer."""

    def batch_write(self, batch_records: BatchRecords, policy_batch: dict[str, Any]) -> Any:  # noqa: ANN401 - theirs
        """Run reads and writes, each atomic for itself."""

    def info_all(self, command: str) -> dict[str, Any]:
        """Ask every node."""

    def get_stats(self) -> Any:  # noqa: ANN401 - theirs
        """Tell of its nodes and connections."""

    def close(self) -> None:
        """Let go of it."""


Connect = Callable[[dict[str, Any]], Client]


class Answer(NamedTuple):
    """What became of one read or write: the server's or the client's code, and the bins that came back."""

    code: int
    bins: Bins

    @property
    def uncertain(self) -> bool:
        """Tell whether nobody knows what became of it, so that it must be tried again."""
        return is_uncertain(self.code)


def is_uncertain(code: int) -> bool:
    """Tell whether a code leaves open what became of a read or write."""
    return code not in _FINAL


_NOTHING: Final[Bins] = {}
_NO_ANSWER: Final = Answer(NO_ANSWER, _NOTHING)


def reason_of(code: int) -> str:
    """Return in words why a read or write did not succeed."""
    known = _SENTENCES.get(code)
    if known is not None:
        return known
    return f"the store refused it (code {code})" if code in _FINAL else f"the store did not answer (code {code})"


class Tally:
    """Counts what went wrong and was mended; thread-safe, never on the path of a score that goes well."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Count."""
        if count:
            with self._lock:
                self._counts[name] += count

    def count(self, name: str) -> int:
        """Return a count."""
        return self._counts[name]


class Connection:
    """One client, for all threads of the process that made it, and for no other process.

    A client that crossed a fork has returned another record's values, so it is refused there. Made with the
    cluster down it heals by itself. Raises BadSetting for settings that name no host.
    """

    def __init__(self, settings: AerospikeSettings, tally: Tally, connect: Connect = aerospike.client) -> None:
        """Connect; a cluster that is down is no error here."""
        self._attempts = settings.write_attempts
        self._write_policy = {"total_timeout": settings.write_timeout_ms}
        # The policy of batches is that of scores; other reads have the time of a write, and repeats of our own.
        self._read_policy = {
            "total_timeout": settings.write_timeout_ms,
            "socket_timeout": settings.write_timeout_ms,
            "max_retries": 0,
        }
        self._tally = tally
        self._pid = os.getpid()
        self._closed = False
        self._closing = Lock()
        self._client = connect(config_of(settings))

    def read_once(self, keys: list[Key], bins: list[str], timeout_ms: int, socket_timeout_ms: int) -> Sequence[Any]:
        """Return the client's own results of one read without repeats; [] when it was not possible at all.

        The path of a score: nothing is wrapped here.
        """
        if self._closed or os.getpid() != self._pid:
            return ()
        try:
            policy = {"total_timeout": timeout_ms, "socket_timeout": socket_timeout_ms}
            found: Sequence[Any] = self._client.batch_read(keys, bins, policy).batch_records
        except exception.AerospikeError:
            return ()
        return found

    def read(self, keys: Sequence[Key], bins: list[str]) -> list[Answer]:
        """Read records, each until it is answered or the attempts are used up."""

        def send(some: Sequence[int]) -> list[Answer]:
            client = self.usable()
            return _answers(lambda: client.batch_read([keys[i] for i in some], bins, self._read_policy), len(some))

        return self._persist(len(keys), send)

    def fetch(self, keys: Sequence[Key], bins: list[str]) -> list[Bins | None]:
        """Read records, None for those that do not exist; raises StoreUnavailable when one is not answered."""
        return [_found(answer) for answer in self.read(keys, bins)]

    def submit(self, operations: Sequence[Read | Write | Remove]) -> list[Answer]:
        """Run reads, writes and removals, each until it is answered or the attempts are used up.

        All of them must be harmless when they are repeated. Those of one record are run in their order.
        """

        def send(some: Sequence[int]) -> list[Answer]:
            client = self.usable()
            batch = BatchRecords([operations[i] for i in some])
            return _answers(lambda: client.batch_write(batch, self._write_policy), len(some))

        return self._persist(len(operations), send)

    def put(self, operations: Sequence[Write]) -> list[Answer]:
        """Run writes that must succeed, or exist already; raises StoreUnavailable."""
        answers = self.submit(operations)
        for answer in answers:
            if answer.code not in (OK, EXISTS):
                raise StoreUnavailable(reason_of(answer.code))
        return answers

    def info(self, command: str) -> dict[str, str]:
        """Return what each node says to an info command; raises StoreUnavailable when one does not answer."""
        try:
            said = self.usable().info_all(command)
        except exception.AerospikeError as error:
            raise StoreUnavailable(f"the store did not answer: {error.msg}") from error
        for trouble, _ in said.values():
            if trouble is not None:
                raise StoreUnavailable(f"a node of the store did not answer: {trouble}")
        return {node: text for node, (_, text) in said.items()}

    def usable(self) -> Client:
        """Return the client; raises StoreUnavailable when it is closed or belongs to another process."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if os.getpid() != self._pid:
            raise StoreUnavailable("the store was opened by another process: open it after fork or spawn")
        return self._client

    def stats(self) -> Any | None:  # noqa: ANN401 - theirs
        """Return the client's own statistics, None when it is not usable; asks no node."""
        # A closed client that is asked for them crashes the process (19.3.0), so nobody closes it meanwhile.
        with self._closing:
            return None if self._closed or os.getpid() != self._pid else self._client.get_stats()

    def close(self) -> None:
        """Let go of it; in a process that did not make it the client is left alone."""
        with self._closing:
            if not self._closed and os.getpid() == self._pid:
                self._client.close()
            self._closed = True

    def _persist(self, size: int, send: Callable[[Sequence[int]], list[Answer]]) -> list[Answer]:
        """Send everything, and again what is uncertain, with growing pauses."""
        answers = [_NO_ANSWER] * size
        waiting: Sequence[int] = range(size)
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(min(_MAX_BACKOFF_S, _BACKOFF_S * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                self._tally.add("retries", len(waiting))
            for at in range(0, len(waiting), MAX_BATCH_RECORDS):
                some = waiting[at : at + MAX_BATCH_RECORDS]
                for index, answer in zip(some, send(some), strict=True):
                    answers[index] = answer
            waiting = [index for index in waiting if answers[index].uncertain]
            if not waiting:
                break
        return answers


def config_of(settings: AerospikeSettings) -> dict[str, Any]:
    """Return the client's configuration; raises BadSetting."""
    config: dict[str, Any] = {
        "hosts": [_host(host) for host in settings.hosts],
        "app_id": "fraud-scoring",
        # Without it a misspelt key of a policy is ignored.
        "validate_keys": True,
        "fail_if_not_connected": False,
        "min_conns_per_node": min(settings.min_connections, settings.max_connections),
        "max_conns_per_node": settings.max_connections,
        "max_socket_idle": 0,
        "tend_interval": _TEND_INTERVAL_MS,
        "connect_timeout": _CONNECT_TIMEOUT_MS,
        "max_error_rate": settings.breaker_errors,
        "error_rate_window": 1,
        "policies": {
            "batch": {
                "total_timeout": settings.read_timeout_ms,
                "socket_timeout": settings.read_socket_timeout_ms,
                "max_retries": settings.read_retries,
                "sleep_between_retries": 0,
                # 0 closes a connection that timed out, which the breaker counts; anything else hides it from it.
                "timeout_delay": 0,
                "respond_all_keys": True,
            },
            # Repeats are ours: a write in doubt is told from a refused one by its code.
            "batch_parent_write": {
                "total_timeout": settings.write_timeout_ms,
                "max_retries": 0,
                "timeout_delay": 0,
                "respond_all_keys": True,
            },
        },
    }
    if settings.cluster_name:
        config["cluster_name"] = settings.cluster_name
    return config


def _host(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if not (name and colon and port.isascii() and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
        raise BadSetting(f"setting store.aerospike.hosts: {host!r} is not host:port, 127.0.0.1:3000 for example")
    return name.strip("[]"), int(port)


def _answers(call: Callable[[], Any], size: int) -> list[Answer]:
    """Return one answer for each key; all alike when the call itself failed."""
    try:
        results = call()
    except exception.ParamError:
        # Not the cluster's fault: we asked for something that cannot be sent.
        raise
    except exception.AerospikeError as error:
        # A code that would be final for one key says nothing about any key when the call as a whole has it.
        code = NO_ANSWER if error.code is None or error.code in _FINAL else error.code
        return [Answer(code, _NOTHING)] * size
    records = results.batch_records
    if len(records) != size:
        return [_NO_ANSWER] * size
    return [Answer(one.result, one.record[2] or _NOTHING if one.record else _NOTHING) for one in records]


def _found(answer: Answer) -> Bins | None:
    if answer.code == NOT_FOUND:
        return None
    if answer.code != OK:
        raise StoreUnavailable(reason_of(answer.code))
    return answer.bins
