"""Traffic for soaks: threads that score and record without a pause, and remember what they were told.

Every event is sent until it is acknowledged, as the client policy says; at the end the store must hold exactly
what was sent, each once, and every profile must be what the log says (`count_kept`).
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import grpc

from service.client import FraudClient
from service.pb import fraud_pb2 as pb
from service.store.protocol import Store
from tests.running import wait_until
from tests.store.oracle import assert_whole, whole_log

USERS: Final = 60
SELLERS: Final = 9
ITEMS: Final = 25
AGAIN_S: Final = 0.05
"""Pause before an event that was not acknowledged is sent again."""

AMISS: Final = ("lost", "doubled", "miscounted", "unacknowledged", "strangers")
"""What must not be of the events; see `count_kept`."""

_DURABLE: Final = frozenset({pb.APPLIED, pb.DUPLICATE, pb.LATE})


class Rates(NamedTuple):
    """Calls a second, over all threads."""

    scores: float = 160.0
    purchases: float = 40.0
    """Scores with `record=true`; one that says `recorded=false` is recorded by a call of its own."""
    batches: float = 8.0
    """Records of a few events."""


class Call(NamedTuple):
    """One call of a client, in what matters here."""

    kind: str
    begun_s: float
    took_s: float
    error: str = ""
    degraded: bool = False
    recorded: bool = False


class Traffic:
    """Client threads of a service, from `start` to `stop`."""

    def __init__(
        self, target: str, rates: Rates | None = None, *, score_deadline_ms: int = 250, threads: int = 2
    ) -> None:
        """Get what it needs; nobody calls yet. There are so many threads for each kind of call."""
        rates = rates or Rates()
        self.calls: list[Call] = []
        self.sent: dict[str, pb.Event] = {}
        self.acknowledged: set[str] = set()
        self._connect = partial(FraudClient, target, score_deadline_ms=score_deadline_ms, record_deadline_ms=10_000)
        self._stopping = threading.Event()
        self._giving_up = threading.Event()
        self._threads = [
            threading.Thread(target=self._every, args=(threads / rate, act, random.Random(f"{act.__name__} {n}")))
            for act, rate in ((self._score, rates.scores), (self._buy, rates.purchases), (self._tell, rates.batches))
            for n in range(threads)
            if rate
        ]
        self._numbers = iter(range(1 << 60))

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self, patience_s: float = 30.0) -> None:
        """Send what is not acknowledged until it is, for so long at most, and call no more."""
        self._stopping.set()
        by_s = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(by_s - time.monotonic(), 0.0))
        self._giving_up.set()
        for thread in self._threads:
            thread.join()

    def since(self, begun_s: float, kind: str = "") -> list[Call]:
        """Return the calls that began at a time or later, of one kind or of all."""
        return [one for one in list(self.calls) if one.begun_s >= begun_s and kind in ("", one.kind)]

    # --- what the threads do ----------------------------------------------------------------------

    def _every(self, period_s: float, act: Callable[[FraudClient, random.Random], None], pick: random.Random) -> None:
        due_s = time.monotonic() + pick.random() * period_s
        with self._connect() as client:
            while not self._stopping.wait(max(due_s - time.monotonic(), 0.0)):
                act(client, pick)
                # What a slow answer kept from being sent is not caught up on: the load stays what it is.
                due_s = max(due_s + period_s, time.monotonic() - period_s)

    def _score(self, client: FraudClient, pick: random.Random) -> None:
        begun_s = time.monotonic()
        try:
            answer = client.score(self._purchase(pick, "s"))
        except grpc.RpcError as error:
            self._note("score", begun_s, error=f"{error.code().name}: {error.details()}")
        else:
            self._note("score", begun_s, degraded=answer.degraded)

    def _buy(self, client: FraudClient, pick: random.Random) -> None:
        purchase = self._purchase(pick, "b")
        event = pb.Event(purchase=purchase)
        self.sent[purchase.purchase_id] = event
        begun_s = time.monotonic()
        try:
            answer = client.score(purchase, record=True)
        except grpc.RpcError as error:
            self._note("buy", begun_s, error=f"{error.code().name}: {error.details()}")
        else:
            self._note("buy", begun_s, degraded=answer.degraded, recorded=answer.recorded)
            if answer.recorded:
                self.acknowledged.add(purchase.purchase_id)
        self._record_until_kept(client, [event])

    def _tell(self, client: FraudClient, pick: random.Random) -> None:
        events = []
        for _ in range(pick.randint(1, 3)):
            purchase = self._purchase(pick, "t")
            events.append(pb.Event(purchase=purchase))
            if pick.random() < 0.5:
                settled = pb.PurchaseSettled(purchase_id=purchase.purchase_id, settlement=pb.COMPLETED)
                events.append(pb.Event(event_time_ms=_now_ms(), purchase_settled=settled))
            if pick.random() < 0.2:
                fraud = pb.FraudConfirmed(purchase_id=purchase.purchase_id)
                events.append(pb.Event(event_time_ms=_now_ms(), fraud_confirmed=fraud))
        for event in events:
            self.sent[_id_of(event)] = event
        self._record_until_kept(client, events)

    def _record_until_kept(self, client: FraudClient, events: Sequence[pb.Event]) -> None:
        while open_ := [event for event in events if _id_of(event) not in self.acknowledged]:
            begun_s = time.monotonic()
            try:
                outcomes = client.record(open_)
            except grpc.RpcError as error:
                self._note("record", begun_s, error=f"{error.code().name}: {error.details()}")
                outcomes = []
            else:
                rejected = [one.reason for one in outcomes if one.status == pb.REJECTED]
                self._note("record", begun_s, error=f"REJECTED: {rejected[0]}" if rejected else "")
            self.acknowledged |= {
                _id_of(event) for event, one in zip(open_, outcomes, strict=False) if one.status in _DURABLE
            }
            if self._giving_up.is_set():
                return
            if not all(_id_of(event) in self.acknowledged for event in open_):
                time.sleep(AGAIN_S)

    def _purchase(self, pick: random.Random, letter: str) -> pb.Purchase:
        user = pick.randrange(USERS)
        return pb.Purchase(
            purchase_id=f"{letter}-{next(self._numbers)}",
            user_id=f"u-{user}",
            seller_id=f"s-{pick.randrange(SELLERS)}",
            item_id=f"i-{pick.randrange(ITEMS)}",
            card_hash=f"c-{user}",
            amount_minor=pick.randrange(100, 100_000),
            currency="EUR",
            quantity=1,
            event_time_ms=_now_ms(),
        )

    def _note(
        self, kind: str, begun_s: float, *, error: str = "", degraded: bool = False, recorded: bool = False
    ) -> None:
        self.calls.append(Call(kind, begun_s, time.monotonic() - begun_s, error, degraded, recorded))


def errors_of(calls: Sequence[Call]) -> Counter[str]:
    """Return what callers got instead of an answer, and how often."""
    return Counter(f"{one.kind}: {one.error}" for one in calls if one.error)


def quantile_ms(calls: Sequence[Call], share: float) -> float:
    """Return the time of calls in milliseconds that a share of them is within; NaN for none."""
    times = sorted(one.took_s for one in calls)
    return times[min(int(share * len(times)), len(times) - 1)] * 1000 if times else float("nan")


def count_kept(store: Store, traffic: Traffic) -> dict[str, int]:
    """Return how many events a store holds and how many were acknowledged, and of each of `AMISS` how many are.

    Lost was acknowledged and is not there; doubled is in the log twice; miscounted is 1 when a profile is not what
    its events make it, and standard error tells which; a stranger was never sent.
    """
    wait_until(lambda: store.sweep(0.0).waiting == 0)
    log = [one.event.event_id for one in whole_log(store)]
    kept = set(log)
    return {
        "events": len(log),
        "acknowledged": len(traffic.acknowledged),
        "lost": len(traffic.acknowledged - kept),
        "doubled": len(log) - len(kept),
        "miscounted": _miscounted(store),
        "unacknowledged": len(set(traffic.sent) - traffic.acknowledged),
        "strangers": len(kept - set(traffic.sent)),
    }


def _miscounted(store: Store) -> int:
    try:
        assert_whole(store)
    except AssertionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _id_of(event: pb.Event) -> str:
    """Return the id that the service derives: these events bring none of their own."""
    match event.WhichOneof("kind"):
        case "purchase_settled":
            return f"settled:{event.purchase_settled.purchase_id}:COMPLETED"
        case "fraud_confirmed":
            return f"fraud:{event.fraud_confirmed.purchase_id}"
    return event.purchase.purchase_id


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
