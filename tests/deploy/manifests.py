"""What stands in deploy/: read as it is, for tests that compare it with the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from service.settings import Settings, load
from tests.tree.files import ROOT

DEPLOY: Final = ROOT / "deploy"
CLUSTER: Final = DEPLOY / "kubernetes"


def compose() -> dict[str, Any]:
    """Return the stack of deploy/compose.yaml, with what its services share put in its place."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return document


def kustomization() -> dict[str, Any]:
    """Return what the cluster is made of."""
    document: dict[str, Any] = yaml.safe_load((CLUSTER / "kustomization.yaml").read_text(encoding="utf-8"))
    return document


def objects(*files: str) -> list[dict[str, Any]]:
    """Return the objects of some files of the cluster; of all that it is made of, when none is named."""
    names = files or tuple(kustomization()["resources"])
    return [one for name in names for one in yaml.safe_load_all((CLUSTER / name).read_text(encoding="utf-8"))]


def pods() -> dict[str, dict[str, Any]]:
    """Return every template of a pod by the name of what makes it."""
    found = {}
    for one in objects():
        spec = one.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            found[f"{one['kind']}/{one['metadata']['name']}"] = template
    return found


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these variables in the environment, and none of ours beside."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def settings(path: Path, values: Mapping[str, str]) -> Settings:
    """Return the settings that a container gets of a file and its environment."""
    with environment(values):
        return load(path)
