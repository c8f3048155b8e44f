"""Processes of the crash tests: one that can be killed at any moment, and one that interrupts itself at every step."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from tests.store.places import Place
from tests.training.snapshot.scenes import holds_the_logs, purchases, record, take
from training.data.events import silent
from training.snapshot.folder import read_manifest, snapshots
from training.snapshot.verify import verify

EVENTS_PER_S: Final = 1500


def run(place: Place, folder: Path) -> None:
    """Take a snapshot in many small chunks."""
    store = place.open()
    take(store, folder, max_events_per_s=EVENTS_PER_S, chunk_events=40, chunk_decisions=10)
    store.close()


class Interrupted(BaseException):
    """Stands for the end of the process: nobody catches it."""


class Steps:
    """Interrupts this process before its n-th change to the files of a folder; counts them."""

    def __init__(self) -> None:
        """Watch nothing yet; a hook that was added stays for the life of the process."""
        self.left = 0
        self._folder = ""
        sys.addaudithook(self._hook)

    def arm(self, folder: Path, steps: int) -> None:
        """Let so many changes happen."""
        self._folder, self.left = str(folder), steps

    def disarm(self) -> None:
        """Let everything happen."""
        self._folder = ""

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._folder or not _changes_files(event, arguments) or not str(arguments[0]).startswith(self._folder):
            return
        if not self.left:
            self._folder = ""
            raise Interrupted
        self.left -= 1


def _changes_files(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & os.O_CREAT)
    return event in {"os.rename", "os.mkdir", "os.remove"}


def run_to_every_step(place: Place, folder: Path) -> None:
    """Interrupt an export before each of its changes, look at what is there, and let the next run end it."""
    store, steps = place.open(), Steps()
    record(store, purchases(10, "a"))
    take(store, folder)
    record(store, purchases(90, "b", days=2))
    step, interrupted = 0, True
    while interrupted:
        copy = folder.with_name(f"step-{step}")
        shutil.copytree(folder, copy)
        steps.arm(copy, step)
        try:
            take(store, copy, chunk_decisions=100)
            interrupted = False
        except Interrupted:
            interrupted = True
        steps.disarm()
        assert snapshots(copy) in (["s000001"], ["s000001", "s000002"])
        assert verify(copy, snapshots(copy), silent).findings == ()
        take(store, copy)
        assert snapshots(copy) == ["s000001", "s000002"]
        holds_the_logs(store, copy)
        listed = {one.path for one in read_manifest(copy, "latest").partitions}
        assert {path.relative_to(copy).as_posix() for path in copy.glob("partitions/*/*/*")} == listed
        shutil.rmtree(copy)
        step += 1
    store.close()
    assert step > 20, "there are more changes than that"
