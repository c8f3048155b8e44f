"""Profiles: the history kept of one entity, and what each event does to it.

A profile is read as a flat tuple of integers, its *image*, which both stores give and the compiled
features index directly:

    layout, revision, totals..., buckets per series..., entries per recent map...,
    then for each series: bucket numbers in order, then for each measure the running sums (one more
    than there are buckets, beginning with 0), then for each recent map: id64 in order, times.

Running sums make a window two look-ups and a subtraction, however full the profile is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from service.core.aggregates import Bucketed, Earliest, Latest, Recent, Scalar, Sum
from service.core.event import KINDS, EntityKey, EntityKind, Event, EventKind, Settlement
from service.core.fixed import id64, log2_fixed, log2_of_count
from service.core.windows import DAYS, FIVE_MINUTES, HOUR_MS, HOURS, SERIES

Image = tuple[int, ...]

LAYOUT: Final = 1
"""Number of the newest profile layout; an aggregate names the one that introduced it."""

DAY_PARTS: Final = 8
"""A day (UTC) is told in parts of three hours."""

DAY_PART_MS: Final = 24 * HOUR_MS // DAY_PARTS

Habits = Literal["attempts", "settlements"]
"""What a habit is made of: every purchase, or those that were settled as completed."""


class Effect(IntEnum):
    """What an event does to the profiles that it touches."""

    REGISTERED = 0
    LISTED = 1
    ATTEMPTED = 2
    COMPLETED = 3
    DECLINED = 4
    REPORTED = 5
    CONFIRMED = 6
    UNCONFIRMED = 7


class Source(IntEnum):
    """The integers that an event adds to aggregates; `Amounts` holds one of each."""

    ONE = 0
    MINUS_ONE = 1
    TIME = 2
    AMOUNT = 3
    LOG_AMOUNT = 4
    LOG_AMOUNT_SQ = 5
    LOG_QUANTITY = 6
    LOG_QUANTITY_SQ = 7
    USER = 8
    SELLER = 9
    CARD = 10
    MINUS_AMOUNT = 11


class Add(NamedTuple):
    """One line of the table below: this effect adds that source to this aggregate (of that measure)."""

    aggregate: str
    source: Source
    measure: str = ""


_COUNTED: Final = tuple(
    add
    for series in SERIES
    for add in (Add(series.name, Source.ONE, "purchases"), Add(series.name, Source.AMOUNT, "amount"))
)

ADDS: Final[dict[Effect, tuple[Add, ...]]] = {
    Effect.REGISTERED: (Add("first_ms", Source.TIME),),
    Effect.LISTED: (
        Add("first_ms", Source.TIME),
        Add("listings", Source.ONE),
        Add("listed_log", Source.LOG_AMOUNT),
    ),
    Effect.ATTEMPTED: (
        Add("first_ms", Source.TIME),
        Add("last_purchase_ms", Source.TIME),
        Add("purchases", Source.ONE),
        Add("amount", Source.AMOUNT),
        Add("day_part", Source.ONE),
        *_COUNTED,
        Add("cards", Source.CARD),
        Add("sellers", Source.SELLER),
        Add("users", Source.USER),
    ),
    Effect.COMPLETED: (
        Add("completed", Source.ONE),
        Add("log_amount", Source.LOG_AMOUNT),
        Add("log_amount_sq", Source.LOG_AMOUNT_SQ),
        Add("log_quantity", Source.LOG_QUANTITY),
        Add("log_quantity_sq", Source.LOG_QUANTITY_SQ),
    ),
    Effect.DECLINED: (Add("declines", Source.ONE), Add(HOURS.name, Source.ONE, "declines")),
    Effect.REPORTED: (Add("reports", Source.ONE), Add("last_report_ms", Source.TIME)),
    Effect.CONFIRMED: (
        Add("frauds", Source.ONE),
        Add("fraud_amount", Source.AMOUNT),
        Add("last_fraud_ms", Source.TIME),
        Add(DAYS.name, Source.ONE, "frauds"),
        Add(DAYS.name, Source.AMOUNT, "fraud_amount"),
    ),
    Effect.UNCONFIRMED: (
        Add("frauds", Source.MINUS_ONE),
        Add("fraud_amount", Source.MINUS_AMOUNT),
        Add(DAYS.name, Source.MINUS_ONE, "frauds"),
        Add(DAYS.name, Source.MINUS_AMOUNT, "fraud_amount"),
    ),
}
"""What each effect adds where; an aggregate that a kind does not keep is passed over."""

_COMMON: Final[tuple[Scalar, ...]] = (
    Earliest("first_ms"),
    Latest("last_purchase_ms"),
    Sum("purchases"),
    Sum("amount"),
    Sum("completed"),
    Sum("log_amount"),
    Sum("log_amount_sq"),
    Sum("frauds"),
    Sum("fraud_amount"),
    Latest("last_fraud_ms"),
    Sum("declines"),
)
_QUANTITY: Final = (Sum("log_quantity"), Sum("log_quantity_sq"))
_ALL_SERIES: Final = (Bucketed(FIVE_MINUTES), Bucketed(HOURS), Bucketed(DAYS))


@dataclass(frozen=True, slots=True)
class Schema:
    """What the profile of one kind holds, in the order of its image."""

    kind: EntityKind
    scalars: tuple[Scalar, ...]
    series: tuple[Bucketed, ...]
    recents: tuple[Recent, ...]
    layout: int = LAYOUT
    total_at: dict[str, int] = field(init=False)
    series_at: dict[str, int] = field(init=False)
    recent_at: dict[str, int] = field(init=False)
    measures: tuple[int, ...] = field(init=False)
    head: int = field(init=False)

    def __post_init__(self) -> None:
        """Work out where everything stands."""
        first = 2
        scalars = len(self.scalars)
        put = object.__setattr__
        put(self, "total_at", {scalar.name: first + i for i, scalar in enumerate(self.scalars)})
        put(self, "series_at", {one.name: first + scalars + i for i, one in enumerate(self.series)})
        start = first + scalars + len(self.series)
        put(self, "recent_at", {recent.name: start + i for i, recent in enumerate(self.recents)})
        put(self, "measures", tuple(len(one.series.measures) for one in self.series))
        put(self, "head", start + len(self.recents))

    def as_of(self, layout: int) -> Schema:
        """Return the schema that profiles of an older layout were written with."""
        if not 1 <= layout <= self.layout:
            message = f"profile layout {layout} is not known to this release, which knows 1 to {self.layout}"
            raise ValueError(message)
        return Schema(
            self.kind,
            tuple(scalar for scalar in self.scalars if scalar.since <= layout),
            tuple(one for one in self.series if one.since <= layout),
            tuple(recent for recent in self.recents if recent.since <= layout),
            layout,
        )

    @property
    def empty(self) -> Image:
        """Return the image of an entity that nothing is known of: all zeros."""
        return EMPTY[self.kind] if SCHEMAS.get(self.kind) is self else ProfileState(self).image()


SCHEMAS: Final[dict[EntityKind, Schema]] = {
    EntityKind.USER: Schema(
        EntityKind.USER,
        (*_COMMON, *(Sum(f"day_part_{part}") for part in range(DAY_PARTS))),
        _ALL_SERIES,
        (Recent("cards"), Recent("sellers")),
    ),
    EntityKind.SELLER: Schema(EntityKind.SELLER, (*_COMMON, *_QUANTITY, Sum("listings")), _ALL_SERIES, ()),
    EntityKind.ITEM: Schema(EntityKind.ITEM, (*_COMMON, Sum("listings"), Sum("listed_log")), _ALL_SERIES, ()),
    EntityKind.CARD: Schema(
        EntityKind.CARD,
        (*_COMMON, Sum("reports"), Latest("last_report_ms")),
        _ALL_SERIES,
        (Recent("users"),),
    ),
}


class Update(NamedTuple):
    """What one event does to one profile: one revision, whatever the number of effects.

    `effects` holds each effect with the time that it is counted at; `amounts` is indexed by `Source`
    (its TIME is not used: the effect brings it). `ingest_time_ms` decides which series it is late for.
    """

    key: EntityKey
    effects: tuple[tuple[Effect, int], ...]
    amounts: tuple[int, ...]
    ingest_time_ms: int


def amounts_of(purchase: Event) -> tuple[int, ...]:
    """Return the integers that a purchase (or listing) adds, indexed by `Source`."""
    log_amount = log2_fixed(purchase.amount_minor)
    log_quantity = log2_of_count(purchase.quantity)
    return (
        1,
        -1,
        0,
        purchase.amount_minor,
        log_amount,
        log_amount * log_amount,
        log_quantity,
        log_quantity * log_quantity,
        id64(purchase.user_id) if purchase.user_id else 0,
        id64(purchase.seller_id) if purchase.seller_id else 0,
        id64(purchase.card_hash) if purchase.card_hash else 0,
        -purchase.amount_minor,
    )


def effects_of(event: Event, confirmed_at_ms: int, habits: Habits) -> tuple[tuple[Effect, int], ...]:
    """Return what an event does, with the time that each effect is counted at.

    `confirmed_at_ms` is, for a FRAUD_CLEARED, the event time of the confirmation that it takes back, or
    0 when there is none (then it is a label and nothing more).
    """
    time_ms = event.event_time_ms
    match event.kind:
        case EventKind.USER_REGISTERED | EventKind.SELLER_REGISTERED:
            return ((Effect.REGISTERED, time_ms),)
        case EventKind.ITEM_LISTED:
            return ((Effect.LISTED, time_ms),)
        case EventKind.PURCHASE:
            attempted = (Effect.ATTEMPTED, time_ms)
            return (attempted, (Effect.COMPLETED, time_ms)) if habits == "attempts" else (attempted,)
        case EventKind.PURCHASE_SETTLED:
            if event.settlement is Settlement.DECLINED:
                return ((Effect.DECLINED, time_ms),)
            if event.settlement is Settlement.COMPLETED and habits == "settlements":
                return ((Effect.COMPLETED, time_ms),)
            return ()
        case EventKind.CARD_REPORTED:
            return ((Effect.REPORTED, time_ms),)
        case EventKind.FRAUD_CONFIRMED:
            return ((Effect.CONFIRMED, time_ms),)
        case EventKind.FRAUD_CLEARED:
            return ((Effect.UNCONFIRMED, confirmed_at_ms),) if confirmed_at_ms else ()


def updates_of(event: Event, purchase: Event | None, confirmed_at_ms: int, habits: Habits) -> list[Update]:
    """Return what an event does to each profile that it touches, in the order of `KINDS`.

    `purchase` is the purchase that a follow-up names (else None): its entities and amounts count.
    """
    effects = effects_of(event, confirmed_at_ms, habits)
    if not effects:
        return []
    subject = event if purchase is None else purchase
    amounts = amounts_of(subject)
    return [Update(key, effects, amounts, event.ingest_time_ms) for key in subject.keys()]


def is_late(event: Event, effects: Iterable[tuple[Effect, int]]) -> bool:
    """Tell whether at least one series leaves the event out because it came too late for it."""
    return any(
        not _SERIES_BY_NAME[add.aggregate].in_time(time_ms, event.ingest_time_ms)
        for effect, time_ms in effects
        for add in ADDS[effect]
        if add.measure
    )


_SERIES_BY_NAME: Final = {series.name: series for series in SERIES}


class _Program(NamedTuple):
    """What an effect does to profiles of one schema, resolved to positions."""

    sums: tuple[tuple[int, Source], ...]
    times: tuple[tuple[Latest | Earliest, int], ...]
    day_part: int
    series: tuple[tuple[Bucketed, int, tuple[tuple[int, Source], ...]], ...]
    recents: tuple[tuple[Recent, int, Source], ...]


def _compile(schema: Schema, effect: Effect) -> _Program:
    adds = ADDS[effect]
    wanted = {add.aggregate: add for add in adds}
    series = []
    for index, one in enumerate(schema.series):
        lines = tuple((one.series.measures.index(add.measure), add.source) for add in adds if add.aggregate == one.name)
        if lines:
            series.append((one, index, lines))
    scalars = [(index, scalar) for index, scalar in enumerate(schema.scalars) if scalar.name in wanted]
    sums = tuple((index, wanted[scalar.name].source) for index, scalar in scalars if isinstance(scalar, Sum))
    assert all(source is not Source.TIME for _, source in sums), "Latest and Earliest alone take times"
    return _Program(
        sums,
        tuple((scalar, index) for index, scalar in scalars if not isinstance(scalar, Sum)),
        schema.total_at.get("day_part_0", 0) - 2 if "day_part" in wanted else -1,
        tuple(series),
        tuple(
            (recent, index, wanted[recent.name].source)
            for index, recent in enumerate(schema.recents)
            if recent.name in wanted
        ),
    )


_PROGRAMS: dict[tuple[EntityKind, int], dict[Effect, _Program]] = {}


def _programs(schema: Schema) -> dict[Effect, _Program]:
    key = (schema.kind, schema.layout)
    found = _PROGRAMS.get(key)
    if found is None:
        found = _PROGRAMS[key] = {effect: _compile(schema, effect) for effect in Effect}
    return found


class ProfileState:
    """A profile while it is being changed: one list for the totals, for each series and for each recent map."""

    __slots__ = ("programs", "recents", "revision", "schema", "series", "totals")

    def __init__(self, schema: Schema) -> None:
        """Begin with nothing known."""
        self.schema = schema
        self.programs = _programs(schema)
        self.revision = 0
        self.totals = [scalar.zero() for scalar in schema.scalars]
        self.series: list[list[int]] = [one.zero() for one in schema.series]
        self.recents: list[list[int]] = [recent.zero() for recent in schema.recents]

    @classmethod
    def of(cls, kind: EntityKind, image: Image) -> ProfileState:
        """Return the profile that an image shows; the image keeps the layout that it was written with."""
        schema = SCHEMAS[kind]
        if image[0] != schema.layout:
            schema = schema.as_of(image[0])
        state = cls.__new__(cls)
        state.schema = schema
        state.programs = _programs(schema)
        state.revision = image[1]
        # A slice of a list is a list, to be changed; of a tuple it would have to be copied again.
        flat = [*image]
        first = 2 + len(schema.scalars)
        state.totals = flat[2:first]
        at = schema.head
        state.series = []
        for measures, size in zip(schema.measures, flat[first:at], strict=False):
            end = at + size + measures * (size + 1)
            state.series.append(flat[at:end])
            at = end
        state.recents = []
        for size in flat[first + len(schema.measures) : schema.head]:
            state.recents.append(flat[at : at + 2 * size])
            at += 2 * size
        return state

    def apply(self, update: Update) -> int:
        """Apply one update and return the revision that it got."""
        amounts, ingest_time_ms = update.amounts, update.ingest_time_ms
        totals = self.totals
        for effect, time_ms in update.effects:
            program = self.programs[effect]
            for at, source in program.sums:
                totals[at] += amounts[source]
            for latest, at in program.times:
                totals[at] = latest.add(totals[at], time_ms)
            if program.day_part >= 0:
                totals[program.day_part + time_ms // DAY_PART_MS % DAY_PARTS] += 1
            for one, index, lines in program.series:
                if one.series.in_time(time_ms, ingest_time_ms):
                    one.add(self.series[index], time_ms // one.series.bucket_ms, lines, amounts)
            for recent, index, source in program.recents:
                if amounts[source]:
                    recent.add(self.recents[index], amounts[source], time_ms)
        self.revision += 1
        return self.revision

    def image(self) -> Image:
        """Return the flat tuple; what is out of reach of its series is left out."""
        schema = self.schema
        series = [one.value(state) for one, state in zip(schema.series, self.series, strict=True)]
        flat = [schema.layout, self.revision, *self.totals]
        flat += [one.size(kept) for one, kept in zip(schema.series, series, strict=True)]
        flat += [len(kept) // 2 for kept in self.recents]
        for kept in series:
            flat += kept
        for kept in self.recents:
            flat += kept
        return tuple(flat)


EMPTY: Final[dict[EntityKind, Image]] = {kind: ProfileState(SCHEMAS[kind]).image() for kind in KINDS}
"""The image of an entity that nothing is known of; compare with `is` to tell unknown from known."""


def widen(kind: EntityKind, image: Image) -> tuple[float, ...]:
    """Return an image of an older layout as one of the newest, with NaN for what it has no history of.

    Not on the usual path: profiles are of the newest layout until a release adds an aggregate.
    """
    newest, older = SCHEMAS[kind], SCHEMAS[kind].as_of(image[0])
    return widened(ProfileState.of(kind, image), older, newest)


def widened(state: ProfileState, older: Schema, newest: Schema) -> tuple[float, ...]:
    """Return the image of `state`, written with `older`, as `newest` reads it; see `widen`."""
    unknown = float("nan")
    totals = {scalar.name: total for scalar, total in zip(older.scalars, state.totals, strict=True)}
    series = {one.name: (one, kept) for one, kept in zip(older.series, state.series, strict=True)}
    recents = {one.name: kept for one, kept in zip(older.recents, state.recents, strict=True)}
    flat: list[float] = [newest.layout, state.revision]
    flat += [totals.get(scalar.name, unknown) for scalar in newest.scalars]
    # A new measure comes with a new series: a series is known wholly or not at all.
    kept = {one.name: one.value(state) for one, state in series.values()}
    flat += [one.size(kept.get(one.name, [])) for one in newest.series]
    flat += [one.size(recents[one.name]) if one.name in recents else unknown for one in newest.recents]
    for one in newest.series:
        flat += kept.get(one.name, [unknown] * len(one.series.measures))
    for recent in newest.recents:
        flat += recents.get(recent.name, [])
    return tuple(flat)


def narrowed(kind: EntityKind, image: Image, layout: int) -> Image:
    """Return an image of the newest layout as one of an older layout has it, which knows less; ValueError for neither.

    So a profile of an older layout can be told to be right without being rewritten.
    """
    newest, older = SCHEMAS[kind], SCHEMAS[kind].as_of(layout)
    known, state = ProfileState.of(kind, image), ProfileState(older)
    state.revision = known.revision
    state.totals = [known.totals[newest.total_at[scalar.name] - 2] for scalar in older.scalars]
    series = {one.name: kept for one, kept in zip(newest.series, known.series, strict=True)}
    recents = {one.name: kept for one, kept in zip(newest.recents, known.recents, strict=True)}
    state.series = [series[one.name] for one in older.series]
    state.recents = [recents[one.name] for one in older.recents]
    return state.image()


def describe(kind: EntityKind, image: Image) -> dict[str, object]:
    """Return a profile in names, for people: totals, buckets of each series, recent maps."""
    state = ProfileState.of(kind, image)
    schema = state.schema
    return {
        "revision": state.revision,
        "layout": schema.layout,
        "totals": {scalar.name: total for scalar, total in zip(schema.scalars, state.totals, strict=True)},
        "series": {
            one.name: {
                "bucket_ms": one.series.bucket_ms,
                "buckets": {
                    str(bucket): dict(zip(one.series.measures, sums, strict=True))
                    for bucket, sums in one.sums(kept).items()
                },
            }
            for one, kept in zip(schema.series, state.series, strict=True)
        },
        "recent": {
            recent.name: {format(id_ & (1 << 64) - 1, "016x"): time_ms for id_, time_ms in recent.times(kept).items()}
            for recent, kept in zip(schema.recents, state.recents, strict=True)
        },
    }


def newest_purchase_ms(images: Sequence[Image | None]) -> int:
    """Return the event time of the newest purchase that any of four images (in the order of `KINDS`) holds, or 0."""
    newest_ms = 0
    for image in images:
        if image is not None and image[_LAST_PURCHASE_AT] > newest_ms:
            newest_ms = image[_LAST_PURCHASE_AT]
    return newest_ms


_LAST_PURCHASE_AT: Final = SCHEMAS[EntityKind.USER].total_at["last_purchase_ms"]
