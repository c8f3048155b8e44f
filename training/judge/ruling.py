"""A policy over columns: what its rules make of many recorded decisions, with the results of `service.core.policy`.

Limits look at the rows that were served. A listing counts where it counted then: snapshots hold no lists. What each
rule does is told by leaving it out: how the decisions would change without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from service.core.decision import DEGRADED_LEAST, Decision, DegradedRule, MissingCause
from service.core.event import KINDS
from service.core.listing import EFFECTS, Effect
from service.core.policy import DEGRADED_CODE, Asked, Limit, ListRules, Rules, limit_code, list_code
from training.data.events import Progress, silent
from training.judge.backtest import Decisions, Tally
from training.judge.outcomes import RecordedLog
from training.judge.recorded_rows import ROW_COLUMNS, RecordedLayouts
from training.learning.facts import Truth
from training.metrics import Column
from training.snapshot.schema import MISSING_COLUMNS

Mask = npt.NDArray[np.bool_]

Part = Literal["degraded", "limits", "review", "block", "allow"]

_DEGRADING: Final = (int(MissingCause.UNREADABLE), int(MissingCause.HOLDS_PURCHASE))


class Rule(NamedTuple):
    """A rule over the purchases of a frame: what it asks for, where it holds, and where nobody can say.

    `lacking` counts, by feature, the purchases whose rows were served without what the rule looks at.
    """

    code: str
    part: Part
    asks: Decision
    holds: Mask
    lacking: Mapping[str, int]


class RuleEffect(NamedTuple):
    """What one rule does, beside all others.

    `holds` counts purchases; `changes` those that would be decided otherwise without it. `frauds` and the others are
    what is reviewed or declined because of it (less than nothing for an allow listing), with their amounts.
    """

    code: str
    asks: str
    holds: int
    changes: int
    frauds: Tally
    honest: Tally
    unknown: Tally
    not_judged: int


def decided(score: Decisions, rules: Iterable[Rule], lists: ListRules) -> Decisions:
    """Return `service.core.policy.strictest` of each element."""
    asked = {name: np.full(score.size, int(Decision.APPROVE), np.uint8) for name in Asked._fields}
    asked["score"] = score
    allowed = np.zeros(score.size, np.bool_)
    for rule in rules:
        if rule.part == "allow":
            allowed |= rule.holds
        else:
            asks = np.where(rule.holds, np.uint8(rule.asks), np.uint8(Decision.APPROVE))
            asked[rule.part] = np.maximum(asked[rule.part], asks)
    for name in lists.allow_overrules:
        asked[name] = np.where(allowed, np.minimum(asked[name], np.uint8(lists.allow)), asked[name])
    strictest: Decisions = np.maximum.reduce(list(asked.values()))
    return strictest


def list_rules(frame: pl.DataFrame, lists: ListRules) -> list[Rule]:
    """Return a rule for each kind of listing that counted for any purchase then."""
    told = set(frame["rules"].explode().drop_nulls().unique().to_list())
    asks: dict[Effect, Decision] = {"block": lists.block, "review": lists.review, "allow": lists.allow}
    return [
        Rule(code, effect, asks[effect], _told(frame, code), {})
        for effect in sorted(EFFECTS, key=lambda one: -asks[one])
        for kind in KINDS
        if (code := list_code(effect, kind)) in told
    ]


def degraded_rules(frame: pl.DataFrame, rules: Rules, default: DegradedRule) -> list[Rule]:
    """Return the rules for degraded answers, one for each decision that they ask for."""
    asks = np.full(frame.height, int(Decision.APPROVE), np.uint8)
    for kind, column in zip(KINDS, MISSING_COLUMNS, strict=True):
        degrading = frame[column].is_in(_DEGRADING).to_numpy()
        least = np.uint8(DEGRADED_LEAST[rules.degraded_rule(kind, default)])
        asks = np.where(degrading, np.maximum(asks, least), asks)
    found = [(one, asks == int(one)) for one in (Decision.REVIEW, Decision.DECLINE)]
    return [Rule(DEGRADED_CODE, "degraded", one, holds, {}) for one, holds in found if holds.any()]


def limits_then(frame: pl.DataFrame, rules: Rules) -> list[Rule]:
    """Return the limits of a policy where they held when it was decided."""
    coded = [(limit, limit_code(limit.code)) for limit in rules.limits]
    return [Rule(code, "limits", limit.decision, _told(frame, code), {}) for limit, code in coded]


def limits_now(
    log: RecordedLog, layouts: RecordedLayouts, frame: pl.DataFrame, rules: Rules, progress: Progress = silent
) -> list[Rule]:
    """Return the limits of a policy where they hold on the rows that were served. Reads the decisions once.

    A limit is not judged where a feature of it was not served and its other conditions hold; it does not hold there.
    """
    holds = [np.zeros(frame.height, np.bool_) for _ in rules.limits]
    lacking: list[Counter[str]] = [Counter() for _ in rules.limits]
    positions, amounts = frame["position"].to_numpy(), frame["amount_minor"].to_numpy()
    done = 0
    for piece in log.decisions(("position", *ROW_COLUMNS)) if rules.limits else ():
        position = piece["position"].to_numpy()
        place = np.minimum(np.searchsorted(positions, position), max(positions.size - 1, 0))
        mine = positions[place] == position if positions.size else np.zeros(position.size, np.bool_)
        wanted = piece.with_columns(pl.Series("place", place)).filter(pl.Series(mine))
        for rows, columns in layouts.of(wanted):
            at = rows["place"].to_numpy()
            for limit, held, gone in zip(rules.limits, holds, lacking, strict=True):
                feature, known = _held(limit, columns, amounts[at])
                if feature:
                    gone[feature] += int(known.sum())
                else:
                    held[at] = known
        done += wanted.height
        progress("rows looked at", done, frame.height)
    return [
        Rule(limit_code(limit.code), "limits", limit.decision, held, {name: n for name, n in gone.items() if n})
        for limit, held, gone in zip(rules.limits, holds, lacking, strict=True)
    ]


def effects_of(frame: pl.DataFrame, score: Decisions, rules: Sequence[Rule], lists: ListRules) -> list[RuleEffect]:
    """Return what each rule does, in their order. Cost: for each, the purchases that it holds for."""
    return [_effect(frame, score, rules, at, lists) for at in range(len(rules))]


# --- steps ----------------------------------------------------------------------------------------


def _effect(frame: pl.DataFrame, score: Decisions, rules: Sequence[Rule], which: int, lists: ListRules) -> RuleEffect:
    rule = rules[which]
    at = np.flatnonzero(rule.holds)  # elsewhere nothing depends on it
    mine = [one._replace(holds=one.holds[at]) for one in rules]
    with_all = decided(score[at], mine, lists)
    without = decided(score[at], [*mine[:which], *mine[which + 1 :]], lists)
    stopped = (with_all > Decision.APPROVE).astype(np.int8) - (without > Decision.APPROVE).astype(np.int8)
    tallies = _tallies(frame.select("truth", "label", "weight", "amount_minor")[at], stopped)
    observed = rule.part == "limits" and rule.asks is Decision.APPROVE
    return RuleEffect(
        code=rule.code,
        asks="observe" if observed else rule.asks.name.lower(),
        holds=at.size,
        changes=int((with_all != without).sum()),
        frauds=tallies["fraud"],
        honest=tallies["honest"],
        unknown=tallies["unknown"],
        not_judged=sum(rule.lacking.values()),
    )


def _told(frame: pl.DataFrame, code: str) -> Mask:
    """Return the purchases for which a rule held when it was decided."""
    return frame["rules"].list.contains(code).fill_null(value=False).to_numpy()


def _held(limit: Limit, columns: Mapping[str, Column], amounts: npt.NDArray[np.int64]) -> tuple[str, Mask]:
    """Return the first feature that was not served ("" for none), and where all other conditions hold."""
    holds = np.ones(amounts.size, np.bool_)
    lacking = ""
    if limit.amount_above is not None:
        holds &= amounts > limit.amount_above
    if limit.amount_below is not None:
        holds &= amounts < limit.amount_below
    for one in limit.conditions:
        column = columns.get(one.feature.fingerprint)
        if column is None:
            lacking = lacking or one.feature.name
            continue
        if one.above is not None:
            holds &= column > one.above
        if one.below is not None:
            holds &= column < one.below
    return lacking, holds


def _tallies(frame: pl.DataFrame, stopped: npt.NDArray[np.int8]) -> dict[str, Tally]:
    """Return, by truth, what is stopped more (+1) or less (-1), each purchase as often as it stands for others."""
    unknown = (frame["truth"] == int(Truth.UNKNOWN)).to_numpy()
    fraud = (frame["label"] == 1).to_numpy() & ~unknown
    weight = np.where(unknown, 1.0, frame["weight"].to_numpy()) * stopped
    amount = weight * frame["amount_minor"].to_numpy()
    masks = {"fraud": fraud, "honest": ~fraud & ~unknown, "unknown": unknown}
    return {name: Tally(float(weight[mask].sum()), float(amount[mask].sum())) for name, mask in masks.items()}
