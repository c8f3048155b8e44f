"""What a version or a policy must pass before it may go live: it loads as in a worker; and which version is better."""

from __future__ import annotations

from pathlib import Path

from service.core.policy import Rules
from service.core.profile import Habits
from service.errors import BadArtifact
from service.registry.artifact import read_manifest, retired, version_path, versions
from service.registry.files import remote_of
from service.registry.lineup_file import BlendAnswer, LineupSpec
from service.registry.manifest import Manifest
from service.registry.policy_file import rules_of
from service.registry.servable import Servable


def check_loads(registry: Path, version: int, habits: Habits | None) -> Manifest:
    """Load a version with every check that a worker makes, and return its manifest.

    `habits` are those of the deployment; None takes those that the version learned from. In a copy of a remote
    registry the version is fetched first. Raises BadArtifact that says why it cannot go live.
    """
    path = version_path(registry, version)
    if not path.is_dir() and remote_of(registry):
        from service.registry.remote import fetch  # noqa: PLC0415  most registries have no remote one

        fetch(registry, version)
    if version in retired(registry):
        raise BadArtifact(f"version {version} was retired: `training show {version}` tells by whom and why")
    if version not in versions(registry):
        raise BadArtifact(f"version {version} is not in the registry {registry}")
    try:
        return Servable.load(path, habits or read_manifest(path).habits).manifest
    except BadArtifact as error:
        raise BadArtifact(f"version {version} cannot go live: {error}") from error


def check_policy(registry: Path, version: int, lineup: LineupSpec) -> Rules:
    """Return what a policy means after every check that a worker makes, and that it fits the thresholds of a lineup.

    In a copy of a remote registry the policy is fetched first. Raises BadArtifact that says why it cannot go live.
    """
    try:
        rules = rules_of(registry, version)
    except BadArtifact as error:
        raise BadArtifact(f"policy {version} cannot go live: {error}".replace(f": policy {version}:", ":")) from error
    for answering in lineup.answering:
        own = (
            lineup.answer.thresholds.thresholds()
            if isinstance(lineup.answer, BlendAnswer)
            else read_manifest(version_path(registry, answering)).thresholds.thresholds()
        )
        review = own.review if rules.review is None else rules.review
        decline = own.decline if rules.decline is None else rules.decline
        if review > decline:
            raise BadArtifact(
                f"policy {version} cannot go live: it would review from {review:g} and decline from {decline:g}, of "
                f"which one is that of version {answering}: set both thresholds"
            )
    return rules


def not_better(manifest: Manifest, champion: int, margin: float) -> str:
    """Return why a version does not pass as better than the champion by `margin`, "" when it does.

    Compared is what the manifest says of both on the version's own test rows.
    """
    version, compared = manifest.version, manifest.comparison
    if compared is None:
        return f"version {version} was never compared with the champion, version {champion}"
    if compared.champion != champion:
        return (
            f"version {version} was compared with version {compared.champion}, and version {champion} is champion now"
        )
    if compared.difference.value >= margin:
        return ""
    interval = compared.difference
    certainty = (
        "" if interval.low is None or interval.high is None else f", 95 % {interval.low:+.4f} … {interval.high:+.4f}"
    )
    return (
        f"version {version} is not better than the champion, version {champion}, by {margin:g}: "
        f"{compared.metric.replace('_', ' ')} {compared.candidate_value:.4f} against {compared.champion_value:.4f} "
        f"on the same {compared.rows:,} purchases (difference {interval.value:+.4f}{certainty})"
    )
