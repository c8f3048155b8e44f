"""Another way to decide, applied to what was recorded: another policy, other thresholds, another version, a blend.

Without another policy the rules that held then hold now: each recorded decision names them, and the policy by which
they were decided is in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, model_validator

from service.core.decision import DegradedRule
from service.core.policy import NO_RULES, Rules
from service.core.profile import Habits
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import read_manifest, version_path
from service.registry.policy_file import rules_of
from service.registry.servable import Servable
from training.data.events import Progress, silent
from training.judge.backtest import Decisions, Limits, decisions_of, limits_as_before, recorded_limits, score_decisions
from training.judge.outcomes import Outcomes, RecordedLog, scores_of
from training.judge.recorded_rows import ROW_COLUMNS, RecordedLayouts, RecordedRows
from training.judge.ruling import (
    Rule,
    RuleEffect,
    decided,
    degraded_rules,
    effects_of,
    limits_now,
    limits_then,
    list_rules,
)
from training.metrics import Column


class Proposal(BaseModel):
    """What should have decided. Without versions it is the score as it was served, without a policy the one of then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: tuple[int, ...] = Field((), description="The version, or the blend, whose score decides.")
    review: float | None = Field(None, ge=0.0, le=1.0, description="Score from which a purchase is reviewed.")
    decline: float | None = Field(None, ge=0.0, le=1.0, description="Score from which a purchase is declined.")
    degraded_rule: DegradedRule = Field(
        "at_least_review", description="What degraded answers decide where the policy says nothing."
    )
    policy: InstanceOf[Rules] | None = Field(None, description="The policy that decides about the score.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.versions and self.review is None and self.decline is None and self.policy is None:
            raise ValueError("say what should have decided: --policy, --review, --decline, --version or --blend")
        if self.review is not None and self.decline is not None and self.review > self.decline:
            raise ValueError("--review lies above --decline")
        if len(set(self.versions)) != len(self.versions):
            raise ValueError("--blend names a version twice")
        return self


class Proposed(NamedTuple):
    """What the proposal decides, for the purchases that it can decide about.

    `frame` has those of the outcomes. `recomputed` counts the scores that were computed from recorded rows,
    because a version had not scored; `left_out` the decisions whose rows lack a feature, by its name. `rules` are
    those of the proposed policy, `effects` what each of them does; without one `not_here` counts the decisions whose
    limits are left out, by the policy of then that cannot be read.
    """

    frame: pl.DataFrame
    scores: Column
    decisions: Decisions
    limits: str
    recomputed: int
    left_out: Mapping[str, int]
    rules: Sequence[Rule] = ()
    effects: Sequence[RuleEffect] = ()
    not_here: Mapping[int, int] = MappingProxyType({})


class Recorded(NamedTuple):
    """Where scores come from: a log with the layouts of its rows, and the registry with the versions."""

    log: RecordedLog
    layouts: Mapping[str, Sequence[str]]
    registry: Path
    habits: Habits


class Rescored(NamedTuple):
    """Scores of a version for each purchase of the outcomes, NaN where the features were not served."""

    scores: Column
    recomputed: int
    left_out: Mapping[str, int]


def decide_anew(recorded: Recorded, outcomes: Outcomes, proposal: Proposal, progress: Progress = silent) -> Proposed:
    """Decide about every matured purchase as the proposal would have.

    A single version without thresholds decides by those of its manifest, a blend by thresholds that stop as
    many as were stopped; a threshold that is left out stays what it was. Raises BadArtifact when a version
    does not load, BadSetting, naming feature and remedy, when it can score none of the recorded rows.
    """
    frame = outcomes.frame
    scores, recomputed, left_out = frame["score"].to_numpy(), 0, dict[str, int]()
    if proposal.versions:
        found = [rescored(recorded, outcomes, version, progress) for version in proposal.versions]
        scores = blended([one.scores for one in found])
        recomputed = sum(one.recomputed for one in found)
        left_out = {name: count for one in found for name, count in one.left_out.items()}
    known = ~np.isnan(scores)
    frame, scores = frame.filter(pl.Series(known)), scores[known]
    limits, words = _limits(recorded.registry, proposal, frame, scores)
    by_score = decisions_of(scores, limits)
    if proposal.policy is None:
        decisions, not_here = ruled_as_then(recorded.registry, frame, by_score, proposal.degraded_rule)
        return Proposed(frame, scores, decisions, words, recomputed, left_out, not_here=not_here)
    policy = proposal.policy
    layouts = RecordedLayouts(recorded.layouts, recorded.registry)
    rules = [
        *list_rules(frame, policy.lists),
        *limits_now(recorded.log, layouts, frame, policy, progress),
        *degraded_rules(frame, policy, proposal.degraded_rule),
    ]
    effects = effects_of(frame, by_score, rules, policy.lists)
    decisions = decided(by_score, rules, policy.lists)
    return Proposed(frame, scores, decisions, words, recomputed, left_out, rules, effects)


def ruled_as_then(
    registry: Path, frame: pl.DataFrame, by_score: Decisions, default: DegradedRule
) -> tuple[Decisions, dict[int, int]]:
    """Return what the rules that held then make of other decisions of the score.

    Beside it, by policy, how many decisions were made by one that cannot be read here: their limits are left out.
    """
    decisions, not_here = by_score.copy(), dict[int, int]()
    for version in frame["policy_version"].unique().sort().to_list():
        mine = (frame["policy_version"] == version).to_numpy()
        try:
            policy = rules_of(registry, version)
        except BadArtifact:
            policy, not_here[version] = NO_RULES, int(mine.sum())
        some = frame.filter(pl.Series(mine))
        rules = [*list_rules(some, policy.lists), *limits_then(some, policy), *degraded_rules(some, policy, default)]
        decisions[mine] = decided(by_score[mine], rules, policy.lists)
    return decisions, not_here


def blended(columns: Sequence[Column]) -> Column:
    """Return the mean of several versions' scores, with the bits that the service gives; NaN where one has none."""
    total = columns[0]
    for column in columns[1:]:
        total = total + column
    return total / len(columns)


def rescored(recorded: Recorded, outcomes: Outcomes, version: int, progress: Progress = silent) -> Rescored:
    """Return a version's scores: as recorded where it scored, computed from the recorded rows elsewhere.

    Reads the decisions at most once, in pieces. Raises as `decide_anew` does.
    """
    frame = outcomes.frame
    scores = np.full(frame.height, np.nan)
    if version in outcomes.versions:
        scores = scores_of(frame, version).copy()
    missing = np.flatnonzero(np.isnan(scores))
    if not missing.size:
        return Rescored(scores, 0, {})
    servable = Servable.load(version_path(recorded.registry, version), recorded.habits)
    reader = RecordedRows(servable.features, recorded.layouts, recorded.registry)
    raw_scores = row_scores(recorded.log, frame["position"].to_numpy()[missing], servable, reader, progress)
    computed = ~np.isnan(raw_scores)
    if not computed.any() and missing.size == scores.size:
        raise BadSetting(reader.refusal(version))
    scores[missing[computed]] = servable.calibration.scores(raw_scores[computed])
    return Rescored(scores, int(computed.sum()), dict(reader.left_out))


def row_scores(
    log: RecordedLog,
    positions: npt.NDArray[np.int64],
    servable: Servable,
    reader: RecordedRows,
    progress: Progress = silent,
) -> Column:
    """Return a version's raw scores of the rows of these decisions, with the bits that the service gives.

    `positions` are increasing. NaN where the row has not all features.
    """
    scores = np.full(positions.size, np.nan)
    done = 0
    for piece in log.decisions(("position", *ROW_COLUMNS)):
        position = piece["position"].to_numpy()
        place = np.minimum(np.searchsorted(positions, position), positions.size - 1)
        wanted = piece.with_columns(pl.Series("place", place)).filter(pl.Series(positions[place] == position))
        for rows, matrix in reader.of(wanted):
            scores[rows["place"].to_numpy()] = servable.booster.raw_scores(matrix)
        done += wanted.height
        progress("rows scored", done, positions.size)
    return scores


def _limits(registry: Path, proposal: Proposal, frame: pl.DataFrame, scores: Column) -> tuple[Limits, str]:
    """Return the thresholds, and in words where they come from: the options, the policy, the versions, what was."""
    base, words = recorded_limits(frame), "those that were live then"
    if len(proposal.versions) == 1 and (proposal.review is None or proposal.decline is None):
        (version,) = proposal.versions
        own = _own_limits(registry, version)
        base, words = own, f"those of version {version}: {own.review:.4g}, {own.decline:.4g}"
    elif proposal.versions:
        sound = ~frame["degraded"].to_numpy()
        base = limits_as_before(scores[sound], score_decisions(frame)[sound])
        words = f"as many stopped as were: {base.review:.4g}, {base.decline:.4g}"
    policy = NO_RULES if proposal.policy is None else proposal.policy
    review = policy.review if proposal.review is None else proposal.review
    decline = policy.decline if proposal.decline is None else proposal.decline
    if review is not None and decline is not None:
        words = f"as given: {review:g}, {decline:g}"
    elif review is not None or decline is not None:
        words = f"one as given, the other one {words}"
    review_from = base.review if review is None else review
    decline_from = base.decline if decline is None else decline
    return Limits(np.minimum(review_from, decline_from), decline_from), words


def _own_limits(registry: Path, version: int) -> Limits:
    try:
        return Limits(*read_manifest(version_path(registry, version)).thresholds.thresholds())
    except BadArtifact as error:
        raise BadSetting(
            f"version {version} states no thresholds here: give --review and --decline ({error})"
        ) from error
