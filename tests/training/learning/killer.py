"""A process that trains or retrains and kills itself at a rename: that is how things become visible.

`python -m tests.training.learning.killer train FOLDER before 'registry/versions/*'` dies right before a version
gets its name, with `after` right before the next thing does.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

from tests.training.learning.shop import OPTIONS, Shop
from training.data.events import silent
from training.learning.retrain import RetrainOptions, retrain
from training.learning.train import train

NOW = datetime(2026, 8, 1, tzinfo=UTC)


def main(what: str, folder: Path, when: str, pattern: str) -> None:
    """Do it, up to the rename that is not to be."""
    last = ""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal last
        if event == "os.rename" and Path(str(arguments[1])).is_relative_to(folder):
            name = str(Path(str(arguments[1])).relative_to(folder))
            if fnmatch(name if when == "before" else last, pattern):
                os.kill(os.getpid(), signal.SIGKILL)
            last = name

    sys.addaudithook(watch)
    shop = Shop(folder)
    if what == "train":
        train(shop.market, shop.folders.registry, OPTIONS, NOW, silent)
    else:
        retrain(shop.settings, shop.folders, RetrainOptions(train=OPTIONS, max_events_per_s=0), NOW, silent)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
