"""A running service from the offline side: recorded into, followed, and told apart from one that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client import FraudClient
from service.core.event import EventKind
from service.errors import InvalidInput, StoreUnavailable
from service.registry.promotion import promote
from tests.make import make_event, make_purchase
from tests.registry.build import build_artifact
from training import live
from training.data import events


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a place for a service."""
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[FraudClient]:
    """Connect to a service of our own."""
    with live.running_service(folder, folder / "registry") as target, FraudClient(target) as connected:
        yield connected


def test_an_event_file_is_recorded_once(client: FraudClient, folder: Path) -> None:
    """Recording a file again is harmless: everything is a duplicate then."""
    stream = [make_purchase("p-1"), make_event(EventKind.FRAUD_CONFIRMED)]
    path = folder / "events.parquet"
    events.write(path, [events.frame_of(stream)], {})
    assert live.record_file(client, path, silent) == {"APPLIED": 2}
    assert live.record_file(client, path, silent) == {"DUPLICATE": 2}


def test_what_the_service_refuses_is_said_by_field(client: FraudClient) -> None:
    """A bad event ends the recording with the field that is wrong."""
    with pytest.raises(InvalidInput, match=r"purchase\.user_id"):
        live.record(client, [make_purchase("p-2", user_id="a b")])


def test_a_promotion_is_followed(client: FraudClient, folder: Path) -> None:
    """Waiting ends when every worker answers from the version."""
    registry = folder / "registry"
    promote(registry, build_artifact(registry), "a test", "first version")
    assert live.wait_followed(client, 1) < live.FOLLOW_S


def test_nobody_there_is_one_sentence() -> None:
    """A service that does not answer is StoreUnavailable, for commands to print."""
    with FraudClient("127.0.0.1:1") as nobody, pytest.raises(StoreUnavailable, match="did not answer"):
        live.record(nobody, [make_purchase()])
