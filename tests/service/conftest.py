"""A running service on the embedded store, with a small model live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.app import App
from service.client import FraudClient
from service.registry.promotion import promote
from service.settings import Settings
from tests.registry.build import build_artifact


def settings_in(folder: Path, **sections: dict[str, object]) -> Settings:
    """Return settings of a service that lives in a folder and listens on a free port."""
    values: dict[str, dict[str, object]] = {
        "server": {"listen": "127.0.0.1:0", "budget_ms": 5000, "run_path": folder / "run"},
        "store": {"kind": "lmdb", "lmdb": {"path": folder / "store", "max_size_bytes": 1 << 28}},
        "registry": {"path": folder / "registry", "poll_ms": 20},
        "ingest": {},
        "scoring": {},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return Settings(**values)  # type: ignore[arg-type]  # sections as dictionaries


@contextmanager
def serving(settings: Settings) -> Iterator[App]:
    """Run a service with version 1 live."""
    promote(settings.registry.path, build_artifact(settings.registry.path), "a test", "first version")
    running = App(settings)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Run a service on the event clock."""
    with serving(settings_in(tmp_path, ingest={"clock": "event"})) as running:
        yield running


@pytest.fixture
def wall_app(tmp_path: Path) -> Iterator[App]:
    """Run a service on the clock of the machine."""
    with serving(settings_in(tmp_path)) as running:
        yield running


@pytest.fixture
def client(app: App) -> Iterator[FraudClient]:
    """Connect to the running service."""
    with FraudClient(f"127.0.0.1:{app.server.port}", score_deadline_ms=5000) as connected:
        yield connected
