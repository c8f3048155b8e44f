"""What is generated and committed is what its source says today."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from service.core.features_doc import features_markdown
from tests.tree.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_service_pb_is_fresh(tmp_path: Path) -> None:
    """`make proto` would change nothing in service/pb."""
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([ROOT / "scripts/generate-proto.sh", tmp_path], check=True, env=environment)
    fresh = {path.name: path.read_text("utf-8") for path in (tmp_path / "service/pb").iterdir()}
    committed = {path.name: path.read_text("utf-8") for path in (ROOT / "service/pb").glob("*_pb2*.py*")}
    assert committed == fresh


def test_the_list_of_features_is_fresh() -> None:
    """`make docs` would change nothing in docs/features.md."""
    assert (ROOT / "docs/features.md").read_text("utf-8") == features_markdown() + "\n"


def pinned(lock: str) -> dict[str, Version]:
    """Return the packages that a lock file names, with their versions."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in pins}


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.lock", ("training", "dev")), ("requirements-service.lock", ())]
)
def test_a_lock_satisfies_the_project(lock: str, extras: tuple[str, ...]) -> None:
    """Every package that the project asks for is pinned, to a version that it allows."""
    asked = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    pins = pinned(lock)
    wrong = [
        text
        for text in asked
        if not (one := Requirement(text)).specifier.contains(pins.get(canonicalize_name(one.name), Version("0")))
    ]
    assert wrong == []


def test_the_service_runs_on_what_was_tested() -> None:
    """The service's own lock pins nothing that the tests did not run with."""
    assert pinned("requirements-service.lock").items() <= pinned("requirements.lock").items()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-service.lock"])
def test_a_lock_holds_pins_and_hashes_only(lock: str) -> None:
    """Each package has at least one hash, and no index, host or path is named."""
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    pin, digest = re.compile(r"[\w.-]+==[^\s;]+( ; [^\\]+)? \\"), re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lines if not (pin.fullmatch(line) or digest.fullmatch(line))] == []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert not pin.fullmatch(line) or digest.fullmatch(following), line
