"""A load test of a service that asks who is calling, over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

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
    write_callers(folder / "callers.toml", make_entry("load", TOKEN, "score", "record", "read"))
    settings = {
        "FRAUD_TLS__CERTIFICATE_PATH": str(issued.certificate),
        "FRAUD_TLS__KEY_PATH": str(issued.key),
        "FRAUD_ACCESS__CALLERS_PATH": str(folder / "callers.toml"),
    }
    with running(folder, 1, **settings) as service:
        yield Secured(service.target, authority.path)


def test_calls_of_a_known_caller_are_answered(secured: Secured, tmp_path: Path) -> None:
    """With the token and the certificates calls of every kind are answered, none is refused for who sent it."""
    done = locust(secured.target, tmp_path, *LAX, "--ca", str(secured.ca), "--token", TOKEN)
    found = results(tmp_path)
    assert len(found) == 1, done.stderr
    answered, codes = set(), set()
    for _, _, kind, tally in found[0]["tallies"]:
        codes |= tally["codes"].keys()
        answered |= {kind} if tally["codes"].get("OK") else set()
    assert answered == {"Score", "Score+record", "Record", "empty handler"}
    assert codes.isdisjoint({"UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE"})
    assert TOKEN not in done.stdout + done.stderr + str(found)


@pytest.mark.parametrize("options", [("--token", "wrong"), ()])
def test_a_caller_who_is_not_known_tests_nothing(secured: Secured, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Exit code 2, and a sentence that says what the service answered."""
    done = locust(secured.target, tmp_path, *LAX, "--ca", str(secured.ca), *options)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"nothing was tested: {secured.target} answers UNAUTHENTICATED" in done.stderr
    assert results(tmp_path) == []


def test_a_service_without_the_right_certificate_is_not_tested(secured: Secured, tmp_path: Path) -> None:
    """Exit code 2 when the service's certificate is not one of those authorities', and when TLS is left out."""
    other = Authority(tmp_path, "other")
    for options, why in ((("--ca", str(other.path)), "CERTIFICATE_VERIFY_FAILED"), ((), "")):
        done = locust(secured.target, tmp_path / "out", *LAX, "--token", TOKEN, *options)
        assert done.returncode == 2, done.stdout + done.stderr
        assert f"nothing was tested: {secured.target} answers UNAVAILABLE" in done.stderr
        assert why in done.stderr
        assert TOKEN not in done.stderr


def test_certificates_that_cannot_be_read_are_told(secured: Secured, tmp_path: Path) -> None:
    """Exit code 2, and a sentence that names the file."""
    done = locust(secured.target, tmp_path, *LAX, "--token", TOKEN, "--ca", str(tmp_path / "none.pem"))
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [one for one in done.stderr.splitlines() if "nothing was tested" in one]
    assert "none.pem" in line
    assert "Traceback" not in done.stderr
