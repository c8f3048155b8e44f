"""Published policies: `registry/policies/000003.json`, written whole, numbered once and never changed.

A file holds the policy as it was understood, with every default written out, the fingerprints of the features that it
names, the text that the analyst wrote, and a checksum of all that. Publishing makes nothing live: the lineup names the
policy that decides.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from service.core.features import BY_NAME
from service.core.policy import NO_RULES, Rules
from service.errors import BadArtifact, BadSetting
from service.registry.files import remote_of, replace_file, sole_writer
from service.registry.manifest import FeatureUse, Part, Sha256
from service.registry.policy_spec import PolicySpec

FOLDER: Final = "policies"

MAX_SOURCE_BYTES: Final = 1 << 18
"""Largest policy as it is written."""

_NAME: Final = re.compile(r"([0-9]{6,})\.json")


class PolicyFile(Part):
    """A published policy: what it says, who published it when, and the text that it was made of."""

    format: Literal[1] = 1
    version: Annotated[int, Field(ge=1)]
    at_ms: int
    who: str
    features: tuple[FeatureUse, ...]
    policy: PolicySpec
    source: str
    checksum: Sha256

    def rules(self) -> Rules:
        """Return what it means. Raises BadArtifact when a feature that it names is gone or has changed since."""
        for used in self.features:
            feature = BY_NAME.get(used.name)
            if feature is None:
                raise BadArtifact(f"feature {used.name!r} is not declared in this release")
            if feature.fingerprint != used.fingerprint:
                raise BadArtifact(f"feature {used.name!r} has changed since the policy was published: publish it again")
        try:
            return self.policy.rules(self.version)
        except BadSetting as error:
            raise BadArtifact(str(error)) from error


def policy_path(registry: Path, version: int) -> Path:
    """Return the file of a policy."""
    return registry / FOLDER / policy_name(version)


def policy_name(version: int) -> str:
    """Return the name of a policy's file in its folder."""
    return f"{version:06d}.json"


def policy_numbers(names: list[str]) -> list[int]:
    """Return the policies that have these names of files, in order."""
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def policies(registry: Path) -> list[int]:
    """Return the numbers of the policies that are here, in order; [] when none was ever published."""
    try:
        return policy_numbers([entry.name for entry in (registry / FOLDER).iterdir()])
    except FileNotFoundError:
        return []


def publish_policy(registry: Path, policy: PolicySpec, source: str, who: str, at_ms: int) -> int:
    """Publish a policy and return its number; the same text again is the same policy, by the number that it has.

    In a copy of a remote registry it is published there. Raises BadSetting when the registry cannot be written.
    """
    if len(source.encode()) > MAX_SOURCE_BYTES:
        raise BadSetting(f"a policy is at most {MAX_SOURCE_BYTES // 1024} KiB of text")
    rules = policy.rules()
    features = tuple(FeatureUse.of(one) for one in sorted(rules.features, key=lambda one: one.name))

    def content(version: int) -> bytes:
        values = {
            "format": 1,
            "version": version,
            "at_ms": at_ms,
            "who": who,
            "features": [one.model_dump() for one in features],
            "policy": policy.model_dump(mode="json", by_alias=True),
            "source": source,
        }
        return canonical({**values, "checksum": checksum(values)})

    for version in reversed(policies(registry)):
        if _is_same(registry, version, source, features):
            return version
    if remote_of(registry):
        from service.registry.remote import publish_remote_policy  # noqa: PLC0415  most registries have no remote one

        return publish_remote_policy(registry, content)
    with sole_writer(registry):
        version = max(policies(registry), default=0) + 1
        place_policy(registry, version, content(version))
    return version


def place_policy(registry: Path, version: int, content: bytes) -> None:
    """Write the file of a policy, whole or not at all. Needs the registry's lock."""
    (registry / FOLDER).mkdir(exist_ok=True)
    replace_file(policy_path(registry, version), content)


def read_policy(registry: Path, version: int) -> PolicyFile:
    """Read a published policy, which a copy fetches first. Raises BadArtifact that says what is wrong with it."""
    path = policy_path(registry, version)
    if remote_of(registry) and not holds_policy(registry, version):
        _fetch(registry, version)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise BadArtifact(f"policy {version} is not in the registry {registry}") from error
    except OSError as error:
        raise BadArtifact(f"policy {version}: {path} cannot be read: {error.strerror}") from error
    return parsed_policy_file(content, version)


def holds_policy(registry: Path, version: int) -> bool:
    """Return whether the file of a policy is here, undamaged."""
    try:
        parsed_policy_file(policy_path(registry, version).read_bytes(), version)
    except (OSError, BadArtifact):
        return False
    return True


def parsed_policy_file(content: bytes, version: int) -> PolicyFile:
    """Return the policy that a file holds. Raises BadArtifact when it is not what was published."""
    try:
        values = json.loads(content)
        stated = values.pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadArtifact(f"policy {version}: its file is damaged: it is no published policy") from error
    if checksum(values) != stated:
        raise BadArtifact(f"policy {version}: its file is damaged: it does not have the checksum that it states")
    try:
        file = PolicyFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadArtifact(f"policy {version}: this release does not understand {where}: {first['msg']}") from error
    if file.version != version:
        raise BadArtifact(f"policy {version}: its file is that of policy {file.version}")
    return file


def rules_of(registry: Path, version: int) -> Rules:
    """Return what the policy of a lineup means; 0 is what holds where none was activated. Raises BadArtifact."""
    return read_policy(registry, version).rules() if version else NO_RULES


def canonical(values: Any) -> bytes:  # noqa: ANN401  any values of JSON
    """Return values as JSON that is the same for the same values."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False, indent=1).encode() + b"\n"


def checksum(values: Any) -> str:  # noqa: ANN401  any values of JSON
    """Return the SHA-256 of values as `canonical` writes them."""
    return hashlib.sha256(canonical(values)).hexdigest()


Content = Callable[[int], bytes]
"""Makes the file of a policy for a number."""


def _is_same(registry: Path, version: int, source: str, features: tuple[FeatureUse, ...]) -> bool:
    """Return whether a policy is made of this text, by the features as they are declared now."""
    try:
        file = read_policy(registry, version)
    except BadArtifact:
        return False
    return file.source == source and file.features == features


def _fetch(registry: Path, version: int) -> None:
    from service.registry.remote import fetch_policy  # noqa: PLC0415  most registries have no remote one

    try:
        fetch_policy(registry, version)
    except BadSetting as error:
        raise BadArtifact(f"policy {version}: {error}") from error
