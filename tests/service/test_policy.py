"""The decision policy in a running service: followed like a model, told in reasons, kept in every record."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.app import App
from service.client import FraudClient
from service.core.decision import Decision
from service.explain import decision_document
from service.pb import fraud_pb2 as pb
from service.registry.lineup_file import Change, LineupSpec, change_lineup
from service.registry.policy_file import publish_policy
from service.registry.policy_spec import parsed_policy
from service.registry.promotion import activate_policy, rollback
from tests.make import NOW_MS, make_purchase
from tests.service.bad import purchase

BUSY_AND_LARGE = """
[thresholds]
review = 0.999
decline = 1.0

[[limits]]
code = "busy-user"
feature = "purchases_24h_by_user"
more_than = 2
decision = "REVIEW"
text = "the user bought more than twice today"

[[limits]]
code = "large"
amount_more_than_minor = 1_000_000
decision = "DECLINE"
text = "more than 10,000.00"

[[limits]]
code = "watched"
amount_more_than_minor = 0
decision = "OBSERVE"
text = "any amount"
"""
FOLLOW_S = 10.0


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return the registry of the running service."""
    return tmp_path / "registry"


def activated(registry: Path, client: FraudClient, toml: str = BUSY_AND_LARGE) -> int:
    """Activate a policy, wait until the service follows, and return its number."""
    number = publish_policy(registry, parsed_policy(toml, "p.toml"), toml, "ann", 1)
    activate_policy(registry, number, "ann", "a test")
    followed(client, lambda worker: worker.policy_version == number)
    return number


def followed(client: FraudClient, holds: Callable[[pb.WorkerLineup], bool]) -> pb.WorkerLineup:
    """Wait until a worker's lineup is as wanted."""
    give_up_s = time.monotonic() + FOLLOW_S
    while True:
        (worker,) = client.lineup().workers
        if holds(worker):
            return worker
        assert time.monotonic() < give_up_s, worker
        time.sleep(0.01)


def record_three(client: FraudClient) -> None:
    """Give the user of `purchase()` three purchases within the last hours."""
    client.record(
        pb.Event(purchase=purchase(purchase_id=f"h-{n}", event_time_ms=NOW_MS - n * 3_600_000)) for n in (3, 2, 1)
    )


def test_limits_decide_and_say_so(client: FraudClient, registry: Path) -> None:
    """What a limit asks for is decided, its words come first, and what is observed is not told."""
    record_three(client)
    assert client.score(purchase()).policy_version == 0
    number = activated(registry, client)
    busy = client.score(purchase())
    assert (busy.policy_version, busy.decision) == (number, pb.REVIEW)
    assert (busy.reasons[0].code, busy.reasons[0].text) == ("limit:busy-user", "the user bought more than twice today")
    both = client.score(purchase(amount_minor=1_000_001))
    assert both.decision == pb.DECLINE
    assert [one.code for one in both.reasons[:2]] == ["limit:busy-user", "limit:large"]
    other = client.score(purchase(user_id="u-other"))
    assert other.decision == pb.APPROVE
    assert not any(one.code.startswith("limit:") for one in other.reasons)


def test_a_batch_is_ruled_alike(client: FraudClient, registry: Path) -> None:
    """ScoreBatch decides and tells what Score does."""
    record_three(client)
    activated(registry, client)
    asked = [purchase(), purchase(amount_minor=1_000_001), purchase(user_id="u-other")]
    batch = client.score_batch(pb.ScoreRequest(purchase=one) for one in asked)
    for one, alone in zip(batch.responses, map(client.score, asked), strict=True):
        assert (one.decision, one.policy_version, list(one.reasons)) == (
            alone.decision,
            alone.policy_version,
            list(alone.reasons),
        )


def test_the_record_says_what_happened(app: App, client: FraudClient, registry: Path) -> None:
    """It keeps the policy, every rule that held, what the score alone said, and the thresholds that were used."""
    record_three(client)
    number = activated(registry, client)
    assert client.score(purchase(), record=True).recorded
    (view,) = app.store.read((make_purchase("p-1", user_id="u-1", event_time_ms=NOW_MS),), 1.0)
    assert view.recorded is not None
    record = view.recorded.decision
    assert record is not None
    assert (record.policy_version, record.rules) == (number, ("limit:busy-user", "limit:watched"))
    assert (record.score_decision, record.decision) == (Decision.APPROVE, Decision.REVIEW)
    assert record.thresholds == (0.999, 1.0)
    document = decision_document(record, ())
    assert (document["rules"], document["score_decision"]) == (["limit:busy-user", "limit:watched"], "APPROVE")


def test_a_repeat_returns_the_decision_of_then(client: FraudClient, registry: Path) -> None:
    """A policy that was activated since changes nothing for a purchase that was recorded."""
    first = client.score(purchase(amount_minor=1_000_001), record=True)
    activated(registry, client)
    assert client.score(purchase(amount_minor=1_000_001), record=True) == first


def test_a_bad_policy_changes_nothing_and_is_told(client: FraudClient, registry: Path) -> None:
    """The service goes on with what it had, GetLineup says why, and a rollback ends it."""
    number = activated(registry, client)
    change_lineup(registry, lambda present, _: Change(at_ms=1, who="", why="", lineup=with_policy(present, 99)))
    worker = followed(client, lambda worker: bool(worker.reason))
    assert (worker.policy_version, worker.lineup_revision) == (number, 2)
    assert worker.reason.startswith("policy 99 cannot decide: policy 99 is not in the registry")
    assert client.score(purchase(amount_minor=1_000_001)).policy_version == number
    rollback(registry, "ann", "")
    assert followed(client, lambda worker: not worker.reason).policy_version == number


def with_policy(lineup: LineupSpec | None, policy: int) -> LineupSpec:
    """Return a lineup with another policy, without the checks of an activation."""
    assert lineup is not None
    return lineup.model_copy(update={"policy": policy})
