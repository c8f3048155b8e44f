"""Stores that can be broken while a service works on them: what soaks and tests of faults do to them."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import aerospike
import lmdb
from aerospike import exception

from service.settings import AerospikeSettings, LmdbSettings
from service.store.aerospike import AerospikeStore
from service.store.lmdb import LmdbStore
from service.store.protocol import Store
from tests import asd
from tests.disk import Disk
from tests.proxy import Proxy

FILLABLE_BYTES: Final = 1 << 26
FILLER: Final = "filler"
FILLER_BYTES: Final = 1 << 20

PREPARED: Final = 320
"""Fillers that are written before there is load: 62 of 100 parts of the namespace; it refuses writes from 70 on."""


class Fault(NamedTuple):
    """Something that is done to a store for a while."""

    name: str
    lasts: Callable[[], AbstractContextManager[object]]
    seconds: float


# --- what can be done to Aerospike ------------------------------------------------------------------


class Cluster:
    """A real server behind a proxy, and the ways to break it."""

    def __init__(self, folder: Path) -> None:
        """Start both."""
        self.server = asd.Asd(folder, keeps=True)
        self.proxy = Proxy(self.server.port)
        self.server.reached_at(self.proxy.port)
        self.proxy.start()
        self.server.start()
        self._fillers = 0

    def prepare(self) -> None:
        """Fill the namespace in part, before there is any load: to fill it takes most of the machine."""
        with self._client() as client:
            while self._fillers < PREPARED:
                self._fill(client)

    @property
    def host(self) -> str:
        """Return `host:port` of the proxy, as the settings want it."""
        return f"127.0.0.1:{self.proxy.port}"

    def faults(self, seconds: float) -> list[Fault]:
        """Return everything that is done to it."""
        self.prepare()
        return [
            Fault("none", quiet, seconds),
            *(Fault(f"slower by {ms} ms", partial(self.proxy.delayed, ms), seconds) for ms in (5, 20, 200)),
            Fault("stalled", self.server.stalled, seconds),
            Fault("connections cut, again and again", self.cut, seconds),
            Fault("no connections", self.proxy.gone, seconds),
            Fault("stopped and started again", self.restarted, seconds),
            Fault("namespace full", self.full, seconds),
            Fault("none", quiet, seconds),
        ]

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Cut all connections ten times a second."""
        done = threading.Event()

        def run() -> None:
            while not done.wait(0.1):
                self.proxy.cut()

        cutter = threading.Thread(target=run)
        cutter.start()
        try:
            yield
        finally:
            done.set()
            cutter.join()

    @contextmanager
    def restarted(self) -> Iterator[None]:
        """Stop the server and start it again, with the data that it had."""
        self.server.stop()
        try:
            yield
        finally:
            self.server.start()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Fill the namespace until it refuses writes, and empty it of that again."""
        with self._client() as client:
            while self._fill(client):
                time.sleep(0.02)  # or there would be nothing left of the machine for others
            # It looks every ten seconds how full it is; until then small records still go in.
            while self._takes_writes(client):
                time.sleep(0.1)
            yield
            client.truncate(asd.NAMESPACE, FILLER, 0)
            self._fillers = 0
            while not self._takes_writes(client):
                time.sleep(0.1)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        # Through the proxy: that is where the server says that it is.
        client = aerospike.client({"hosts": [("127.0.0.1", self.proxy.port)]})
        try:
            yield client
        finally:
            client.close()

    def _fill(self, client: Any) -> bool:
        """Write one filler; returns whether it was taken."""
        try:
            client.put((asd.NAMESPACE, FILLER, self._fillers), {"x": bytes(FILLER_BYTES - 1024)})
        except exception.ServerError:  # refused, as it shall be in the end
            return False
        except exception.AerospikeError:  # slow: it is busy with what it got
            time.sleep(0.1)
        else:
            self._fillers += 1
        return True

    def _takes_writes(self, client: Any) -> bool:
        with suppress(exception.AerospikeError):
            client.put((asd.NAMESPACE, "ready", "ready"), {"ready": 1})
            return True
        return False

    def open(self) -> Store:
        """Open the store directly."""
        settings = AerospikeSettings(hosts=(self.server.host,), read_timeout_ms=1000, read_socket_timeout_ms=500)
        return AerospikeStore(settings, "attempts", 1000)

    def environment(self) -> dict[str, str]:
        """Return the settings of a service on it."""
        return {"FRAUD_STORE__KIND": "aerospike", "FRAUD_STORE__AEROSPIKE__HOSTS": f'["{self.host}"]'}

    def stop(self) -> None:
        """End both."""
        self.server.stop()
        self.proxy.stop()


# --- what can be done to an embedded store --------------------------------------------------------


class Directory:
    """An embedded store, and the ways to break it; with a disk of its own there are more."""

    def __init__(self, folder: Path, disk: Disk | None = None, *, max_size_bytes: int = FILLABLE_BYTES) -> None:
        """Name it; by itself it is small enough to be filled."""
        self.disk = disk
        path = disk.path if disk else folder
        self._settings = LmdbSettings(path=path / "lmdb", max_size_bytes=max_size_bytes)
        self.workers: Callable[[], list[int]] = list

    def faults(self, seconds: float) -> list[Fault]:
        """Return everything that is done to it."""
        of_disk = []
        if self.disk:
            of_disk = [
                Fault("disk full (ENOSPC)", self.disk.filled, seconds),
                Fault("read-only again and again (EPERM)", partial(self.disk.unchangeable, self._file), seconds),
            ]
        return [
            Fault("none", quiet, seconds),
            Fault("somebody holds the lock of writers", self.locked, seconds),
            Fault("no file may grow (EFBIG)", self.limited, seconds),
            *of_disk,
            Fault("map full", self.full, seconds),
            Fault("none", quiet, seconds),
        ]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of writers, as a process does that was stopped while it wrote."""
        with self._shared() as environment, environment.begin(write=True) as transaction:
            yield
            transaction.abort()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Fill the map to the last page, and free it again, for which it must be made larger: nothing else helps."""
        with self._shared() as environment:
            filler = environment.open_db(FILLER.encode())
            self._fill(environment, filler)
            yield
            environment.set_mapsize(2 * self._settings.max_size_bytes)
            with environment.begin(write=True) as transaction:
                transaction.drop(filler)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Let no worker make a file longer than the store is, as a quota does."""
        limits = {one: resource.prlimit(one, resource.RLIMIT_FSIZE) for one in self.workers()}
        for one, (_, hard) in limits.items():
            resource.prlimit(one, resource.RLIMIT_FSIZE, (self._file.stat().st_size, hard))
        try:
            yield
        finally:
            for one, limit in limits.items():
                resource.prlimit(one, resource.RLIMIT_FSIZE, limit)

    @property
    def _file(self) -> Path:
        return self._settings.path / "data.mdb"

    def _shared(self) -> lmdb.Environment:
        """Open it beside the workers."""
        return lmdb.open(str(self._settings.path), map_size=self._settings.max_size_bytes, max_dbs=64)

    def _fill(self, environment: lmdb.Environment, filler: Any) -> None:
        number, size_bytes = 0, FILLER_BYTES
        while size_bytes:
            try:
                with environment.begin(write=True) as transaction:
                    transaction.put(str(number).encode(), bytes(size_bytes), db=filler)
            except lmdb.MapFullError:
                size_bytes //= 2  # what is left over is filled with less and less
            number += 1

    def open(self) -> Store:
        """Open the store directly; the service has ended."""
        return LmdbStore(self._settings, "attempts", 1000)

    def environment(self) -> dict[str, str]:
        """Return the settings of a service on it."""
        path, size_bytes = self._settings.path, self._settings.max_size_bytes
        return {"FRAUD_STORE__LMDB__PATH": str(path), "FRAUD_STORE__LMDB__MAX_SIZE_BYTES": str(size_bytes)}

    def stop(self) -> None:
        """Let go of its disk, if it has one."""
        if self.disk:
            self.disk.stop()


@contextmanager
def quiet() -> Iterator[None]:
    """Do nothing."""
    yield
