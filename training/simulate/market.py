"""The simulated market: a seeded history with honest noise, fraud patterns and truth that arrives late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.core.event import EventKind
from training.data import events
from training.simulate import aftermath
from training.simulate.aftermath import Stream, Truth, stream_of
from training.simulate.fraud import PATTERNS, Scheme, play
from training.simulate.honest import honest_purchases
from training.simulate.purchases import Purchases, joined
from training.simulate.rows import make_ids, rows
from training.simulate.settings import MarketSettings
from training.simulate.world import NEVER_MS, World, make_world

# One stream of random numbers for each part, so that a change of one leaves the others as they were.
_WORLD, _HONEST, _AFTER, _PATTERN = range(4)


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What was simulated; counts by name, times in milliseconds."""

    file: events.EventFile
    events: dict[str, int]
    purchases: int
    frauds: int
    patterns: dict[str, int]
    first_event_ms: int
    last_event_ms: int


@dataclass(frozen=True)
class _Market:
    world: World
    purchases: Purchases
    truth: Truth
    stream: Stream


def simulate(settings: MarketSettings, out: Path, progress: events.Progress) -> SimulationSummary:
    """Simulate a market and write its event file.

    The same settings give the same content hash with the same library versions. Cost: about a second and
    35 MB of memory for 100,000 purchases with their follow-ups. Raises BadSetting when `out` cannot be
    written.
    """
    market = _make(settings)
    ids = make_ids(market.world, len(market.purchases.time_ms))
    pieces = rows(market.world, ids, market.purchases, market.truth, market.stream)
    counted = events.counted(pieces, len(market.stream.kind), "writing events", progress)
    origin = {"made_by": "simulate", "settings": settings.model_dump(mode="json")}
    return _summary(market, events.write(out, counted, origin))


def _make(settings: MarketSettings) -> _Market:
    def rng(*part: int) -> np.random.Generator:
        return np.random.default_rng([settings.seed, *part])

    world = make_world(settings, rng(_WORLD))
    scheme = play(world, [rng(_PATTERN, code) for code in range(len(PATTERNS))])
    honest = honest_purchases(world, rng(_HONEST), settings.purchases - len(scheme.purchases.time_ms))
    purchases = joined([honest, scheme.purchases])
    purchases = purchases.take(np.argsort(purchases.time_ms, kind="stable"))
    truth, stream = _aftermath(world, scheme, purchases, rng(_AFTER))
    return _Market(world, purchases, truth, stream)


def _aftermath(world: World, scheme: Scheme, purchases: Purchases, rng: np.random.Generator) -> tuple[Truth, Stream]:
    settings = world.settings
    ingest_ms = aftermath.ingest_times(settings, rng, purchases)
    bought = stream_of(EventKind.PURCHASE, purchases.time_ms, np.arange(settings.purchases))
    settled = aftermath.settlements(settings, rng, purchases)
    truth, confirmed, cleared = aftermath.verdicts(settings, rng, purchases)
    follow_ups = [aftermath.known_after(one, ingest_ms) for one in (*settled, confirmed, cleared)]
    streams = [
        *_beginnings(world),
        bought._replace(ingest_time_ms=ingest_ms),
        *follow_ups,
        stream_of(EventKind.CARD_REPORTED, scheme.reported_ms, scheme.reported_card),
        _lost_cards(world),
    ]
    return truth, aftermath.in_order(streams, settings.end_ms)


def _beginnings(world: World) -> list[Stream]:
    return [
        stream_of(kind, roster.times_ms, np.arange(len(roster.times_ms)))
        for kind, roster in (
            (EventKind.USER_REGISTERED, world.users),
            (EventKind.SELLER_REGISTERED, world.sellers),
            (EventKind.ITEM_LISTED, world.items.roster),
        )
    ]


def _lost_cards(world: World) -> Stream:
    """Cards that their owners lost and reported, without any fraud."""
    wallets = world.wallets
    lost = wallets.lost & (wallets.replaced_ms < NEVER_MS)
    return stream_of(EventKind.CARD_REPORTED, wallets.replaced_ms[lost], wallets.first[lost])


def _summary(market: _Market, file: events.EventFile) -> SimulationSummary:
    kinds = np.bincount(market.stream.kind, minlength=len(EventKind) + 1)
    patterns = np.bincount(market.purchases.pattern, minlength=len(PATTERNS) + 1)
    return SimulationSummary(
        file=file,
        events={kind.name.lower(): int(kinds[kind]) for kind in EventKind},
        purchases=len(market.purchases.time_ms),
        frauds=int(patterns[1:].sum()),
        patterns={pattern.name: int(patterns[code]) for code, pattern in enumerate(PATTERNS, start=1)},
        first_event_ms=int(market.stream.event_time_ms.min()),
        last_event_ms=int(market.stream.ingest_time_ms.max()),
    )
