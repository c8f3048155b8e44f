"""Locust tells by its exit code whether a service holds what was promised."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.registry.promotion import promote
from tests.asd import Asd, installed
from tests.proxy import Proxy
from tests.registry.build import build_artifact
from tests.running import ROOT, running

LAX = (
    "--sla",
    "50:900",
    "--sla-durable",
    "50:900",
    "--rate",
    "60",
    "--seconds",
    "3",
    "--warm-up",
    "1",
    "--population",
    "20",
    "--history",
    "2",
)
"""Promises about answers, hardly any about time: the machine that runs the tests does other things as well."""


def locust(target: str, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the load test to its end."""
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--only-summary"]
    return subprocess.run(
        [*command, "-H", target, "--out", str(out), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )


def results(out: Path) -> list[dict[str, Any]]:
    """Return what the tests of a folder found, oldest first."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(out.glob("*/result.json"))]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the folder of a service with a model live."""
    promote(tmp_path / "registry", build_artifact(tmp_path / "registry"), "test", "test")
    return tmp_path


def test_service_that_holds_the_promise_passes(model: Path) -> None:
    """Exit code 0, a report, and calls of every kind in it."""
    with running(model, 1) as service:
        done = locust(service.target, model / "out", *LAX)
    assert done.returncode == 0, done.stderr
    (found,) = results(model / "out")
    assert found["verdict"] == "PASS"
    assert {kind for _, _, kind, _ in found["tallies"]} == {"Score", "Score+record", "Record", "empty handler"}
    assert (next((model / "out").iterdir()) / "report.html").exists()
    for _, _, kind, tally in found["tallies"]:
        assert sum(tally["decisions"].values()) == (tally["codes"]["OK"] if kind.startswith("Score") else 0)


def test_service_that_is_not_there_is_not_judged(tmp_path: Path) -> None:
    """Exit code 2 and a sentence."""
    done = locust("127.0.0.1:1", tmp_path, *LAX)
    assert done.returncode == 2
    assert "nothing was tested: 127.0.0.1:1 answers" in done.stderr


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Proxy]:
    """Return the network to a store in a process of its own."""
    store = Asd(tmp_path / "asd")
    proxy = Proxy(store.port)
    store.reached_at(proxy.port)
    store.start()
    proxy.start()
    yield proxy
    proxy.stop()
    store.stop()


@pytest.mark.skipif(not installed(), reason="no asd on the PATH")
def test_slowed_store_fails(model: Path, slow: Proxy) -> None:
    """Exit code 0 with a quick store, 1 once it answers 50 ms later: nobody was promised degraded answers."""
    store = {
        "FRAUD_STORE__KIND": "aerospike",
        "FRAUD_STORE__AEROSPIKE__HOSTS": f'["127.0.0.1:{slow.port}"]',
        "FRAUD_STORE__AEROSPIKE__READ_TIMEOUT_MS": "40",
        "FRAUD_STORE__AEROSPIKE__READ_SOCKET_TIMEOUT_MS": "40",
    }
    with running(model, 1, **store) as service:
        quick = locust(service.target, model / "out", *LAX, "--history", "0")
        with slow.delayed(50):
            slowed = locust(service.target, model / "out", *LAX, "--history", "0")
    found = results(model / "out")
    assert [quick.returncode, slowed.returncode] == [0, 1], [one["objectives"] for one in found]
    assert [one["verdict"] for one in found] == ["PASS", "FAIL"]
