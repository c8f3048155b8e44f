"""The stack on one machine: valid, closed to others, bounded, and in agreement with the image and the settings."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from service.exposure import refuse_exposure
from service.settings import Settings
from service.worker import STOP_S
from tests.deploy.dockerfile import stages
from tests.deploy.manifests import DEPLOY, compose, settings

SERVICES = compose()["services"]

each = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return what is mounted, by where."""
    return {one.split(":")[1]: one.split(":")[0] for one in service["volumes"]}


def stack_settings() -> Settings:
    """Return the settings of the service of the stack."""
    return settings(DEPLOY / "service.toml", SERVICES["service"]["environment"])


def test_it_is_a_compose_file() -> None:
    """The schema of compose files accepts it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@each
def test_nobody_from_outside_gets_in(service: dict[str, Any]) -> None:
    """What is published is published on the loopback interface."""
    assert [port for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")] == []


@each
def test_a_container_may_do_little_and_has_bounds(service: dict[str, Any]) -> None:
    """No capability, no way to more rights, a bound on memory and on logs, and one release of its image."""
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert re.search(r":v?\d+\.\d+\.\d+", service["image"])


@each
def test_what_is_mounted_is_there(service: dict[str, Any]) -> None:
    """Every file is in the tree and every volume is declared."""
    for source in mounts(service).values():
        assert source in compose()["volumes"] or (DEPLOY / source).exists(), source


@pytest.mark.parametrize("name", ["service", "trainer"])
def test_our_images_are_stages_of_the_dockerfile(name: str) -> None:
    """What is built is what the Dockerfile has, and runs with a file system that nobody writes to."""
    assert SERVICES[name]["build"]["target"] in stages()
    assert SERVICES[name]["read_only"] is True


def test_the_service_starts_with_what_it_is_given() -> None:
    """Its settings are settings, and whoever reads them agrees to listen."""
    refuse_exposure(stack_settings())


def test_the_service_reads_what_the_trainer_writes() -> None:
    """Registry and metrics are one folder for both, and the service cannot write to them."""
    chosen, service, trainer = stack_settings(), SERVICES["service"], SERVICES["trainer"]
    for path in (chosen.registry.path, chosen.metrics_files_path):
        assert mounts(service)[str(path)] == mounts(trainer)[str(path)]
        assert f"{mounts(service)[str(path)]}:{path}:ro" in service["volumes"]


def test_the_store_is_where_the_service_looks() -> None:
    """The host of the settings is a service of the stack that shares a network with it."""
    host = stack_settings().store.aerospike.hosts[0].partition(":")[0]
    assert set(SERVICES[host]["networks"]) & set(SERVICES["service"]["networks"])


def test_the_service_has_time_to_drain() -> None:
    """The engine kills it only after it would have ended by itself."""
    grace_s = float(SERVICES["service"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > stack_settings().server.drain_s + STOP_S
