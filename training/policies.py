"""What is known of policies, as plain values: those that were published, and those that somebody writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from service.core.policy import Rules
from service.errors import BadArtifact, BadSetting
from service.registry.lineup_file import LineupSpec
from service.registry.policy_file import MAX_SOURCE_BYTES, PolicyFile, policies, read_policy
from service.registry.policy_spec import PolicySpec, parsed_policy
from training.versions import events, time_words


class Written(NamedTuple):
    """A policy as it stands in a file: the text, and what it says."""

    source: str
    policy: PolicySpec


def written_policy(path: Path) -> Written:
    """Read a policy file. Raises BadSetting that names the file, the rule and the field."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise BadSetting(f"policy {path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_SOURCE_BYTES:
        raise BadSetting(f"policy {path}: a policy is at most {MAX_SOURCE_BYTES // 1024} KiB of text")
    try:
        source = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadSetting(f"policy {path}: is not text in UTF-8") from error
    return Written(source, parsed_policy(source, str(path)))


def policy_named(registry: Path, name: str) -> Rules:
    """Return what a policy means, of a file or of a published number. Raises BadSetting or BadArtifact."""
    if name.isascii() and name.isdigit() and not Path(name).exists():
        return read_policy(registry, int(name)).rules()
    return written_policy(Path(name)).policy.rules()


class Listed(NamedTuple):
    """A published policy as the list shows it; one that cannot go live says why in `problem`."""

    version: int
    role: str
    file: PolicyFile | None
    problem: str
    activated: str
    """Why it was activated last, "" for never."""

    def values(self) -> dict[str, Any]:
        """Return its values for machines."""
        file = self.file
        return {
            "version": self.version,
            "role": self.role,
            "at_ms": None if file is None else file.at_ms,
            "who": None if file is None else file.who,
            "limits": None if file is None else len(file.policy.limits),
            "why": self.activated,
            "about": self.problem if file is None else file.policy.about,
        }

    def row(self) -> dict[str, str]:
        """Return its values for people."""
        file = self.file
        return {
            "policy": str(self.version),
            "role": self.role,
            "published": "" if file is None else time_words(file.at_ms),
            "who": "" if file is None else file.who,
            "limits": "" if file is None else str(len(file.policy.limits)),
            "why": self.activated,
            "about": self.problem if file is None else first_line(file.policy.about),
        }


def listed_policies(registry: Path, lineup: LineupSpec | None) -> list[Listed]:
    """Return every published policy, in order, and which one is active."""
    activated = {one.policy: one.why for one in events(registry)[::-1] if one.policy and one.change.restores is None}
    found = []
    for version in policies(registry):
        role = "active" if lineup is not None and lineup.policy == version else ""
        try:
            file = read_policy(registry, version)
            file.rules()
        except BadArtifact as error:
            found.append(Listed(version, role, None, f"cannot go live: {error}", activated.get(version, "")))
        else:
            found.append(Listed(version, role, file, "", activated.get(version, "")))
    return found


def limit_rows(policy: PolicySpec) -> list[dict[str, str]]:
    """Return the limits of a policy for a table."""
    return [
        {"limit": one.code, "asks for": one.decision.lower(), "when": one.words(), "text": one.text}
        for one in policy.limits
    ]


def policy_words(policy: PolicySpec) -> dict[str, str]:
    """Return what a policy says beside its limits, in words, with what holds where it says nothing."""
    limits, lists, degraded = policy.thresholds, policy.lists, policy.degraded
    by_kind = [f"{kind} unreadable: {rule.replace('_', ' ')}" for kind, rule in degraded.by_kind.items()]
    rule = "as scoring.degraded_rule" if degraded.rule is None else degraded.rule.replace("_", " ")
    overruled = _words([one.replace("score", "the score") for one in lists.allow_overrules])
    return {
        "about": first_line(policy.about),
        "review from": "as the model says" if limits.review is None else f"{limits.review:g}",
        "decline from": "as the model says" if limits.decline is None else f"{limits.decline:g}",
        "degraded answers": "; ".join([rule, *by_kind]),
        "block list": f"at least {lists.block}",
        "review list": f"at least {lists.review}",
        "allow list": f"{lists.allow}, and overrules {overruled or 'nothing'}",
    }


def unused_features(policy: PolicySpec, live: Mapping[str, object]) -> list[str]:
    """Return the features that limits look at and no live model uses, in order."""
    named = {one.feature for limit in policy.limits for one in limit.conditions()}
    return sorted(named - live.keys())


def first_line(text: str) -> str:
    """Return the first line of a text."""
    return text.strip().partition("\n")[0]


def _words(names: list[str]) -> str:
    *others, last = names or [""]
    return f"{', '.join(others)} and {last}" if others else last
