"""Artifacts: model versions on disk, written whole, numbered once and never changed.

A version is the folder `registry/versions/000007` with `model.txt`, `manifest.json`, `golden.json` and
`report.html`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from pydantic import ValidationError

from service.errors import BadArtifact
from service.registry.files import sole_writer, sync_directory, write_synced
from service.registry.golden import Golden
from service.registry.manifest import Manifest, Part

MODEL_FILE: Final = "model.txt"
MANIFEST_FILE: Final = "manifest.json"
GOLDEN_FILE: Final = "golden.json"
REPORT_FILE: Final = "report.html"

LOADED_FILES: Final = (MANIFEST_FILE, MODEL_FILE, GOLDEN_FILE)
"""What a loader reads; the report is for people."""

_VERSION: Final = re.compile(r"[0-9]{6,}")
_UNFINISHED: Final = ".unfinished-"

P = TypeVar("P", bound=Part)


class Artifact(NamedTuple):
    """What a loader needs of a version, with its checksums verified."""

    manifest: Manifest
    model_text: bytes
    golden: Golden


def version_path(registry: Path, version: int) -> Path:
    """Return the folder of a version."""
    return registry / "versions" / f"{version:06d}"


def versions(registry: Path) -> list[int]:
    """Return the versions that were published, in order; [] when there is no registry yet."""
    try:
        names = [entry.name for entry in (registry / "versions").iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if _VERSION.fullmatch(name))


def publish(registry: Path, model_text: str, manifest: Manifest, golden: Golden, report_html: str) -> int:
    """Write a version and return its number; nothing goes live by it.

    The manifest's `version` and `checksums` are set here. The folder gets its name when the disk has all
    of it, so a crash leaves no half of a version, only a hidden folder that the next publisher removes.
    Raises BadSetting when the registry cannot be written.
    """
    files = {
        MODEL_FILE: model_text.encode(),
        GOLDEN_FILE: golden.model_dump_json().encode(),
        REPORT_FILE: report_html.encode(),
    }
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    with sole_writer(registry):
        folder = registry / "versions"
        folder.mkdir(exist_ok=True)
        for left_behind in folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left_behind)
        version = max(versions(registry), default=0) + 1
        numbered = manifest.model_copy(update={"version": version, "checksums": checksums})
        files[MANIFEST_FILE] = numbered.model_dump_json(indent=2).encode()
        unfinished = folder / f"{_UNFINISHED}{version:06d}"
        unfinished.mkdir()
        for name, content in files.items():
            write_synced(unfinished / name, content)
        sync_directory(unfinished)
        unfinished.rename(version_path(registry, version))
        sync_directory(folder)
    return version


def read_manifest(path: Path) -> Manifest:
    """Read the manifest in a version's folder. Raises BadArtifact."""
    manifest = _parsed(Manifest, MANIFEST_FILE, _content(path, MANIFEST_FILE))
    if path.name != f"{manifest.version:06d}":
        raise BadArtifact(f"{MANIFEST_FILE} is of version {manifest.version}, but lies in {path.name}")
    return manifest


def read_artifact(path: Path) -> Artifact:
    """Read a version's folder and verify the checksums of what it returns. Raises BadArtifact."""
    manifest = read_manifest(path)
    content = {}
    for name in (MODEL_FILE, GOLDEN_FILE):
        content[name] = _content(path, name)
        if hashlib.sha256(content[name]).hexdigest() != manifest.checksums.get(name):
            raise BadArtifact(f"{name} does not have the checksum that {MANIFEST_FILE} states")
    return Artifact(manifest, content[MODEL_FILE], _parsed(Golden, GOLDEN_FILE, content[GOLDEN_FILE]))


def _content(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise BadArtifact(f"{name} cannot be read: {error.strerror}") from error


def _parsed(model: type[P], name: str, content: bytes) -> P:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadArtifact(f"{name}: {where or 'the file'}: {first['msg']}") from error
