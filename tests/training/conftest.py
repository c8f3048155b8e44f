"""What tests of the commands share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def registry(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a module's registry, its `template`; commands find it in the environment."""
    shutil.copytree(template, tmp_path / "registry")
    monkeypatch.setenv("FRAUD_REGISTRY__PATH", str(tmp_path / "registry"))
    return tmp_path / "registry"
