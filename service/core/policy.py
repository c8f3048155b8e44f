"""The decision policy: what lists, limits and degraded answers make of the decision of the score.

`Rules` say it as plain values; `Policy` is the same compiled for the rows of one lineup. Each rule that holds asks for
a decision; the strictest one wins. Only an allow listing makes anything milder, and of that only what it overrules;
never a block. What is unknown (NaN) satisfies no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args

from service.core.decision import DEGRADED_LEAST, Decision, DegradedRule, MissingCause, ReasonShown, Thresholds
from service.core.event import KINDS, EntityKind, Event
from service.core.features import Feature
from service.core.listing import EFFECTS, Listing

Overruled = Literal["score", "degraded", "limits", "review"]
"""What an allow listing may overrule; a block stands always."""

OVERRULED: Final[tuple[Overruled, ...]] = get_args(Overruled)

DEGRADED_CODE: Final = "degraded"
"""Code of the rule for degraded answers."""


def limit_code(code: str) -> str:
    """Return the code by which records and reasons name a limit."""
    return f"limit:{code}"


def list_code(effect: str, kind: EntityKind) -> str:
    """Return the code by which records and reasons name a listing; it does not name the entity."""
    return f"list:{effect}:{kind.name.lower()}"


@dataclass(frozen=True, slots=True)
class Condition:
    """A feature that lies above one value, below another one, or between both; the values themselves are outside."""

    feature: Feature
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """A rule that asks for a decision when all of its conditions hold; amounts are bounds outside, in minor units.

    One that asks for APPROVE asks for nothing: it is observed, and recorded where it holds.
    """

    code: str
    decision: Decision
    text: str
    conditions: tuple[Condition, ...] = ()
    amount_above: int | None = None
    amount_below: int | None = None


@dataclass(frozen=True, slots=True)
class ListRules:
    """What listings ask for, and what an allow listing brings down to `allow`."""

    block: Decision = Decision.DECLINE
    review: Decision = Decision.REVIEW
    allow: Decision = Decision.APPROVE
    allow_overrules: frozenset[Overruled] = frozenset({"score", "degraded", "limits"})


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy as plain values; made without arguments it is what holds where no policy was activated.

    A threshold that is None is the model's own; a degraded rule that is None is the deployment's setting.
    """

    version: int = 0
    limits: tuple[Limit, ...] = ()
    lists: ListRules = field(default_factory=ListRules)
    degraded: DegradedRule | None = None
    degraded_by_kind: Mapping[EntityKind, DegradedRule] = field(default_factory=dict)
    review: float | None = None
    decline: float | None = None

    @property
    def features(self) -> frozenset[Feature]:
        """Return the features that the limits look at."""
        return frozenset(one.feature for limit in self.limits for one in limit.conditions)

    def thresholds(self, own: Thresholds) -> Thresholds:
        """Return what decides about a score, where a model's own thresholds are `own`."""
        review = own.review if self.review is None else self.review
        decline = own.decline if self.decline is None else self.decline
        # A model that was promoted later may decline from below our review: then nothing is left to review.
        return Thresholds(min(review, decline), decline)

    def degraded_rule(self, kind: EntityKind, default: DegradedRule) -> DegradedRule:
        """Return what holds when the profile of this kind could not be read."""
        return self.degraded_by_kind.get(kind, self.degraded or default)


NO_RULES: Final = Rules()


class Ruling(NamedTuple):
    """What was decided, the codes of the rules that held, and in words those that ask for something.

    `asked` is the strictest decision that any of them asks for, before anything is overruled.
    """

    decision: Decision
    rules: tuple[str, ...] = ()
    reasons: tuple[ReasonShown, ...] = ()
    asked: Decision = Decision.APPROVE


class _Held(NamedTuple):
    """A rule that held: what it asks for, and how it is told; what is observed is not told to callers."""

    asks: Decision
    code: str
    reason: ReasonShown
    observed: bool = False


_SCORE_ALONE: Final = {decision: Ruling(decision) for decision in Decision}
_NOT_INFORMED: Final = {MissingCause.UNREADABLE, MissingCause.HOLDS_PURCHASE}


class Policy:
    """Rules for the rows of one lineup. Nothing of it changes after it is made; any thread may ask it."""

    __slots__ = ("_degraded", "_holds", "_limits", "_listed", "rules", "version")

    def __init__(self, rules: Rules, place: Mapping[Feature, int]) -> None:
        """Compile rules; `place` tells where each of their features stands in a row."""
        self.rules = rules
        self.version = rules.version
        self._limits = tuple(
            _held(limit.decision, limit_code(limit.code), limit.text)._replace(
                observed=limit.decision is Decision.APPROVE
            )
            for limit in rules.limits
        )
        self._holds = compile_limits(rules.limits, place)
        lists = rules.lists
        asked = {"allow": lists.allow, "block": lists.block, "review": lists.review}
        self._listed = {
            (effect, kind): _held(asked[effect], list_code(effect, kind), _listed_words(effect, kind))
            for effect in EFFECTS
            for kind in KINDS
        }
        self._degraded: dict[tuple[object, ...], _Held | None] = {}
        """Filled as cases occur: three rules and at most five causes of four profiles bound it."""

    def rule(
        self,
        row: Sequence[float],
        purchase: Event,
        decision: Decision,
        listed: Sequence[Listing],
        missing: Mapping[EntityKind, MissingCause] | None,
        default: DegradedRule,
    ) -> Ruling:
        """Return what is decided, where the score alone says `decision`.

        `listed` are the listings that the purchase meets; `missing` tells which profiles a degraded answer lacks,
        None for an answer that is not degraded; `default` holds for those where the policy says nothing.
        Cost: a microsecond for ten limits of which none holds.
        """
        limits = self._holds(row, purchase.amount_minor)
        if not limits and not listed and missing is None:
            return _SCORE_ALONE[decision]
        by_limits = [self._limits[at] for at in limits]
        by_lists = [self._listed[one.effect, one.kind] for one in listed]
        degraded = None if missing is None else self._degraded_answer(missing, default)
        held = [*sorted(by_lists, key=_strictest_first), *by_limits]
        if degraded is not None:
            held.append(degraded)
        asked = Asked(
            score=decision,
            degraded=Decision.APPROVE if degraded is None else degraded.asks,
            limits=max((one.asks for one in by_limits), default=Decision.APPROVE),
            review=self.rules.lists.review if any(one.effect == "review" for one in listed) else Decision.APPROVE,
            block=self.rules.lists.block if any(one.effect == "block" for one in listed) else Decision.APPROVE,
        )
        allowed = any(one.effect == "allow" for one in listed)
        final = strictest(asked, self.rules.lists, allowed=allowed)
        reasons = tuple(one.reason for one in held if not one.observed)
        return Ruling(final, tuple(one.code for one in held), reasons, max(asked[1:]))

    def _degraded_answer(self, missing: Mapping[EntityKind, MissingCause], default: DegradedRule) -> _Held | None:
        """Return the rule for a degraded answer, None when it leaves the decision to the score."""
        case = (default, *missing.items())
        if case not in self._degraded:
            self._degraded[case] = degraded_answer(self.rules, missing, default)
        return self._degraded[case]


class Asked(NamedTuple):
    """What each part asks for; APPROVE asks for nothing."""

    score: Decision
    degraded: Decision
    limits: Decision
    review: Decision
    block: Decision


def strictest(asked: Asked, lists: ListRules, *, allowed: bool) -> Decision:
    """Return the strictest decision that is asked for, less what an allow listing overrules."""
    if not allowed:
        return max(asked)
    return max(
        min(one, lists.allow) if name in lists.allow_overrules else one
        for name, one in zip(Asked._fields, asked, strict=True)
    )


def degraded_answer(rules: Rules, missing: Mapping[EntityKind, MissingCause], default: DegradedRule) -> _Held | None:
    """Return what a degraded answer asks for: the strictest of its missing profiles; None when all leave it be."""
    causes = {kind: cause for kind, cause in missing.items() if cause in _NOT_INFORMED}
    asks = max((DEGRADED_LEAST[rules.degraded_rule(kind, default)] for kind in causes), default=Decision.APPROVE)
    if asks is Decision.APPROVE:
        return None
    if MissingCause.HOLDS_PURCHASE in causes.values():
        words = "the purchase had been recorded before it was scored"
    else:
        names = [f"the {kind.name.lower()}" for kind in sorted(causes)]
        words = f"the history of {_and(names)} could not be read"
    return _held(asks, DEGRADED_CODE, words)


def compile_limits(
    limits: Sequence[Limit], place: Mapping[Feature, int]
) -> Callable[[Sequence[float], int], tuple[int, ...]]:
    """Return a function of a row and an amount that tells which limits hold, by their places, in order.

    Done when a lineup loads, never per request. Cost of a call: some 50 ns for each limit that does not hold.
    """
    lines = ["def holds(row, amount):", "    held = ()"]
    for at, limit in enumerate(limits):
        lines.append(f"    if {_test(limit, place)}: held += ({at},)")
    scope: dict[str, object] = {}
    source = "\n".join([*lines, "    return held\n"])
    exec(compile(source, "<compiled limits>", "exec"), scope)  # noqa: S102  the source is ours, made of numbers
    return scope["holds"]  # type: ignore[return-value]


def _test(limit: Limit, place: Mapping[Feature, int]) -> str:
    """Return the test of a limit; a NaN makes every comparison false."""
    tests = []
    if limit.amount_above is not None:
        tests.append(f"amount > {limit.amount_above!r}")
    if limit.amount_below is not None:
        tests.append(f"amount < {limit.amount_below!r}")
    for one in limit.conditions:
        value = f"row[{place[one.feature]}]"
        if one.above is not None:
            tests.append(f"{value} > {one.above!r}")
        if one.below is not None:
            tests.append(f"{value} < {one.below!r}")
    return " and ".join(tests) or "False"


def _held(asks: Decision, code: str, text: str) -> _Held:
    return _Held(asks, code, ReasonShown(code, text, 0.0))


def _listed_words(effect: str, kind: EntityKind) -> str:
    return f"the {kind.name.lower()} is on the {effect} list"


def _strictest_first(held: _Held) -> tuple[int, str]:
    return -held.asks, held.code


def _and(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
