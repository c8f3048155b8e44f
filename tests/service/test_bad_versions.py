"""Whatever is wrong with a version or the registry: never live, the old one serves, and it is said why, once.

Every row spoils version 2, or the registry, behind the back of `promote`, which would have refused it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from structlog.testing import capture_logs

from service.app import App
from service.client import FraudClient
from service.pb import fraud_pb2 as pb
from service.registry.artifact import version_path
from service.registry.golden import Golden
from service.registry.lineup_file import Change, LineupSpec, change_lineup
from tests.registry.build import build_artifact
from tests.running import wait_until
from tests.service.bad import purchase
from tests.service.conftest import serving, settings_in

BAD: Final = 2
LOOKS: Final = 5
"""Looks at the registry after the reason is there: a log line for each would show."""


def point_to(registry: Path, version: int) -> None:
    """Set the champion without the checks of a promotion."""
    change_lineup(registry, lambda *_: Change(at_ms=1, who="a hand", why="", lineup=LineupSpec(champion=version)))


def spoil_file(name: str, content: bytes) -> Callable[[Path], None]:
    """Return what publishes a good version, gives a file of it other bytes, and makes it champion."""

    def spoil(registry: Path) -> None:
        (version_path(registry, build_artifact(registry, seed=1)) / name).write_bytes(content)
        point_to(registry, BAD)

    return spoil


def edit_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return what publishes a good version, edits its manifest, and makes it champion."""

    def spoil(registry: Path) -> None:
        path = version_path(registry, build_artifact(registry, seed=1)) / "manifest.json"
        manifest = json.loads(path.read_text("utf-8"))
        change(manifest)
        path.write_text(json.dumps(manifest), "utf-8")
        point_to(registry, BAD)

    return spoil


def rename_feature(manifest: dict[str, Any]) -> None:
    """Let it want a feature that nobody declares."""
    manifest["features"][0]["name"] = "shoe_size"


def redefine_feature(manifest: dict[str, Any]) -> None:
    """Let it have learned from another definition of a feature."""
    manifest["features"][0]["fingerprint"] = "0" * 16


def wrong_golden(registry: Path) -> None:
    """Publish a version whose golden case states another score, with the right checksums, and make it champion."""

    def off(golden: Golden) -> Golden:
        first = golden.cases[0]
        return golden.model_copy(
            update={"cases": (first.model_copy(update={"score": first.score / 2}), *golden.cases[1:])}
        )

    build_artifact(registry, seed=1, change_golden=off)
    point_to(registry, BAD)


def half_written(registry: Path) -> None:
    """Leave the folder of a version that a copy by hand did not finish, and make it champion."""
    path = version_path(registry, build_artifact(registry, seed=1))
    (path / "model.txt").unlink()
    point_to(registry, BAD)


def never_written(registry: Path) -> None:
    """Make a version champion that is not there."""
    point_to(registry, BAD)


def torn_lineup(registry: Path) -> None:
    """Cut the lineup short."""
    (registry / "torn").write_bytes(b'{"format": 1, "champ')
    (registry / "torn").replace(registry / "lineup.json")


def no_lineup(registry: Path) -> None:
    """Remove the lineup."""
    (registry / "lineup.json").unlink()


def no_registry(registry: Path) -> None:
    """Take the whole registry away."""
    shutil.rmtree(registry)


def strange_lineup(registry: Path) -> None:
    """Put a link to itself where the lineup stands: it is there and cannot be read, not even by root."""
    (registry / "strange").symlink_to("lineup.json")
    (registry / "strange").replace(registry / "lineup.json")


class Row(NamedTuple):
    """A way to be bad, what the reason must name, and whether it is a version that is in ERROR."""

    name: str
    spoil: Callable[[Path], None]
    named: str
    in_error: bool = True


ROWS: Final = (
    Row("a corrupt model", spoil_file("model.txt", b"tree\nnonsense"), "checksum"),
    Row("an empty manifest", spoil_file("manifest.json", b""), "manifest.json"),
    Row("an unknown feature", edit_manifest(rename_feature), "shoe_size"),
    Row("a changed definition", edit_manifest(redefine_feature), "has changed since"),
    Row("a wrong golden case", wrong_golden, "golden"),
    Row("a half-written folder", half_written, "model.txt cannot be read"),
    Row("a version that is not there", never_written, "version 2 cannot answer"),
    Row("a lineup cut short", torn_lineup, "is not a lineup", in_error=False),
    Row("a lineup removed", no_lineup, "does not exist", in_error=False),
    Row("a registry removed", no_registry, "does not exist", in_error=False),
    Row("a lineup that cannot be read", strange_lineup, "cannot be read", in_error=False),
)


@contextmanager
def connected(app: App) -> Iterator[FraudClient]:
    """Connect to a running service."""
    with FraudClient(f"127.0.0.1:{app.server.port}", score_deadline_ms=5000) as client:
        yield client


def metric(app: App, name: str, **labels: str) -> float | None:
    """Return the value of a metric."""
    return app.metrics.registry.get_sample_value(name, labels)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_bad_version_never_serves(row: Row, tmp_path: Path) -> None:
    """Version 1 goes on answering, and the reason stands in GetLineup, in a metric, and in the log once."""
    settings = settings_in(tmp_path, registry={"poll_ms": 10})
    with serving(settings) as app, connected(app) as client, capture_logs() as lines:
        before = client.score(purchase())
        row.spoil(settings.registry.path)
        wait_until(lambda: bool(client.lineup().workers[0].reason))
        failures = app.watcher.load_failures
        for _ in range(LOOKS):
            app.watcher.refresh()
        (worker,) = client.lineup().workers
        after = client.score(purchase())
        assert row.named in worker.reason
        assert (list(worker.answer), after.score, after.lineup_revision) == ([1], before.score, before.lineup_revision)
        errors = {one.version: one.reason for one in worker.versions if one.status == pb.ERROR}
        assert set(errors) == ({BAD} if row.in_error else set())
        assert metric(app, "fraud_lineup_not_followed") == 1.0
        assert metric(app, "fraud_model_versions_in_error") == float(row.in_error)
        assert metric(app, "fraud_model_version", version="1", status="LIVE") == 1.0
        assert metric(app, "fraud_reloads_total", outcome="load_failed") == failures
    told = [line for line in lines if line["event"] == "lineup not followed"]
    assert [line["reason"] for line in told] == [worker.reason]
    assert len([line for line in lines if line["event"] == "version not loaded"]) == int(row.in_error)
