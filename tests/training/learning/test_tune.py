"""The search for parameters sees training and validation alone, and can be taken up where it was left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.core.features import FEATURES
from service.core.windows import DAY_MS
from service.errors import BadSetting
from tests.make import NOW_MS
from training.data.events import silent
from training.learning.evidence import Rows
from training.learning.fit import PARAMETERS, fit
from training.learning.learn import Lesson, stated
from training.learning.model import Model
from training.learning.options import TrainOptions
from training.learning.tune import Found, Trial, tune
from training.metrics import average_precision

COLUMNS = FEATURES[:6]
QUICK = {"num_iterations": 30, "num_threads": 1, "max_bin": 63}
OPTIONS = TrainOptions(tune=8, parameters=QUICK, blank_share=0.0)


def _rows(seed: int, count: int = 600) -> Rows:
    rng = np.random.default_rng(seed)
    matrix = rng.random((count, len(COLUMNS)))
    labels = (matrix[:, 0] + matrix[:, 1] + rng.normal(0, 0.3, count) > 1.6).astype(np.int8)
    return Rows(np.arange(count), matrix, labels)


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    """Return rows in which two columns speak for fraud."""
    train, validation = _rows(1), _rows(2)
    times = NOW_MS + np.arange(600) * DAY_MS // 20
    return Lesson(COLUMNS, train, times, validation, np.ones(600, np.int64))


def _search(lesson: Lesson, path: Path, options: TrainOptions = OPTIONS) -> Found:
    return tune(lesson, stated(options), options, path, silent)


def _trials(path: Path) -> list[Trial]:
    return [Trial.model_validate_json(line) for line in path.read_bytes().splitlines()]


def test_a_search_that_was_killed_ends_as_if_it_had_not_been(lesson: Lesson, tmp_path: Path) -> None:
    """Cut off in the middle of a line and resumed, the study has the same bytes, and the same choice."""
    whole = _search(lesson, tmp_path / "whole")
    study = (tmp_path / "whole").read_bytes()
    lines = study.splitlines(keepends=True)
    for ended in (1, 5):
        cut = tmp_path / f"cut{ended}"
        cut.write_bytes(b"".join(lines[:ended]) + lines[ended][:40])
        assert _search(lesson, cut) == whole
        assert cut.read_bytes() == study


def test_the_first_trial_is_what_is_used_without_a_search(lesson: Lesson, tmp_path: Path) -> None:
    """So the best choice is never worse on validation than no search."""
    _search(lesson, tmp_path / "study")
    first, *others = _trials(tmp_path / "study")
    assert {name: PARAMETERS[name] for name in first.parameters if name in PARAMETERS} == {
        name: value for name, value in first.parameters.items() if name in PARAMETERS
    }
    assert (first.parameters["history_share"], first.parameters["honest_share"]) == (1.0, 1.0)
    assert others


def test_what_is_stated_is_not_searched(lesson: Lesson, tmp_path: Path) -> None:
    """A parameter that the options give stays as it is."""
    options = OPTIONS.model_copy(update={"tune": 2, "honest_share": 0.5, "parameters": {**QUICK, "num_leaves": 5}})
    found = _search(lesson, tmp_path / "study", options)
    assert (found.choice.parameters["num_leaves"], found.choice.parameters["max_bin"]) == (5, 63)
    assert found.choice.honest_share == 0.5
    assert not {"num_leaves", "max_bin", "honest_share"} & _trials(tmp_path / "study")[0].parameters.keys()


def test_a_choice_reaches_what_its_trial_reached(lesson: Lesson, tmp_path: Path) -> None:
    """Fitting the best choice gives the average precision on validation that the search saw."""
    found = _search(lesson, tmp_path / "study")
    sample = lesson.sample(found.choice, OPTIONS)
    text = fit(sample.matrix, sample.labels, COLUMNS, OPTIONS.seed, found.choice.parameters)
    model = Model(text, lesson.validation.matrix, lesson.validation.labels)
    reached = average_precision(lesson.validation.labels, model.booster.raw_scores(lesson.validation.matrix))
    assert reached == max(trial.average_precision for trial in _trials(tmp_path / "study") if not trial.pruned)


def test_a_study_of_other_options_is_refused(lesson: Lesson, tmp_path: Path) -> None:
    """A search does not go on with trials that were about something else."""
    one = OPTIONS.model_copy(update={"tune": 1})
    _search(lesson, tmp_path / "study", one)
    with pytest.raises(BadSetting, match="made with other options"):
        _search(lesson, tmp_path / "study", one.model_copy(update={"honest_share": 0.5}))


@pytest.mark.parametrize(("days", "share"), [(10.0, 1.0), (0.0, 0.25)])
def test_rows_are_drawn_as_stated(lesson: Lesson, days: float, share: float) -> None:
    """History keeps the newest rows alone; a share of the honest ones never costs a fraud."""
    sample = lesson.sample(stated(OPTIONS)._replace(history_days=days, honest_share=share), OPTIONS)
    frauds = int(lesson.train.labels.sum())
    if days:
        newest = lesson.train_time_ms > lesson.train_time_ms.max() - days * DAY_MS
        assert np.array_equal(sample.matrix, lesson.train.matrix[newest])
    else:
        assert int(sample.labels.sum()) == frauds
        assert 0.15 < (sample.labels.size - frauds) / (lesson.train.labels.size - frauds) < 0.35
