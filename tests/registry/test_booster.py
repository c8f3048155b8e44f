"""The booster: the same bits on every path, safe in threads, and nothing left behind in LightGBM."""

from __future__ import annotations

import gc
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import lightgbm
import numpy as np
import pytest

from service.core.features import FEATURES
from service.errors import BadArtifact
from service.registry.booster import Booster, handles
from tests.registry.build import random_rows, train_model

MODEL = train_model(FEATURES, trees=30, leaves=31).encode()
ROWS = random_rows(len(FEATURES), seed=5)


def test_one_row_and_many_have_the_same_bits() -> None:
    """`raw_scores` of a matrix equals `raw_score` of each row, rows of NaN and of zeros included."""
    booster = Booster(MODEL)
    rows = np.vstack([ROWS, np.full((1, ROWS.shape[1]), np.nan), np.zeros((1, ROWS.shape[1]))])
    assert booster.raw_scores(rows).tolist() == [booster.raw_score(row) for row in rows.tolist()]


def test_the_scores_are_lightgbms_own() -> None:
    """Raw scores and contributions equal those of the lightgbm package, bit for bit."""
    booster = Booster(MODEL)
    theirs = lightgbm.Booster(model_str=MODEL.decode())
    raw_scores = np.asarray(theirs.predict(ROWS, raw_score=True, num_threads=1))
    contributions = np.asarray(theirs.predict(ROWS[:5], pred_contrib=True, num_threads=1))
    assert booster.raw_scores(ROWS).tolist() == raw_scores.tolist()
    assert [booster.contributions(row) for row in ROWS[:5].tolist()] == contributions.tolist()


def test_threads_get_equal_scores() -> None:
    """Eight threads that score and explain at once get what one thread gets."""
    booster = Booster(MODEL)
    rows = ROWS.tolist()
    expected = [(booster.raw_score(row), booster.contributions(row)) for row in rows]
    begin = threading.Barrier(8)

    def work(_: int) -> list[tuple[float, list[float]]]:
        begin.wait()
        return [(booster.raw_score(row), booster.contributions(row)) for row in rows]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [expected] * 8


def test_nothing_is_left_when_a_booster_goes() -> None:
    """Dropping the last reference frees the model and what every thread had prepared for it."""
    gc.collect()
    before = handles()
    booster = Booster(MODEL)
    row = ROWS[0].tolist()
    go_on = threading.Event()
    scored = threading.Semaphore(0)

    def work(held: list[Booster]) -> None:
        held.pop().raw_score(row)
        scored.release()
        go_on.wait()

    threads = [threading.Thread(target=work, args=([booster],)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        scored.acquire()
    booster.raw_score(row)
    booster.contributions(row)
    assert handles() == (before.boosters + 1, before.prepared + 5)
    del booster
    assert handles() == before
    go_on.set()
    for thread in threads:
        thread.join()


def test_nothing_is_left_when_a_thread_ends() -> None:
    """A thread's prepared call goes with the thread, the model stays."""
    booster = Booster(MODEL)
    before = handles()
    thread = threading.Thread(target=booster.raw_score, args=(ROWS[0].tolist(),))
    thread.start()
    thread.join()
    assert handles() == before


def test_no_thread_is_started() -> None:
    """Loading, scoring and explaining start no thread in the process, whatever OpenMP would like."""
    script = (
        "import pathlib, sys\n"
        "from service.registry.booster import Booster\n"
        "import numpy\n"
        "threads = lambda: len(list(pathlib.Path('/proc/self/task').iterdir()))\n"
        "before = threads()\n"
        "booster = Booster(sys.stdin.buffer.read())\n"
        "rows = numpy.zeros((1000, len(booster.names)))\n"
        "booster.contributions(rows[0].tolist()), booster.raw_score(rows[0].tolist()), booster.raw_scores(rows)\n"
        "print(threads() - before, 'lightgbm' in sys.modules)\n"
    )
    environment = {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], input=MODEL, capture_output=True, check=True, env=environment)
    assert done.stdout.split() == [b"0", b"False"]


def test_a_row_of_another_length_is_refused() -> None:
    """LightGBM never reads past a row that is too short."""
    with pytest.raises(struct.error):
        Booster(MODEL).raw_score([0.5] * (len(FEATURES) - 1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not a whole"),
        (b"no model at all", "not a whole"),
        (MODEL[: len(MODEL) // 2], "not a whole"),
        (MODEL.replace(b"Tree=7\n", b"Twig=7\n"), "7 readable trees, and states 30"),
        (MODEL.replace(b"num_tree_per_iteration=1", b"num_tree_per_iteration=2"), "one output"),
        (MODEL.replace(b"max_feature_idx=", b"max_feature_idx=x"), "LightGBM"),
        (MODEL.replace(b"split_feature=", b"split_future=", 1), "LightGBM"),
    ],
)
def test_a_corrupt_model_is_an_error(text: bytes, says: str) -> None:
    """A corrupt model raises BadArtifact; it neither loads nor ends the process."""
    before = handles()
    with pytest.raises(BadArtifact, match=says):
        Booster(text)
    assert handles() == before
