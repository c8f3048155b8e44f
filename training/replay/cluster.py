"""Where tasks run: in threads of this process, or in the workers of a Dask cluster.

A task is a function of one value; both travel to the worker, so both can be pickled. Tasks read their
source and write their results in folders that every worker sees, and return little. A task that is run
again writes the same files again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from service.errors import BadSetting

if TYPE_CHECKING:
    from distributed import Client

THREADS: Final = 2
"""Tasks that run side by side in this process."""

CONNECT_TIMEOUT_S: Final = 10.0
"""A scheduler that is not there by then is not there."""

RETRIES: Final = 2
"""How often a task whose worker died is run again before the whole run fails."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cluster(Protocol):
    """Runs tasks."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results in the order of the items; raises what the first task that failed raised."""


class LocalThreads:
    """Runs tasks in `THREADS` threads of this process; nearly all of their work lets go of the interpreter."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results in the order of the items."""
        with ThreadPoolExecutor(THREADS) as threads:
            yield from threads.map(task, items)


class DaskCluster:
    """Runs tasks in the workers of a Dask cluster."""

    def __init__(self, client: Client) -> None:
        """Use a client that is connected, and that its owner closes."""
        self.client = client

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results in the order of the items."""
        futures = self.client.map(task, list(items), pure=False, retries=RETRIES)
        try:
            for future in futures:
                yield future.result()
        finally:
            self.client.cancel(futures)  # type: ignore[no-untyped-call]


@contextmanager
def cluster_at(address: str) -> Iterator[Cluster]:
    """Give the Dask cluster whose scheduler listens at `address`, as tcp://host:port; threads of this process for "".

    Raises BadSetting when nobody answers there.
    """
    if not address:
        yield LocalThreads()
        return
    from distributed import Client  # noqa: PLC0415  takes a second to import

    try:
        client = Client(address, timeout=CONNECT_TIMEOUT_S)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise BadSetting(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler`, and workers with `dask worker`"
        ) from error
    with client:
        yield DaskCluster(client)
