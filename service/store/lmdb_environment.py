"""One LMDB environment: opened once in a process, and the transactions on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

import lmdb

from service.errors import BadSetting, StoreUnavailable
from service.settings import LmdbSettings
from service.store.lmdb_tables import FORMAT, FORMAT_KEY, Tables, Transaction, get_number, put_number
from service.store.protocol import Figure

MAX_TRIES: Final = 3
"""Tries of a transaction while another process makes the store larger."""

REOPEN_AFTER_S: Final = 1.0
"""Least time from an attempt to open it anew that failed until the next one."""

_PRIVATE_MODE: Final = 0o700

Answer = TypeVar("Answer")


class _Process:
    """The id of this process, kept: to ask for it is a system call, 0.3 µs of a read of 7."""

    id = os.getpid()

    @classmethod
    def renew(cls) -> None:
        """Ask for it."""
        cls.id = os.getpid()


os.register_at_fork(after_in_child=_Process.renew)


class LmdbEnvironment:
    """A directory with the databases of one store, shared with other processes.

    `full` is one sentence from a write that finds no room until one that does, else "".
    Thread-safe. Raises BadSetting when the directory cannot be used.

    When LMDB cannot write the page that ends a commit, as on a disk that turned read-only, it refuses every
    transaction of this process from then on, reads as well. So a write opens it anew; `tables` stays the same object.
    """

    def __init__(self, settings: LmdbSettings) -> None:
        """Open the directory, making it when it is not there, and free the places of readers that were killed."""
        self.full = ""
        self._settings = settings
        self._process_id = _Process.id
        self._reopening = Lock()
        self._spoiled = False
        self._reopen_at_s = 0.0
        try:
            settings.path.mkdir(mode=_PRIVATE_MODE, parents=True, exist_ok=True)
            self._lmdb = _open(settings)
        except (OSError, lmdb.Error) as error:
            raise _unusable(settings.path, error) from error
        try:
            self._lmdb.reader_check()
            self.tables = self.write(self._open_tables)
            _flush_directory(settings.path)
        except (OSError, ValueError, lmdb.Error, StoreUnavailable) as error:
            self._lmdb.close()
            raise _unusable(settings.path, error) from error

    def check_process(self) -> None:
        """Raise StoreUnavailable in a forked child: LMDB would let it use its parent's locks and reader places."""
        if _Process.id != self._process_id:
            raise StoreUnavailable("the store was opened before this process was forked: open it in each process")

    def begin_read(self) -> Transaction:
        """Return a read transaction as LMDB gives it, for the path that counts microseconds; raises lmdb.Error."""
        if _Process.id != self._process_id:
            raise lmdb.Error("forked")
        return self._lmdb.begin()

    def read(self, work: Callable[[Transaction], Answer]) -> Answer:
        """Return what `work` finds in one read transaction. Raises StoreUnavailable."""
        return self._run(work, write=False)

    def write(self, work: Callable[[Transaction], Answer]) -> Answer:
        """Return what `work` does in one write transaction, on disk by then; all of it, or nothing when it raises.

        Waits, without the interpreter's lock, while another thread or process writes. Raises StoreUnavailable.
        """
        self._reopen_if_spoiled()
        try:
            answer = self._run(work, write=True)
        except lmdb.MapFullError as error:
            size_bytes = self._settings.max_size_bytes
            self.full = f"the store is full: raise the setting store.lmdb.max_size_bytes ({size_bytes})"
            raise StoreUnavailable(self.full) from error
        except lmdb.DiskError as error:
            self.full = f"the disk of the store is full: make room at {self._settings.path}"
            raise StoreUnavailable(self.full) from error
        self.full = ""
        return answer

    def free_readers(self) -> None:
        """Free the places of readers that were killed, whose view of the past keeps pages from being used again."""
        self._reopen_if_spoiled()
        try:
            self._lmdb.reader_check()
        except lmdb.Error as error:
            raise _unavailable(error) from error

    def other_processes(self) -> list[int]:
        """Return the ids of other processes that have it open and have read from it."""
        self.free_readers()
        lines = self._lmdb.readers().splitlines()[1:]
        return sorted({int(line.split()[0]) for line in lines if line.strip()} - {self._process_id})

    def figures(self) -> list[Figure]:
        """Return how much of the file is in use, and how many read at once; [] once closed."""
        try:
            info, page_bytes = self._lmdb.info(), self._lmdb.stat()["psize"]
        except lmdb.Error:
            return []
        return [
            Figure("max_size_bytes", "Bytes that the store may use.", info["map_size"]),
            Figure("size_bytes", "Bytes that it has used, free pages included.", (info["last_pgno"] + 1) * page_bytes),
            Figure("readers", "Places of readers that are taken.", info["num_readers"]),
            Figure("max_readers", "Places of readers that there are.", info["max_readers"]),
            Figure("full", "1 from a write that found no room until one that does.", int(bool(self.full))),
        ]

    def copy_to(self, folder: Path) -> None:
        """Write all of it, as it is at this instant, into an empty directory, while others read and write.

        Without the pages that are free. As long as it takes, none that is in use now is used again, so the store
        grows with what is written meanwhile. Raises StoreUnavailable. Cost: reading it all, and writing it once.
        """
        self.check_process()
        try:
            self._lmdb.copy(str(folder), compact=True)
        except lmdb.Error as error:
            raise StoreUnavailable(f"the copy was not made: {error}") from error

    def close(self) -> None:
        """Close it once what is under way is done; a forked child leaves it to the parent."""
        if _Process.id == self._process_id:
            with self._reopening:
                self._spoiled = False
                self._lmdb.close()

    def _run(self, work: Callable[[Transaction], Answer], *, write: bool) -> Answer:
        self.check_process()
        if self._spoiled:
            raise StoreUnavailable("a commit was broken off by its disk: the next write opens the store anew")
        tries = MAX_TRIES
        while True:
            environment = self._lmdb
            try:
                with environment.begin(write=write) as transaction:
                    return work(transaction)
            except (lmdb.MapFullError, lmdb.DiskError):
                raise
            except lmdb.PanicError as error:
                # Unless it was opened anew since.
                self._spoiled = self._spoiled or environment is self._lmdb
                raise _unavailable(error) from error
            except lmdb.Error as error:
                tries -= 1
                if not tries:
                    raise _unavailable(error) from error
                if isinstance(error, lmdb.MapResizedError):
                    self._adopt_size()
                # Else: adopting a size in one thread ends the transactions of the others, which begin again.

    def _reopen_if_spoiled(self) -> None:
        """Open it anew when LMDB refuses to go on with it, closing it first: a process may have it open but once.

        Reads of other threads fail meanwhile, about a millisecond. Reads do not do it themselves: it may mean to wait
        for the lock of writers. Raises StoreUnavailable when it cannot be opened yet.
        """
        self.check_process()
        if not self._spoiled:
            return
        with self._reopening:
            if not self._spoiled:
                return
            if time.monotonic() < self._reopen_at_s:
                raise StoreUnavailable("the store could not be opened anew a moment ago")
            self._lmdb.close()
            try:
                self._lmdb = self._opened_again()
            except (OSError, lmdb.Error) as error:
                self._reopen_at_s = time.monotonic() + REOPEN_AFTER_S
                raise StoreUnavailable(f"the store cannot be opened anew: {error}") from error
            self._spoiled = False

    def _opened_again(self) -> lmdb.Environment:
        # Where the file is gone LMDB would begin an empty store.
        (self._settings.path / "data.mdb").stat()
        opened = _open(self._settings)
        try:
            # py-lmdb lets go of handles that were opened in a read transaction.
            with opened.begin(write=True) as transaction:
                self.tables.open(opened, transaction)
        except lmdb.Error:
            opened.close()
            raise
        return opened

    def _adopt_size(self) -> None:
        """Map all of a store that another process, which may use more bytes than we, has made larger."""
        with suppress(lmdb.Error):
            # Refused while another thread writes, and then that one has adopted it.
            self._lmdb.set_mapsize(0)

    def _open_tables(self, transaction: Transaction) -> Tables:
        tables = Tables(self._lmdb, transaction)
        found = get_number(transaction, tables, FORMAT_KEY)
        if found not in (0, FORMAT):
            raise ValueError(f"its format is {found}, and this release knows {FORMAT}")
        if found == 0:
            put_number(transaction, tables, FORMAT_KEY, FORMAT)
        return tables


def _open(settings: LmdbSettings) -> lmdb.Environment:
    return lmdb.open(
        str(settings.path),
        map_size=settings.max_size_bytes,
        max_dbs=Tables.COUNT,
        max_readers=settings.max_readers,
        mode=_PRIVATE_MODE,
        # Flush data and meta page on every commit: that is what "acknowledged" promises.
        sync=True,
        metasync=True,
        # Profiles are read at random: a page that is read ahead pushes a useful one out.
        readahead=False,
        # Keeps the reader's place and its two allocations for the next read: 0.1 µs of the 0.4.
        max_spare_txns=1,
    )


def _flush_directory(path: Path) -> None:
    """Make the files' names as durable as what is in them; LMDB sees to the latter only."""
    flush(path)
    with suppress(PermissionError):
        # A parent that we may not read is one that we did not make.
        flush(path.parent)


def flush(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: Exception) -> BadSetting:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return BadSetting(f"setting store.lmdb.path: {path} cannot be used as a store: {reason}")


def _unavailable(error: lmdb.Error) -> StoreUnavailable:
    return StoreUnavailable(f"the store does not answer: {error}")
