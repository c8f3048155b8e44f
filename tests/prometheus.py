"""A Prometheus of the tests' own, and what they ask of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.running import wait_until

ROOT = Path(__file__).parent.parent
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
HOW_TO = "no {} on the PATH: install Debian's package prometheus"


def program(name: str) -> str:
    """Return where a program of Prometheus is; skips the test, and says how to get it, where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(HOW_TO.format(name))
    return found


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def scraped(port: int) -> str:
    """Return what a service tells Prometheus."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def samples(text: str) -> dict[str, float]:
    """Return the samples of a scrape by name and labels, as they stand there."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        """Take note of one."""
        self._port = port

    def get(self, path: str, **parameters: str) -> Any:
        """Return what the API gives; fails with what it says is wrong."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["result"]
        return found


@contextmanager
def watching(folder: Path, target_port: int) -> Iterator[Prometheus]:
    """Run a Prometheus that asks a service every second, with the rules that we ship."""
    port = free_port()
    rules = "".join(f"  - {path}\n" for path in RULES)
    config = (
        f"global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files:\n{rules}"
        f"scrape_configs:\n  - job_name: fraud\n    static_configs: [{{targets: ['127.0.0.1:{target_port}']}}]\n"
    )
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        wait_until(lambda: _ready(port))
        prometheus = Prometheus(port)
        wait_until(lambda: bool(prometheus.query("up == 1")))  # it takes some seconds to look at its targets
        yield prometheus
    finally:
        process.terminate()
        process.wait(30)


def _ready(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1).close()
    except OSError:
        time.sleep(0.1)
        return False
    return True
