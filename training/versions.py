"""What is known of published versions, as plain values: for tables and sentences, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from service.core.features import BY_NAME
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import numbers, read_manifest, version_path
from service.registry.lineup_file import BlendAnswer, CanaryAnswer, Change, LineupSpec, read_history
from service.registry.manifest import Interval, Manifest

Section = dict[str, str]
"""What is shown under one heading: text by name."""

_HEADLINE: Final = "average_precision"


class Listed(NamedTuple):
    """A version as the list shows it; without a manifest `problem` says why it is not readable."""

    version: int
    role: str
    manifest: Manifest | None
    problem: str

    def judged(self) -> Interval | None:
        """Return the average precision on the test rows, or on the validation rows where nothing was tested."""
        metrics = {} if self.manifest is None else self.manifest.metrics
        return metrics.get("test", metrics.get("validation", {})).get(_HEADLINE)

    def values(self) -> dict[str, Any]:
        """Return its values for machines."""
        judged, manifest = self.judged(), self.manifest
        return {
            "version": self.version,
            "role": self.role,
            "created_at": None if manifest is None else manifest.created_at.isoformat(" ", "minutes"),
            "features": None if manifest is None else len(manifest.features),
            "trees": None if manifest is None else manifest.trees,
            _HEADLINE: None if judged is None else judged.value,
            f"{_HEADLINE}_low": None if judged is None else judged.low,
            f"{_HEADLINE}_high": None if judged is None else judged.high,
            "review": None if manifest is None else manifest.thresholds.review,
            "decline": None if manifest is None else manifest.thresholds.decline,
            "parent": None if manifest is None else manifest.parent,
            "notes": self.problem if manifest is None else manifest.notes,
        }

    def row(self) -> dict[str, str]:
        """Return its values for people."""
        judged, values = self.judged(), self.values()
        return {
            "version": str(self.version),
            "role": self.role,
            "created at": (values["created_at"] or "").removesuffix("+00:00"),
            "average precision": "" if judged is None else interval_words(judged),
            "review": number_words(values["review"]),
            "decline": number_words(values["decline"]),
            "features": number_words(values["features"]),
            "trees": number_words(values["trees"]),
            "parent": number_words(values["parent"]),
            "notes": values["notes"],
        }


def listed(registry: Path, lineup: LineupSpec | None) -> list[Listed]:
    """Return every version that was published, also those that were retired, in order, with its role in a lineup."""
    found = []
    for version in sorted(numbers(registry)):
        role = "" if lineup is None else lineup.role(version)
        try:
            found.append(Listed(version, role, read_manifest(version_path(registry, version)), ""))
        except BadArtifact as error:
            found.append(Listed(version, role, None, f"not readable: {error}"))
    return found


def manifest_of(registry: Path, version: int) -> Manifest:
    """Return a version's manifest. Raises BadArtifact when there is none, or when it is not readable."""
    if version not in numbers(registry):
        raise BadArtifact(f"version {version} is not in the registry {registry}")
    return read_manifest(version_path(registry, version))


class Event(NamedTuple):
    """A line of the history in words."""

    revision: int
    at_ms: int
    who: str
    what: str
    why: str
    forced: str
    change: Change
    roles: dict[int, str]
    """What versions became by it, those alone whose role changed."""
    policy: int | None
    """The policy that it made active, 0 for none; None when it changed no policy."""

    def values(self) -> dict[str, Any]:
        """Return it for machines."""
        fields = {"revision": self.revision, "at_ms": self.at_ms, "who": self.who, "what": self.what, "why": self.why}
        return {**fields, "forced": self.forced, "lineup": self.change.lineup.model_dump(mode="json")}

    def row(self) -> dict[str, str]:
        """Return it for people."""
        why = f"{self.why} (overruled: {self.forced})" if self.forced else self.why
        return {
            "revision": str(self.revision),
            "at": time_words(self.at_ms),
            "who": self.who,
            "what": self.what,
            "why": why,
        }


def events(registry: Path) -> list[Event]:
    """Return the history in words, the newest first. Raises BadSetting when it cannot be read."""
    try:
        changes = read_history(registry)
    except OSError as error:
        raise BadSetting(f"the history of {registry} cannot be read: {error.strerror}") from error
    found: list[Event] = []
    before: LineupSpec | None = None
    for revision, change in changes.items():
        now = change.lineup
        known = {*now.wanted, *now.retired, *(() if before is None else before.wanted)}
        roles = {
            version: now.role(version)
            for version in sorted(known)
            if before is None or now.role(version) != before.role(version)
        }
        what = _what(change, before)
        policy = None if now.policy == (0 if before is None else before.policy) else now.policy
        found.append(Event(revision, change.at_ms, change.who, what, change.why, change.forced, change, roles, policy))
        before = now
    return found[::-1]


def answer_words(lineup: LineupSpec) -> str:
    """Return who answers, in words."""
    match lineup.answer:
        case BlendAnswer(versions=versions, thresholds=thresholds):
            blended = f"the mean of versions {listed_words(versions)} answers"
            return f"{blended} (review {thresholds.review:.4f}, decline {thresholds.decline:.4f})"
        case CanaryAnswer(version=version, share=share):
            others = f"version {lineup.champion} for the others"
            return f"version {version} answers for {share * 100:g} % of the users, {others}"
    return f"version {lineup.champion} answers"


def policy_words(lineup: LineupSpec) -> str:
    """Return which policy decides, in words."""
    return f"policy {lineup.policy} decides" if lineup.policy else "no policy decides"


def sections(manifest: Manifest, role: str) -> dict[str, Section]:
    """Return everything that a manifest says, under headings; empty sections are left out."""
    found: dict[str, Section] = {
        "version": {
            "version": str(manifest.version),
            "role": role or "none",
            "created": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
            "meant to replace": "" if manifest.parent is None else f"version {manifest.parent}",
            "run": manifest.run,
            "notes": manifest.notes,
        },
        "data": {**_data(manifest), **{f"purchases {name}": f"{one:,}" for name, one in manifest.selection.items()}},
        "thresholds": {
            "review from": f"{manifest.thresholds.review:.4f}",
            "decline from": f"{manifest.thresholds.decline:.4f}",
            "why these": manifest.thresholds.why,
        },
        "against the champion": _comparison(manifest),
    }
    for part, metrics in manifest.metrics.items():
        found[f"metrics, {part}"] = {name.replace("_", " "): interval_words(one) for name, one in metrics.items()}
    found["model"] = {
        "trees": number_words(manifest.trees),
        "features": str(len(manifest.features)),
        "seed": number_words(manifest.seed),
        **{name: str(value) for name, value in sorted(manifest.parameters.items())},
    }
    found["features"] = {feature.name: _standing(feature.name, feature.fingerprint) for feature in manifest.features}
    found["lineage"] = {"code": manifest.code_revision, **manifest.libraries}
    found["checksums"] = dict(manifest.checksums)
    shown = {title: {name: text for name, text in one.items() if text} for title, one in found.items()}
    return {title: one for title, one in shown.items() if one}


def differences(old: Manifest, new: Manifest) -> dict[str, dict[str, list[str]]]:
    """Return what differs between two manifests: under headings, by name, the text of each ("" where it has none)."""
    fingerprints = [{feature.name: feature.fingerprint for feature in one.features} for one in (old, new)]
    sides: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
        "features": (_used(fingerprints[0], fingerprints[1]), _used(fingerprints[1], fingerprints[0])),
        "parameters": (_texts(old.parameters), _texts(new.parameters)),
        "thresholds": (_thresholds(old), _thresholds(new)),
        "metrics": (_metrics(old), _metrics(new)),
        "data": (_data(old), _data(new)),
        "libraries": (old.libraries, new.libraries),
        "other": (_other(old), _other(new)),
    }
    found = {}
    for title, (left, right) in sides.items():
        names = [name for name in dict.fromkeys([*left, *right]) if left.get(name, "") != right.get(name, "")]
        if names:
            found[title] = {name: [left.get(name, ""), right.get(name, "")] for name in names}
    return found


# --- words ----------------------------------------------------------------------------------------


def time_words(at_ms: int) -> str:
    """Return a time as people read it, in UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def interval_words(interval: Interval) -> str:
    """Return a measured value, with its interval when it has one."""
    if interval.low is None or interval.high is None:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f} ({interval.low:.4f} … {interval.high:.4f})"


def number_words(value: float | None) -> str:
    """Return a number as people read it, "" for none."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _what(change: Change, before: LineupSpec | None) -> str:
    now = change.lineup
    if change.retires is not None:
        return f"version {change.retires} was retired"
    said = []
    back = "" if change.restores is None else f"back to revision {change.restores}: "
    if before is None or (now.champion, now.answer) != (before.champion, before.answer):
        said.append(f"{back}{answer_words(now)}")
    if now.policy != (0 if before is None else before.policy):
        said.append(f"{'' if said else back}{policy_words(now)}")
    if before is None or now.shadowing != before.shadowing:
        if now.shadowing:
            said.append(f"{listed_words(now.shadowing)} in shadow")
        elif before is not None:
            said.append("nothing in shadow")
    if not said:
        return "as before" if change.restores is None else f"revision {change.restores} was restored"
    return "; ".join(said)


def listed_words(versions: tuple[int, ...]) -> str:
    """Return one version or more as people list them."""
    *others, last = map(str, versions)
    return f"{', '.join(others)} and {last}" if others else last


def _data(manifest: Manifest) -> Section:
    found = {"habits": manifest.habits, "currency": manifest.currency or ""}
    if (source := manifest.source) is not None:
        found |= {"source": source.id, "purchases": f"{source.rows:,}", "frauds": f"{source.frauds:,}"}
        found |= {"content": source.content_sha256}
    if (split := manifest.split) is not None:
        for name in ("train", "validation", "test"):
            part = getattr(split, name)
            if part is not None:
                found[name] = f"{time_words(part.begin_ms)} … {time_words(part.end_ms)}"
        found |= {"gap": _days(split.gap_ms), "labels matured for": _days(split.label_delay_ms)}
    return found


def _comparison(manifest: Manifest) -> Section:
    compared = manifest.comparison
    if compared is None:
        return {}
    return {
        "champion": f"version {compared.champion}",
        compared.metric.replace("_", " "): f"{compared.candidate_value:.4f} against {compared.champion_value:.4f}",
        "difference": interval_words(compared.difference),
        "on the same": f"{compared.rows:,} purchases, {compared.frauds:,} of them fraud",
        "beware": "the champion learned from some of these purchases, or may have" if compared.overlap else "",
    }


def _standing(name: str, fingerprint: str) -> str:
    """Return what has become of a feature since the model was trained."""
    feature = BY_NAME.get(name)
    if feature is None:
        return "not declared in this release"
    return "as declared" if feature.fingerprint == fingerprint else "has changed since: this release refuses the model"


def _used(mine: Mapping[str, str], others: Mapping[str, str]) -> Section:
    return {
        name: "used" if name not in others or others[name] == fingerprint else f"as {fingerprint}"
        for name, fingerprint in mine.items()
    }


def _texts(values: Mapping[str, object]) -> Section:
    return {name: str(value) for name, value in sorted(values.items())}


def _thresholds(manifest: Manifest) -> Section:
    chosen = manifest.thresholds
    return {"review from": f"{chosen.review:.4f}", "decline from": f"{chosen.decline:.4f}", "why these": chosen.why}


def _metrics(manifest: Manifest) -> Section:
    return {
        f"{part}, {name.replace('_', ' ')}": interval_words(one)
        for part, metrics in manifest.metrics.items()
        for name, one in metrics.items()
    }


def _other(manifest: Manifest) -> Section:
    return {
        "created": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
        "meant to replace": "" if manifest.parent is None else f"version {manifest.parent}",
        "trees": number_words(manifest.trees),
        "seed": number_words(manifest.seed),
        "code": manifest.code_revision,
        "notes": manifest.notes,
    }


def _days(milliseconds: int) -> str:
    return f"{milliseconds / 86_400_000:g} days"
