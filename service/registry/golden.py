"""Golden cases: profiles and a purchase, the row that they make, and the scores that the row gets.

They travel with the model; a loader recomputes each case with its own code and refuses the version on
the first difference in any bit. So a change of a formula, of a window, of LightGBM or of the
calibration never goes live unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan, nan
from typing import Annotated, Final, Literal, NamedTuple, Protocol

from pydantic import Field

from service.core.compiled import Readable, compile_row
from service.core.event import KINDS, Event, EventKind
from service.core.features import Feature
from service.core.profile import LAYOUT, Image, widen
from service.core.row import row_of
from service.errors import BadArtifact
from service.registry.manifest import Part

MAX_CASES: Final = 1000

Images = Sequence[Image | None]
"""Four images in the order of `KINDS`: EMPTY for an unknown entity, None for an absent or unreadable one."""


class Scoring(Protocol):
    """What scores a row: a servable, or a booster with its calibration."""

    def raw_score(self, row: Sequence[float]) -> float:
        """Return the raw score of a row."""

    def probability(self, raw_score: float) -> float:
        """Return the score for a raw score."""


class GoldenImages(Part):
    """The profiles that a case reads."""

    user: tuple[int, ...] | None
    seller: tuple[int, ...] | None
    item: tuple[int, ...] | None
    card: tuple[int, ...] | None


class GoldenPurchase(Part):
    """The purchase of a case; an empty id is an absent entity."""

    event_time_ms: int
    user_id: str
    seller_id: str
    item_id: str
    card_hash: str
    amount_minor: Annotated[int, Field(ge=0)]
    quantity: Annotated[int, Field(ge=0)]


class GoldenCase(Part):
    """One case; None in the row stands for NaN."""

    images: GoldenImages
    purchase: GoldenPurchase
    row: tuple[float | None, ...]
    raw_score: float
    score: float


class Golden(Part):
    """The cases of one version, as `golden.json` holds them; at least one, and not so many that loading drags."""

    format: Literal[1] = 1
    cases: Annotated[tuple[GoldenCase, ...], Field(min_length=1, max_length=MAX_CASES)]


class Moment(NamedTuple):
    """A purchase and the profiles as they were just before it."""

    purchase: Event
    images: Images


def newest(images: Images) -> list[Readable | None]:
    """Return images of any layout as the newest layout has them."""
    return [
        image if image is None or image[0] == LAYOUT else widen(kind, image)
        for kind, image in zip(KINDS, images, strict=True)
    ]


def make_golden(features: Sequence[Feature], scoring: Scoring, moments: Iterable[Moment]) -> Golden:
    """Return the cases that these moments make for a model with these features."""
    compute = compile_row([feature.formula for feature in features])
    cases = []
    for purchase, images in moments:
        row = row_of(compute, purchase, newest(images))
        raw_score = scoring.raw_score(row)
        user, seller, item, card = images
        cases.append(
            GoldenCase(
                images=GoldenImages(user=user, seller=seller, item=item, card=card),
                purchase=GoldenPurchase(
                    event_time_ms=purchase.event_time_ms,
                    user_id=purchase.user_id,
                    seller_id=purchase.seller_id,
                    item_id=purchase.item_id,
                    card_hash=purchase.card_hash,
                    amount_minor=purchase.amount_minor,
                    quantity=purchase.quantity,
                ),
                row=tuple(None if isnan(value) else value for value in row),
                raw_score=raw_score,
                score=scoring.probability(raw_score),
            )
        )
    return Golden(cases=tuple(cases))


def check_golden(golden: Golden, features: Sequence[Feature], scoring: Scoring) -> None:
    """Recompute every case; raises BadArtifact that names the first case and what differs in it."""
    compute = compile_row([feature.formula for feature in features])
    for number, case in enumerate(golden.cases):
        row = row_of(compute, _event(case.purchase), newest(_images(case.images)))
        expected = [nan if value is None else value for value in case.row]
        if len(expected) != len(row):
            raise BadArtifact(f"golden case {number}: the row has {len(expected)} features, not {len(row)}")
        for feature, want, got in zip(features, expected, row, strict=True):
            if not (want == got or (isnan(want) and isnan(got))):
                raise BadArtifact(f"golden case {number}: {feature.name} is {got!r}, not {want!r}")
        raw_score = scoring.raw_score(row)
        if raw_score != case.raw_score:
            raise BadArtifact(f"golden case {number}: the raw score is {raw_score!r}, not {case.raw_score!r}")
        score = scoring.probability(raw_score)
        if score != case.score:
            raise BadArtifact(f"golden case {number}: the score is {score!r}, not {case.score!r}")


def _event(purchase: GoldenPurchase) -> Event:
    return Event(
        "",
        EventKind.PURCHASE,
        purchase.event_time_ms,
        purchase.event_time_ms,
        user_id=purchase.user_id,
        seller_id=purchase.seller_id,
        item_id=purchase.item_id,
        card_hash=purchase.card_hash,
        amount_minor=purchase.amount_minor,
        quantity=purchase.quantity,
    )


def _images(images: GoldenImages) -> Images:
    return images.user, images.seller, images.item, images.card
