"""The policy as an analyst writes it: a TOML file, checked field by field, and what it means for features.

Every mistake is one sentence that names the rule, the field and what would be right. `docs/policy.md` explains the
file; `docs/features.md` lists the features that a limit may name.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from service.core.decision import Decision, DegradedRule
from service.core.event import EntityKind
from service.core.features import BY_NAME, Feature
from service.core.policy import Condition, Limit, ListRules, Overruled, Rules
from service.core.scale import Scale, scale_of
from service.core.windows import DAY_MS, HOUR_MS, MINUTE_MS
from service.errors import BadSetting
from service.registry.manifest import Part, Share

MAX_LIMITS: Final = 100
"""Limits of one policy: each costs some 50 ns of every score."""

MAX_CONDITIONS: Final = 8
"""Conditions of one limit."""

Strict = Literal["REVIEW", "DECLINE"]
Asked = Literal["OBSERVE", "REVIEW", "DECLINE"]
Count = Annotated[int, Field(ge=0, le=10**12)]
Positive = Annotated[int, Field(ge=1, le=10**12)]
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[smhd]$")]
KindName = Literal["user", "seller", "item", "card"]

_UNITS_MS: Final = {"s": 1000, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_BOUNDS: Final = ("more_than", "fewer_than", "within", "longer_ago_than", "is", "above", "below")
_FITTING: Final = {
    "count": "more_than and fewer_than, which take a count, or above and below, which take 0 to 1",
    "time": 'within and longer_ago_than, which take a time such as "30d", or above and below, which take 0 to 1',
    "truth": "is, which takes true or false",
    None: "above and below, which take 0 to 1",
}


class Bounds(Part):
    """Between what a feature must lie: in counts, in time, as yes or no, or in the feature's own 0 to 1."""

    model_config = ConfigDict(populate_by_name=True)

    more_than: Count | None = None
    fewer_than: Positive | None = None
    within: Duration | None = None
    longer_ago_than: Duration | None = None
    is_: bool | None = Field(None, alias="is")
    above: Share | None = None
    below: Share | None = None

    def given(self) -> dict[str, Any]:
        """Return the bounds that are given, by the names that they have in the file."""
        values = {name: getattr(self, "is_" if name == "is" else name) for name in _BOUNDS}
        return {name: value for name, value in values.items() if value is not None}


class ConditionSpec(Bounds):
    """One condition of a limit with several."""

    feature: str

    def words(self) -> str:
        """Return the condition as people say it."""
        said = []
        for name, value in self.given().items():
            shown = ("yes" if value else "no") if name == "is" else f"{value:,}" if isinstance(value, int) else value
            said.append(f"{name.replace('_', ' ')} {shown}")
        return f"{self.feature} {' and '.join(said)}"


class LimitSpec(Bounds):
    """A rule: a code, a decision, why in words, and a condition or several that must hold together.

    OBSERVE decides nothing: where it holds is recorded.
    """

    code: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    decision: Asked
    text: Annotated[str, Field(min_length=1, max_length=200)]
    feature: str | None = None
    all: Annotated[tuple[ConditionSpec, ...], Field(max_length=MAX_CONDITIONS)] = ()
    amount_more_than_minor: Count | None = None
    amount_less_than_minor: Positive | None = None

    def conditions(self) -> tuple[ConditionSpec, ...]:
        """Return its conditions on features, the one written into the rule itself first."""
        if self.feature is None:
            return self.all
        return ConditionSpec(feature=self.feature, **self.given()), *self.all

    def words(self) -> str:
        """Return when it holds, as people say it."""
        said = [one.words() for one in self.conditions()]
        if self.amount_more_than_minor is not None:
            said.append(f"amount more than {self.amount_more_than_minor:,} minor")
        if self.amount_less_than_minor is not None:
            said.append(f"amount less than {self.amount_less_than_minor:,} minor")
        return ", and ".join(said)


class ListSpec(Part):
    """What the lists decide."""

    block: Strict = "DECLINE"
    review: Strict = "REVIEW"
    allow: Literal["APPROVE", "REVIEW"] = "APPROVE"
    allow_overrules: tuple[Overruled, ...] = ("score", "degraded", "limits")


class DegradedSpec(Part):
    """What a degraded answer decides: in general, and by which profile could not be read."""

    rule: DegradedRule | None = None
    by_kind: dict[KindName, DegradedRule] = Field(default_factory=dict)


class ThresholdSpec(Part):
    """Scores from which purchases are reviewed and declined, in place of the model's own."""

    review: Share | None = None
    decline: Share | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.review is not None and self.decline is not None and self.review > self.decline:
            raise ValueError("review lies above decline")
        return self


class PolicySpec(Part):
    """A policy as it is written; `rules` tells what it means."""

    about: Annotated[str, Field(max_length=2000)] = ""
    thresholds: ThresholdSpec = ThresholdSpec()
    degraded: DegradedSpec = DegradedSpec()
    lists: ListSpec = ListSpec()
    limits: Annotated[tuple[LimitSpec, ...], Field(max_length=MAX_LIMITS)] = ()

    def rules(self, version: int = 0) -> Rules:
        """Return what it means. Raises BadSetting that names the first limit that means nothing."""
        codes = [limit.code for limit in self.limits]
        for code in codes:
            if codes.count(code) > 1:
                raise BadSetting(f"limit {code}: code: {codes.count(code)} limits have this code")
        return Rules(
            version,
            tuple(_limit(limit) for limit in self.limits),
            ListRules(
                Decision[self.lists.block],
                Decision[self.lists.review],
                Decision[self.lists.allow],
                frozenset(self.lists.allow_overrules),
            ),
            self.degraded.rule,
            {EntityKind[kind.upper()]: rule for kind, rule in self.degraded.by_kind.items()},
            self.thresholds.review,
            self.thresholds.decline,
        )


def parsed_policy(toml: str, where: str) -> PolicySpec:
    """Return the policy that a TOML text says, with all that it means checked. Raises BadSetting that names `where`."""
    try:
        values = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"policy {where}: not valid TOML: {error}") from error
    try:
        # JSON, because the parts of the registry are strict and TOML has no tuples.
        policy = PolicySpec.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise BadSetting(f"policy {where}: {_sentence(error, values)}") from error
    try:
        policy.rules()
    except BadSetting as error:
        raise BadSetting(f"policy {where}: {error}") from error
    return policy


# --- what a limit means ---------------------------------------------------------------------------


def _limit(limit: LimitSpec) -> Limit:
    name = f"limit {limit.code}"
    if limit.feature is None and limit.given():
        raise BadSetting(f"{name}: {next(iter(limit.given()))} is given without a feature")
    above, below = limit.amount_more_than_minor, limit.amount_less_than_minor
    if not limit.conditions() and above is None and below is None:
        raise BadSetting(f"{name}: has no condition: give a feature with a bound, or an amount")
    if above is not None and below is not None and above + 1 >= below:
        raise BadSetting(f"{name}: amount_more_than_minor: no amount lies between {above} and {below}")
    conditions = tuple(_condition(one, name) for one in limit.conditions())
    asks = Decision.APPROVE if limit.decision == "OBSERVE" else Decision[limit.decision]
    return Limit(limit.code, asks, limit.text, conditions, above, below)


def _condition(spec: ConditionSpec, name: str) -> Condition:
    feature = BY_NAME.get(spec.feature)
    if feature is None:
        close = get_close_matches(spec.feature, BY_NAME, 1)
        hint = f"did you mean {close[0]!r}?" if close else "docs/features.md lists them"
        raise BadSetting(f"{name}: feature: there is no feature {spec.feature!r}; {hint}")
    given = spec.given()
    if not given:
        raise BadSetting(f"{name}: {feature.name} has no bound: it takes {_FITTING[_unit(feature)]}")
    aboves, belows = [], []
    for bound, value in given.items():
        above, below = _values(feature, bound, value, name)
        aboves += [] if above is None else [above]
        belows += [] if below is None else [below]
    if max(len(aboves), len(belows)) > 1:
        raise BadSetting(f"{name}: {feature.name} is bounded twice on the same side: {', '.join(given)}")
    above, below = next(iter(aboves), None), next(iter(belows), None)
    if above is not None and below is not None and above >= below:
        raise BadSetting(f"{name}: {feature.name} can never lie between its bounds: {', '.join(given)}")
    return Condition(feature, above, below)


def _values(feature: Feature, bound: str, value: Any, name: str) -> tuple[float | None, float | None]:  # noqa: ANN401
    """Return above and below what a bound asks the feature to lie; the value has the bound's type."""
    scale = scale_of(feature)
    match bound:
        case "above" | "below" if scale is None or scale.unit != "truth":
            return _own(feature, bound, value, name)
        case "is" if scale is not None and scale.unit == "truth":
            return (0.5, None) if value else (None, 0.5)
        case "more_than" | "fewer_than" if scale is not None and scale.unit == "count":
            return _counted(scale, bound, value, name)
        case "within" | "longer_ago_than" if scale is not None and scale.unit == "time":
            at = scale.at(milliseconds(value))
            return (at, None) if scale.rising == (bound == "longer_ago_than") else (None, at)
    raise BadSetting(f"{name}: {bound} does not fit {feature.name}: it takes {_FITTING[_unit(feature)]}")


def _own(feature: Feature, bound: str, value: float, name: str) -> tuple[float | None, float | None]:
    if (bound, value) in {("above", 1.0), ("below", 0.0)}:
        raise BadSetting(f"{name}: {bound}: no feature lies {bound} {value:g}, {feature.name} neither")
    return (value, None) if bound == "above" else (None, value)


def _counted(scale: Scale, bound: str, count: int, name: str) -> tuple[float | None, float | None]:
    largest = scale.largest()
    if bound == "more_than" and largest is not None and count >= largest:
        raise BadSetting(
            f"{name}: more_than: at most {largest} {scale.what} are told apart, so {count} is never passed"
        )
    beyond = count + 1 if bound == "more_than" else count - 1
    if scale.at(count) == scale.at(beyond):
        raise BadSetting(f"{name}: {bound}: {count} is too large to be told from {beyond}")
    return (scale.at(count), None) if bound == "more_than" else (None, scale.at(count))


def _unit(feature: Feature) -> str | None:
    scale = scale_of(feature)
    return None if scale is None else scale.unit


def milliseconds(duration: str) -> int:
    """Return a duration such as "30d", "12h", "5m" or "10s" in milliseconds."""
    return int(duration[:-1]) * _UNITS_MS[duration[-1]]


# --- mistakes in words ----------------------------------------------------------------------------


def _sentence(error: ValidationError, values: Mapping[str, Any]) -> str:
    """Return the first mistake: which rule, which field, what is wrong."""
    first = error.errors(include_url=False)[0]
    where = list(_where(first["loc"], values))
    kind, message = first["type"], str(first["msg"])
    match kind:
        case "extra_forbidden":
            known = _fields(first["loc"])
            close = get_close_matches(str(first["loc"][-1]), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            message = f"is not known; {hint}"
        case "missing":
            message = "is missing"
        case "literal_error" if "decision" in first["loc"]:
            message = "is 'OBSERVE', 'REVIEW' or 'DECLINE': only an allow listing makes a decision milder"
        case "tuple_type":
            message = "is a list: each rule of it begins with [[limits]]" if where == ["limits"] else "is a list"
        case "model_type":
            message = "is a table of fields, in { } or under a heading"
        case "string_pattern_mismatch" if first["loc"][-1] in {"within", "longer_ago_than"}:
            message = 'is a number with s, m, h or d, such as "30d"'
        case "string_pattern_mismatch":
            message = "is made of small letters, digits and hyphens, at most 40"
        case _:
            message = message.removeprefix("Value error, ")
            message = f"{message[0].lower()}{message[1:]}"
    return ": ".join([*where, message])


def _where(place: Sequence[int | str], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the way to a field, with a limit named by its code, or by its number when it has none."""
    if len(place) > 1 and place[0] == "limits" and isinstance(place[1], int):
        limit = values["limits"][place[1]]
        code = limit.get("code") if isinstance(limit, Mapping) else None
        yield f"limit {code}" if isinstance(code, str) and code else f"limit number {place[1] + 1}"
        place = place[2:]
    if len(place) > 1 and place[0] == "all":
        yield f"condition {int(place[1]) + 1}"
        place = place[2:]
    named = [f"{part + 1}" if isinstance(part, int) else part for part in place if part != "[key]"]
    if named:
        yield ".".join(named)


def _fields(place: Sequence[int | str]) -> list[str]:
    """Return the fields that there are beside a place."""
    model: type[Part] = PolicySpec
    if place[0] == "limits" and len(place) > 1:
        model = ConditionSpec if "all" in place else LimitSpec
    elif len(place) > 1:
        parts: dict[int | str, type[Part]] = {"lists": ListSpec, "degraded": DegradedSpec, "thresholds": ThresholdSpec}
        model = parts.get(place[0], PolicySpec)
    return [one.alias or name for name, one in model.model_fields.items()]
