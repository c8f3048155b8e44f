"""Artifacts: model versions on disk, written whole, numbered once and never changed.

A version is the folder `registry/versions/000007` with `model.txt`, `manifest.json`, `golden.json` and
`report.html`. `registry/versions/000007.json` is the manifest of a version whose folder is not here: it was
retired, or this is a copy of a remote registry and nobody needed it yet.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from pydantic import ValidationError

from service.errors import BadArtifact, BadSetting
from service.registry.files import remote_of, replace_file, sole_writer, sync_directory, write_synced
from service.registry.golden import Golden
from service.registry.lineup_file import read_lineup
from service.registry.manifest import Manifest, Part

MODEL_FILE: Final = "model.txt"
MANIFEST_FILE: Final = "manifest.json"
GOLDEN_FILE: Final = "golden.json"
REPORT_FILE: Final = "report.html"

FILES: Final = (MANIFEST_FILE, MODEL_FILE, GOLDEN_FILE, REPORT_FILE)
"""All files of a version."""

LOADED_FILES: Final = (MANIFEST_FILE, MODEL_FILE, GOLDEN_FILE)
"""What a loader reads; the report is for people."""

_VERSION: Final = re.compile(r"([0-9]{6,})(\.json)?")
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
    """Return the versions that were published and not retired, in order; [] when there is no registry yet."""
    return sorted(numbers(registry) - retired(registry))


def retired(registry: Path) -> set[int]:
    """Return the versions that were retired; none when the lineup is not readable."""
    try:
        lineup = read_lineup(registry)
    except BadSetting:
        return set()
    return set() if lineup is None else set(lineup.retired)


def publish(registry: Path, model_text: str, manifest: Manifest, golden: Golden, report_html: str) -> int:
    """Write a version and return its number; nothing goes live by it.

    The manifest's `version` and `checksums` are set here. The folder gets its name when the disk has all
    of it, so a crash leaves no half of a version, only a hidden folder that the next publisher removes.
    In a copy of a remote registry it is published there. Raises BadSetting when the registry cannot be written.
    """
    content = {
        MODEL_FILE: model_text.encode(),
        GOLDEN_FILE: golden.model_dump_json().encode(),
        REPORT_FILE: report_html.encode(),
    }
    checksums = {name: hashlib.sha256(one).hexdigest() for name, one in content.items()}

    def files(version: int) -> dict[str, bytes]:
        numbered = manifest.model_copy(update={"version": version, "checksums": checksums})
        return {**content, MANIFEST_FILE: numbered.model_dump_json(indent=2).encode()}

    if remote_of(registry):
        from service.registry.remote import publish_remote  # noqa: PLC0415  most registries have no remote one

        return publish_remote(registry, files)
    with sole_writer(registry):
        sweep(registry)
        version = max(numbers(registry) | retired(registry), default=0) + 1
        place(registry, version, files(version))
    return version


def place(registry: Path, version: int, files: Mapping[str, bytes]) -> None:
    """Give a version its folder, in place of one that is there: whole or not at all. Needs the registry's lock."""
    folder = registry / "versions"
    folder.mkdir(exist_ok=True)
    unfinished = folder / f"{_UNFINISHED}{version:06d}"
    _remove(unfinished)
    unfinished.mkdir()
    for name, content in files.items():
        write_synced(unfinished / name, content)
    sync_directory(unfinished)
    _remove(version_path(registry, version))
    unfinished.rename(version_path(registry, version))
    sync_directory(folder)
    manifest_beside(registry, version).unlink(missing_ok=True)


def manifest_beside(registry: Path, version: int) -> Path:
    """Return where the manifest of a version lies whose folder is not here."""
    return registry / "versions" / f"{version:06d}.json"


def sweep(registry: Path) -> None:
    """Remove what crashes left behind and the folders of retired versions, not their manifests. Needs the lock."""
    folder = registry / "versions"
    for left_behind in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left_behind)
    for version in retired(registry):
        path = version_path(registry, version)
        if path.is_dir():
            if (path / MANIFEST_FILE).is_file():
                replace_file(manifest_beside(registry, version), (path / MANIFEST_FILE).read_bytes())
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a version's folder, which is hidden first: nobody reads half of it."""
    if path.is_dir():
        hidden = path.with_name(f"{_UNFINISHED}removed-{path.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        path.rename(hidden)
        shutil.rmtree(hidden)


def numbers(registry: Path) -> set[int]:
    """Return the versions of which something is here, also of those that were retired."""
    try:
        names = [entry.name for entry in (registry / "versions").iterdir()]
    except FileNotFoundError:
        return set()
    return {int(match[1]) for match in map(_VERSION.fullmatch, names) if match}


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a version, in its folder or beside where it would be. Raises BadArtifact."""
    beside = path.with_name(f"{path.name}.json")
    content = beside.read_bytes() if beside.is_file() and not path.is_dir() else _content(path, MANIFEST_FILE)
    manifest = _parsed(Manifest, MANIFEST_FILE, content)
    if path.name != f"{manifest.version:06d}":
        raise BadArtifact(f"{MANIFEST_FILE} is of version {manifest.version}, but lies in {path.name}")
    return manifest


def read_artifact(path: Path) -> Artifact:
    """Read a version's folder, which a copy fetches first, and verify the checksums. Raises BadArtifact."""
    if not path.is_dir() and remote_of(path.parent.parent):
        _fetch(path)
    manifest = read_manifest(path)
    content = {}
    for name in (MODEL_FILE, GOLDEN_FILE):
        content[name] = _content(path, name)
        if hashlib.sha256(content[name]).hexdigest() != manifest.checksums.get(name):
            raise BadArtifact(f"{name} does not have the checksum that {MANIFEST_FILE} states")
    return Artifact(manifest, content[MODEL_FILE], _parsed(Golden, GOLDEN_FILE, content[GOLDEN_FILE]))


def _fetch(path: Path) -> None:
    from service.registry.remote import fetch  # noqa: PLC0415  most registries have no remote one

    try:
        fetch(path.parent.parent, int(path.name))
    except BadSetting as error:
        raise BadArtifact(str(error)) from error


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
