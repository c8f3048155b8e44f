"""A load test of a service that asks who is calling, over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from service.callers import Role
from service.registry.promotion import promote
from tests.loadtest.test_locust import LAX, locust, results
from tests.registry.build import build_artifact
from tests.running import running
from tests.service.callers import make_entry, write_callers
from tests.service.certificates import Authority

TOKEN = "a token of the load test's own, long enough"


class Secured(NamedTuple):
    """Where a service is, and the certificates that its own is checked against."""

    target: str
    ca: Path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Run a service with a model, a certificate, and one caller who may do what a load test does."""
    folder = tmp_path_factory.mktemp("secured")
    promote(folder / "registry", build_artifact(folder / "registry"), "test", "test")
    authority = Authority(folder)
    issued = authority.issue("service")
    write_callers(folder / "callers.toml", make_entry("load", TOKEN, Role.SCORE, Role.RECORD, Role.READ))
    settings = {
        "FRAUD_TLS__CERTIFICATE": str(issued.certificate),
        "FRAUD_TLS__KEY": str(issued.key),
        "FRAUD_ACCESS__CALLERS": str(folder / "callers.toml"),
    }
    with running(folder, 1, **settings) as service:
        yield Secured(service.target, authority.path)


def test_calls_of_a_known_caller_are_answered(secured: Secured, tmp_path: Path) -> None:
    """With the token and the certificates it passes: calls of every kind were answered, none was refused."""
    done = locust(secured.target, tmp_path, *LAX, "--ca", str(secured.ca), "--token", TOKEN)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = results(tmp_path)
    assert {kind for _, _, kind, _ in found["tallies"]} == {"Score", "Score+record", "Record", "empty handler"}
    assert TOKEN not in done.stdout + done.stderr + str(found)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--token", "wrong"), "UNAUTHENTICATED"),
        ((), "UNAUTHENTICATED"),
    ],
)
def test_a_caller_who_is_not_known_tests_nothing(
    secured: Secured, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    """Exit code 2, and a sentence that says what the service answered."""
    done = locust(secured.target, tmp_path, *LAX, "--ca", str(secured.ca), *options)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"nothing was tested: {secured.target} answers {sentence}" in done.stderr
    assert results(tmp_path) == []
