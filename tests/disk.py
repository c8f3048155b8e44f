"""A small disk of its own, which can be filled, and which can fail, without touching anybody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 1 << 28
FILLED_BYTES: Final = 1 << 20
"""What a file takes at a time that fills it; in the end it takes single blocks."""

BLOCK_BYTES: Final = 4096
FLIPPED_S: Final = 0.1


class NoDisk(Exception):
    """This machine does not let us mount one; the text says why."""


class Disk:
    """An ext4 file system in a file, mounted as long as `stop` was not called."""

    def __init__(self, folder: Path) -> None:
        """Make and mount it. Raises NoDisk."""
        self.path = folder / "disk"
        self._image = folder / "disk.ext4"
        self._filler = self.path / "filler"
        lacking = [name for name in ("mkfs.ext4", "e2fsck", "chattr", "mount") if not shutil.which(name)]
        if lacking:
            raise NoDisk(f"{', '.join(lacking)} not on the PATH")
        if os.geteuid():
            raise NoDisk("only root may mount a file system")
        self.path.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        try:
            _run("mkfs.ext4", "-q", "-m", "0", str(self._image))  # none is kept back for root, who runs this
            self._mount()
        except subprocess.CalledProcessError as error:
            raise NoDisk(error.stderr.strip()) from error

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Take all of its room (ENOSPC)."""
        with self._filler.open("wb") as filler:
            at, size_bytes = 0, FILLED_BYTES
            while size_bytes >= BLOCK_BYTES:
                try:
                    os.posix_fallocate(filler.fileno(), at, size_bytes)
                    at += size_bytes
                except OSError:
                    size_bytes //= 2
        try:
            yield
        finally:
            self._filler.unlink()

    @contextmanager
    def unchangeable(self, file: Path) -> Iterator[None]:
        """Let nobody change a file, whoever has it open (EPERM); again and again, to hit any moment of a commit."""
        over = threading.Event()

        def flip() -> None:
            while not over.is_set():
                _run("chattr", "+i", str(file))
                over.wait(FLIPPED_S)
                _run("chattr", "-i", str(file))
                over.wait(FLIPPED_S / 10)

        flipper = threading.Thread(target=flip)
        flipper.start()
        try:
            yield
        finally:
            over.set()
            flipper.join()

    @contextmanager
    def gives_up(self) -> Iterator[None]:
        """Turn read-only as the kernel does after an error (EROFS); nothing but `repair` undoes that."""
        _run("mount", "-o", "remount,abort", str(self.path))
        yield

    def repair(self) -> None:
        """Unmount it, which wants that nobody has a file open; check it, and mount it again."""
        _run("umount", str(self.path))
        _run("e2fsck", "-p", str(self._image), allowed=(0, 1))  # 1: something was repaired
        self._mount()

    def stop(self) -> None:
        """Unmount it."""
        _run("umount", str(self.path))

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))


def _run(*command: str, allowed: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in allowed:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
