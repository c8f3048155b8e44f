"""What is measured on: profiles of a stated fill, purchases that meet them, and a live model of the size of the bars.

Profiles are put into the store as images, not event by event: what a score reads is the same, and ten
million of them come in minutes. Each kind has `VARIANTS` different histories, so that rows differ and the
model's branches are not always the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final, Literal

import numpy as np

from service.client import purchase_message
from service.core.event import KINDS, EntityKey, EntityKind, Event
from service.core.features import FEATURES
from service.core.profile import Image
from service.core.windows import DAY_MS
from service.pb import fraud_pb2 as pb
from service.registry.artifact import MODEL_FILE, publish, version_path
from service.registry.booster import Booster
from service.registry.golden import make_golden
from service.registry.manifest import Baseline, Histogram, ThresholdChoice
from service.registry.promotion import promote
from service.store.protocol import Replacement, Store, Submission
from tests.make import NOW_MS, TYPICAL_PURCHASES, filled_image, make_image, make_purchase
from tests.registry.build import Calibrated, make_manifest, moments, random_rows

Fill = Literal["typical", "worst"]

TREES: Final = 300
LEAVES: Final = 31
VARIANTS: Final = 64
LETTERS: Final = {EntityKind.USER: "u", EntityKind.SELLER: "s", EntityKind.ITEM: "i", EntityKind.CARD: "c"}

SHARES: Final = {EntityKind.USER: 0.45, EntityKind.SELLER: 0.01, EntityKind.ITEM: 0.09, EntityKind.CARD: 0.45}
"""Of a hundred profiles how many are of each kind: as many cards as users, few sellers."""

_BATCH: Final = 20_000
_TRAINED_ROWS: Final = 5_000
_ID_FIELDS: Final = {kind: f"{kind.name.lower()}_id" for kind in KINDS} | {EntityKind.CARD: "card_hash"}


def entity_id(kind: EntityKind, number: int) -> str:
    """Return the id of an entity by its number; ids of one kind sort as their numbers do."""
    return f"{LETTERS[kind]}-{number:08d}"


def counts_of(profiles: int) -> dict[EntityKind, int]:
    """Return how many entities of each kind make so many profiles, at least one of each."""
    return {kind: max(1, round(profiles * share)) for kind, share in SHARES.items()}


@cache
def image_of(kind: EntityKind, fill: Fill, variant: int) -> Image:
    """Return one of the histories of a kind as of `NOW_MS`.

    `typical`: the purchases that `TYPICAL_PURCHASES` names within thirty days, at times and amounts drawn by
    the variant. `worst`: the one profile in which every bucket and every place is taken.
    """
    if fill == "worst":
        return filled_image(kind, "worst")
    random = Random(variant)
    ages_ms = sorted((random.randrange(30 * DAY_MS) for _ in range(TYPICAL_PURCHASES[kind])), reverse=True)
    events = []
    for number, age_ms in enumerate(ages_ms):
        ids = {_ID_FIELDS[one]: f"{LETTERS[one]}-{random.randrange(3)}" for one in KINDS}
        ids[_ID_FIELDS[kind]] = "me"
        amount_minor = round(2000 * random.lognormvariate(0, 1))
        events.append(make_purchase(f"h-{number}", event_time_ms=NOW_MS - age_ms, amount_minor=amount_minor, **ids))
    return make_image(EntityKey(kind, "me"), *events)


def replacements(kind: EntityKind, numbers: Iterable[int], fill: Fill) -> Iterator[Replacement]:
    """Return the profiles of these entities, for a store that has none of them."""
    for number in numbers:
        yield Replacement(EntityKey(kind, entity_id(kind, number)), 0, image_of(kind, fill, number % VARIANTS))


def fill_store(store: Store, counts: dict[EntityKind, int], fill: Fill, first: dict[EntityKind, int]) -> None:
    """Put the profiles from `first` up to these counts into a store, and set its clock to `NOW_MS`.

    Cost: 10 µs a profile on LMDB, written in the order of the ids.
    """
    for kind in KINDS:
        waiting = replacements(kind, range(first[kind], counts[kind]), fill)
        while batch := list(islice(waiting, _BATCH)):
            assert all(store.replace_images(batch)), "the store held other profiles"
    ids = dict.fromkeys(_ID_FIELDS.values(), "somebody-else")
    store.apply([Submission(make_purchase("now", event_time_ms=NOW_MS, **ids))])


def purchase_of(user: int, seller: int, item: int, card: int, number: int = 0) -> Event:
    """Return a purchase of these entities as of `NOW_MS`, with an id that is not in the store."""
    return make_purchase(
        f"p-{number}-{user}-{seller}-{item}-{card}",
        user_id=entity_id(EntityKind.USER, user),
        seller_id=entity_id(EntityKind.SELLER, seller),
        item_id=entity_id(EntityKind.ITEM, item),
        card_hash=entity_id(EntityKind.CARD, card),
        amount_minor=1000 + 37 * (number % 500),
        event_time_ms=NOW_MS,
    )


def request_of(purchase: Event) -> bytes:
    """Return the score request of a purchase, serialised."""
    return pb.ScoreRequest(purchase=purchase_message(purchase)).SerializeToString()


def batch_request_of(scored: Sequence[Event]) -> bytes:
    """Return the batch request of purchases, serialised."""
    requests = [pb.ScoreRequest(purchase=purchase_message(one)) for one in scored]
    return pb.ScoreBatchRequest(requests=requests).SerializeToString()


def train_full() -> str:
    """Return the text of a model of `TREES` trees, each with all of its `LEAVES`; takes a few seconds.

    Its labels are mostly chance, so that no tree finds everything learned and stays small.
    """
    import lightgbm  # noqa: PLC0415  takes a second, which a server need not spend

    rows = random_rows(len(FEATURES), count=_TRAINED_ROWS)
    random = np.random.default_rng(1)
    told = np.nan_to_num(rows, nan=0.5) @ random.normal(size=len(FEATURES))
    labels = (told + 2 * told.std() * random.normal(size=len(rows)) > np.median(told)).astype(int)
    parameters = {
        "objective": "binary",
        "num_leaves": LEAVES,
        "learning_rate": 0.02,
        "num_threads": 1,
        "deterministic": True,
        "seed": 1,
        "verbosity": -1,
    }
    names = [feature.name for feature in FEATURES]
    model = lightgbm.train(parameters, lightgbm.Dataset(rows, labels, feature_name=names), TREES)
    assert all(tree["num_leaves"] == LEAVES for tree in model.dump_model()["tree_info"])
    text: str = model.model_to_string()
    return text


def publish_model(registry: Path) -> Path:
    """Make a model of the size of the bars live, and return its file.

    It approves everything, as a service does with nearly all of its traffic: a decision that is not APPROVE is
    explained too, which costs a hundred times a score and would hide it.
    """
    always = ThresholdChoice(review=0.9999, decline=0.99999, why="a benchmark")
    text = train_full()
    even = Histogram(edges=tuple(n / 20 for n in range(21)), counts=(1000,) * 20, unknown=2000)
    baseline = Baseline(features={feature.name: even for feature in FEATURES}, score=even)
    manifest = make_manifest(FEATURES, seed=1, trees=TREES, thresholds=always, baseline=baseline)
    golden = make_golden(FEATURES, Calibrated(Booster(text.encode()), manifest.calibration), moments())
    version = publish(registry, text, manifest, golden, "<title>benchmark</title>")
    promote(registry, version, "bench", "bench")
    return version_path(registry, version) / MODEL_FILE
