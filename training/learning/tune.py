"""Tuning: the search for parameters, judged on the validation part alone.

A trial is a choice of parameters and rows; its value is the best average precision that its model reaches on the
validation rows while it grows, with the number of trees at which it does. A trial that lags behind the
median of the others is given up. The first trial is what is used without a search, so that a search never
chooses worse on validation; the value of the best of many is flattered, which the test part shows.

The study is a file with a line for each trial that ended. What is tried next depends on the seed and on those
lines alone: a search that was killed and resumed goes on with the trial that it was at, as if nothing had
happened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from pydantic import ValidationError

from service.errors import BadSetting
from service.registry.manifest import Count, Part
from training.data.events import Progress
from training.learning.fit import PARAMETERS, Parameter, grow
from training.learning.learn import Choice, Lesson
from training.learning.options import TrainOptions

MOST_TREES: Final = 400
"""Trees of a trial, at most: every tree costs each score, see docs/decisions/0008."""

PATIENCE_TREES: Final = 80
"""Trees without gain on validation after which a trial ends."""

UNPRUNED_TRIALS: Final = 5
"""Trials that are grown to their end before any is given up."""

UNPRUNED_TREES: Final = 50
"""Trees that every trial gets: small rates start low."""

SPACE: Final[Mapping[str, BaseDistribution]] = MappingProxyType(
    {
        "max_bin": CategoricalDistribution((255, 511, 1023, 2047, 4095)),
        "bin_construct_sample_cnt": CategoricalDistribution((200_000, 1_000_000)),
        "learning_rate": FloatDistribution(0.02, 0.2, log=True),
        "num_leaves": IntDistribution(7, 63, log=True),
        "feature_fraction": FloatDistribution(0.2, 0.9),
        "min_data_in_leaf": IntDistribution(5, 200, log=True),
        "lambda_l2": FloatDistribution(0.01, 30.0, log=True),
        "history_share": CategoricalDistribution((0.25, 0.5, 1.0)),
        "honest_share": CategoricalDistribution((0.25, 0.5, 1.0)),
    }
)
"""What is searched: LightGBM's parameters by their names, and shares of the training part's time and honest rows."""


class Trial(Part):
    """A trial that ended: what was tried and what it reached, by number of trees."""

    parameters: dict[str, bool | int | float | str]
    reached: dict[int, float]
    pruned: bool
    trees: Count
    average_precision: float


class Found(NamedTuple):
    """The best choice of a search, and how many trials it took, those of earlier attempts included."""

    choice: Choice
    trials: int


def tune(lesson: Lesson, stated: Choice, options: TrainOptions, study_path: Path, progress: Progress) -> Found:
    """Search until the study holds `options.tune` trials, and return the best choice.

    What the options say of LightGBM's parameters and of the rows stays as it is. Raises BadSetting when the
    study is of another search. Cost: a training for each trial, half as much for one that is given up.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = _space(options)
    ended = _read(study_path)
    for trial in ended:
        if trial.parameters.keys() != space.keys():
            raise BadSetting(f"study {study_path}: was made with other options: begin a new run")
    progress("tuning", len(ended), options.tune)
    while len(ended) < options.tune:
        trial = _try(lesson, stated, options, space, ended)
        _append(study_path, trial)
        ended.append(trial)
        progress("tuning", len(ended), options.tune)
    best = max((one for one in ended if not one.pruned), key=lambda one: one.average_precision)
    choice = _choice(best.parameters, lesson, stated)
    return Found(choice._replace(parameters={**choice.parameters, "num_iterations": best.trees}), len(ended))


def _try(
    lesson: Lesson,
    stated: Choice,
    options: TrainOptions,
    space: Mapping[str, BaseDistribution],
    ended: Sequence[Trial],
) -> Trial:
    """Run the trial that comes after these."""
    study = _study(space, ended, options.seed)
    trial = study.ask(dict(space))
    choice = _choice(trial.params, lesson, stated)
    parameters = {**choice.parameters, "num_iterations": _limit(options)}
    reached: dict[int, float] = {}

    def tell(trees: int, precision: float) -> None:
        reached[trees] = precision
        trial.report(precision, trees)
        if trial.should_prune():
            raise optuna.TrialPruned

    pruned = False
    material = lesson.sample(choice, options)
    try:
        grow(material, lesson.watched, lesson.features, options.seed, parameters, PATIENCE_TREES, tell)
    except optuna.TrialPruned:
        pruned = True
    trees = max(reached, key=reached.__getitem__)
    return Trial(parameters=trial.params, reached=reached, pruned=pruned, trees=trees, average_precision=reached[trees])


def _study(space: Mapping[str, BaseDistribution], ended: Sequence[Trial], seed: int) -> optuna.Study:
    """Return a study that knows the trials that ended; the first one to be asked is what we use without a search."""
    study = optuna.create_study(
        direction="maximize",
        # Seeded anew for each trial, so that a resumed search asks as an uninterrupted one does.
        sampler=optuna.samplers.TPESampler(seed=(seed * 100_003 + len(ended)) % 2**32),
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=UNPRUNED_TREES, n_min_trials=3
        ),
    )
    for one in ended:
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.PRUNED if one.pruned else TrialState.COMPLETE,
                value=None if one.pruned else one.average_precision,
                params=one.parameters,
                distributions=dict(space),
                intermediate_values=one.reached,
            )
        )
    if not ended:
        ours: dict[str, Any] = {**PARAMETERS, "history_share": 1.0, "honest_share": 1.0}
        study.enqueue_trial({name: ours[name] for name in space})
    return study


def _space(options: TrainOptions) -> dict[str, BaseDistribution]:
    """Return what is left to search when the options fix something."""
    fixed = set(options.parameters)
    fixed |= {"history_share"} if options.history_days else set()
    fixed |= {"honest_share"} if options.honest_share < 1.0 else set()
    return {name: distribution for name, distribution in SPACE.items() if name not in fixed}


def _limit(options: TrainOptions) -> int:
    return int(options.parameters.get("num_iterations", MOST_TREES))


def _choice(tried: Mapping[str, Parameter], lesson: Lesson, stated: Choice) -> Choice:
    """Return the choice that a trial stands for."""
    parameters = dict(tried)
    history_share = float(parameters.pop("history_share", 1.0))
    honest_share = float(parameters.pop("honest_share", stated.honest_share))
    history_days = stated.history_days if history_share == 1.0 else lesson.days() * history_share
    return Choice({**stated.parameters, **parameters}, history_days, honest_share)


def _read(path: Path) -> list[Trial]:
    """Return the trials of a study, [] when there is none; a last line that a crash cut short is left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadSetting(f"study {path}: {error.strerror}") from error
    try:
        return [Trial.model_validate_json(line) for line in lines[:-1] if line]
    except ValidationError as error:
        raise BadSetting(f"study {path}: is not a study of this release") from error


def _append(path: Path, trial: Trial) -> None:
    """Add a line, in place of what a crash left of one, and wait until the disk has it."""
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(trial.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
