"""A registry on an object store, and its copy in a local folder: readers and loaders look at the copy alone.

    lineup.json                       replaced on condition: this is when a change has happened
    history/00000012.json             a line of the history, by revision; written after the lineup, or with the next
    numbers/000007                    taken by a publisher, for good
    policies/000003.json              created on condition: this is when a policy exists
    versions/000007/manifest.json     written last: this is when a version exists

The copy is a registry's folder with a file `remote` that names the URL. `pull` brings it up to date: what is wanted
first, `lineup.json` last, each whole or not at all. Whatever writes goes to the remote registry first, then pulls.
Everything raises BadSetting, in one sentence that names the URL, when the object store does not do its work.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from service.errors import BadSetting
from service.registry.artifact import (
    FILES,
    MANIFEST_FILE,
    manifest_beside,
    numbers,
    place,
    retired,
    sweep,
    version_path,
)
from service.registry.bucket import Bucket, Seen
from service.registry.files import REMOTE_FILE, remote_of, replace_file, sole_writer
from service.registry.lineup_file import (
    LINEUP_FILE,
    Change,
    Changing,
    LineupFile,
    LineupSpec,
    append_history,
    completed,
    content_of,
    history_lines,
    next_change,
    parsed_lineup,
    readable,
)
from service.registry.manifest import Part
from service.registry.policy_file import Content, place_policy, policies, policy_path
from service.registry.remote_policy import bring_policy, create_policy, published_policies

CHANGE_ATTEMPTS: Final = 50
"""Times that a change is made anew because another writer was faster."""

CLAIM_ATTEMPTS: Final = 100
"""Numbers that a publisher tries because others took them."""

UNFINISHED_S: Final = 86_400
"""Age in seconds from which files of a version without a manifest are taken for those of a publisher that died."""

_RETRY_S: Final = 0.05
_FILE: Final = re.compile(r"versions/([0-9]{6,})/([^/]+)")
_NUMBER: Final = re.compile(r"numbers/([0-9]{6,})")
_PULLED: Final = ".pulled"
_CHECKED: Final = ".conditional-writes"


class _Pulled(Part):
    """Which state of the remote lineup the copy holds."""

    e_tag: str
    version: str
    sha256: str


def attach(registry: Path, url: str) -> None:
    """Make a folder the copy of a remote registry; nothing is brought yet. Again with the same URL: nothing happens.

    Raises BadSetting when the folder is a registry of its own or the copy of another one.
    """
    url = url.rstrip("/")
    present = remote_of(registry)
    if present == url:
        return
    if present:
        raise BadSetting(f"{registry} is a copy of {present}, not of {url}: name another folder")
    if (registry / LINEUP_FILE).exists() or numbers(registry):
        raise BadSetting(f"{registry} is a registry of its own, not a copy of {url}: name another folder")
    Bucket(url)
    with sole_writer(registry):
        replace_file(registry / REMOTE_FILE, f"{url}\n".encode())


def pull(registry: Path) -> bool:
    """Bring a copy up to date with the lineup, the history and the versions that are wanted; False: nothing changed.

    Cost when nothing changed: one conditional request. Raises BadSetting and leaves what is live as it is when the
    remote registry does not answer or its lineup is not readable.
    """
    bucket = _bucket(remote_of(registry))
    known = _known(registry)
    if _same(registry, bucket.read(LINEUP_FILE, known), known):
        return False
    with sole_writer(registry):
        known = _known(registry)  # another process of this machine may have been faster
        seen = bucket.read(LINEUP_FILE, known)
        if _same(registry, seen, known):
            return False
        if seen is None:
            raise BadSetting(f"registry {bucket.url}: {LINEUP_FILE} is gone; `training rollback` restores it")
        lineup = parsed_lineup(seen.content, f"{bucket.url}/{LINEUP_FILE}")
        _bring_history(registry, bucket)
        for version in lineup.wanted:
            _fetch(registry, bucket, version)
        bring_policy(registry, bucket, lineup.policy)
        replace_file(registry / LINEUP_FILE, seen.content)
        pulled = _Pulled(e_tag=seen.e_tag, version=seen.version, sha256=_sha256(seen.content))
        replace_file(registry / _PULLED, pulled.model_dump_json().encode())
    return True


def refresh(registry: Path) -> None:
    """Bring a copy up to date with everything but files that nobody wanted; nothing for a registry of its own."""
    if not remote_of(registry):
        return
    pull(registry)
    bucket = _bucket(remote_of(registry))
    with sole_writer(registry):
        sweep(registry)
        (registry / "versions").mkdir(exist_ok=True)
        for version in sorted(_published(bucket) - numbers(registry)):
            manifest = bucket.read(_name(version, MANIFEST_FILE))
            if manifest is not None:
                replace_file(manifest_beside(registry, version), manifest.content)
        for policy in sorted(published_policies(bucket).difference(policies(registry))):
            bring_policy(registry, bucket, policy)


def fetch(registry: Path, version: int) -> None:
    """Bring the files of one version into a copy; nothing when they are there, or when there is no such version.

    What was retired meanwhile is brought first, if the lineup can be read there. A registry of its own has all files.
    """
    if not remote_of(registry):
        return
    with suppress(BadSetting):
        pull(registry)
    if version in retired(registry):
        return
    with sole_writer(registry):
        _fetch(registry, _bucket(remote_of(registry)), version)


def fetch_policy(registry: Path, version: int) -> None:
    """Bring the file of a policy into a copy; nothing when it is there, or when there is no such policy."""
    if remote_of(registry):
        with sole_writer(registry):
            bring_policy(registry, _bucket(remote_of(registry)), version)


def publish_remote_policy(registry: Path, content: Content) -> int:
    """Publish a policy in the remote registry of a copy and return its number; `content` makes the file of one."""
    version = create_policy(_writable(registry), content)
    with sole_writer(registry):
        place_policy(registry, version, content(version))
    return version


def publish_remote(registry: Path, files: Callable[[int], Mapping[str, bytes]]) -> int:
    """Publish a version in the remote registry of a copy and return its number; `files` makes its files for a number.

    A crash leaves a number that nobody uses, and files that a later publisher removes.
    """
    bucket = _writable(registry)
    version = _claim(bucket)
    content = files(version)
    for name, one in content.items():
        if name != MANIFEST_FILE:
            bucket.create(_name(version, name), one)
    if not bucket.create(_name(version, MANIFEST_FILE), content[MANIFEST_FILE]):
        # The number is ours: it can only be our own write, whose answer was lost.
        seen = bucket.read(_name(version, MANIFEST_FILE))
        if seen is None or seen.content != content[MANIFEST_FILE]:
            raise BadSetting(f"registry {bucket.url}: somebody else wrote version {version}")
    sweep_remote(registry)
    with sole_writer(registry):
        sweep(registry)
        place(registry, version, content)
    return version


def sweep_remote(registry: Path) -> None:
    """Remove the files of retired versions, not their manifests, and what publishers left that died."""
    bucket = _bucket(remote_of(registry))
    gone = retired(registry)
    listed = [(one, *_parted(one.name)) for one in bucket.listed("versions")]
    published = {version for _, version, name in listed if name == MANIFEST_FILE}
    before = time.time() - UNFINISHED_S
    bucket.delete(
        [
            one.name
            for one, version, name in listed
            if version
            and name != MANIFEST_FILE
            and (version in gone or (version not in published and one.modified.timestamp() < before))
        ]
    )


def change_remote(
    registry: Path, change: Changing, expected_revision: int | None = None, *, repair: bool = False
) -> LineupSpec:
    """Change the lineup of the remote registry of a copy, as `change_lineup` does, and bring the copy up to date."""
    bucket = _writable(registry)
    token = secrets.token_hex(8)
    for attempt in range(CHANGE_ATTEMPTS):
        seen = bucket.read(LINEUP_FILE)
        with sole_writer(registry):
            _bring_history(registry, bucket)
        lines = history_lines(registry)
        file = readable(partial(_lineup, bucket, seen), repair=repair)
        history = completed(lines, file)
        mine = next((line for line in history.values() if line.token == token), None)
        if file is not None and file.revision in history and file.revision not in lines:
            _write_history(bucket, history[file.revision])
        if mine is not None:
            pull(registry)
            return mine.lineup
        made = next_change(file, history, change, expected_revision).model_copy(update={"token": token})
        try:
            written = (
                bucket.create(LINEUP_FILE, content_of(made))
                if seen is None
                else bucket.replace(LINEUP_FILE, content_of(made), seen)
            )
        except BadSetting:
            # No answer: the next look tells whether it was written, or what is wrong.
            written = False
        if written:
            _write_history(bucket, made)
            pull(registry)
            return made.lineup
        time.sleep(_RETRY_S * (0.5 + secrets.randbelow(1000) / 1000) * min(attempt + 1, 10))
    raise BadSetting(f"registry {bucket.url}: the lineup could not be changed in {CHANGE_ATTEMPTS} attempts; try again")


# --- steps ----------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _bucket(url: str) -> Bucket:
    """Return the bucket of a URL, always the same one: it keeps its connections."""
    if not url:
        raise BadSetting("the registry is no copy of a remote one")
    return Bucket(url)


def _writable(registry: Path) -> Bucket:
    """Return the bucket of a copy, once it has shown that it keeps the conditions of writes."""
    bucket = _bucket(remote_of(registry))
    if not (registry / _CHECKED).exists():
        name = f"probe/{secrets.token_hex(8)}"
        created = bucket.create(name, b"1")
        seen = bucket.read(name)
        keeps = created and seen is not None and not bucket.create(name, b"2") and bucket.replace(name, b"3", seen)
        keeps = keeps and seen is not None and not bucket.replace(name, b"4", seen)
        bucket.delete([name])
        if not keeps:
            raise BadSetting(f"registry {bucket.url}: the object store does not keep conditions of writes")
        (registry / _CHECKED).touch()
    return bucket


def _lineup(bucket: Bucket, seen: Seen | None) -> LineupFile | None:
    return None if seen is None else parsed_lineup(seen.content, f"{bucket.url}/{LINEUP_FILE}")


def _known(registry: Path) -> Seen | None:
    """Return the remote lineup as the copy has it; None when it has none, or when somebody else changed it."""
    try:
        content = (registry / LINEUP_FILE).read_bytes()
        pulled = _Pulled.model_validate_json((registry / _PULLED).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return Seen(content, pulled.e_tag, pulled.version) if _sha256(content) == pulled.sha256 else None


def _same(registry: Path, seen: Seen | None, known: Seen | None) -> bool:
    """Return whether the copy has what was seen, and all that it wants."""
    if seen is None:
        return not (registry / LINEUP_FILE).exists()
    if seen is not known:
        return False
    lineup = parsed_lineup(seen.content, LINEUP_FILE)
    has_policy = not lineup.policy or policy_path(registry, lineup.policy).is_file()
    return has_policy and all(version_path(registry, version).is_dir() for version in lineup.wanted)


def _bring_history(registry: Path, bucket: Bucket) -> None:
    """Add the lines of the history that the copy does not have. Needs the lock."""
    newest = max(history_lines(registry), default=0)
    lines = []
    for one in bucket.listed("history", _line_name(newest)):
        seen = bucket.read(one.name)
        if seen is not None:
            with suppress(ValidationError):
                lines.append(Change.model_validate_json(seen.content))
    if lines:
        append_history(registry, lines)


def _write_history(bucket: Bucket, change: Change) -> None:
    """Write a line of the history, whoever made it; it may be there."""
    bucket.create(f"history/{_line_name(change.lineup.revision)}", change.model_dump_json().encode())


def _fetch(registry: Path, bucket: Bucket, version: int) -> None:
    """Bring a version whose files are not here with their checksums. Needs the lock.

    Files that have other checksums there too are brought as they are: the loader says so of that version alone.
    """
    path = version_path(registry, version)
    if path.is_dir() and _intact({one.name: one.read_bytes() for one in path.iterdir()}):
        return
    for _ in range(2):
        found = {name: bucket.read(_name(version, name)) for name in FILES}
        files = {name: seen.content for name, seen in found.items() if seen is not None}
        if _intact(files):
            break
    if MANIFEST_FILE in files:
        place(registry, version, files)


def _intact(files: Mapping[str, bytes]) -> bool:
    """Return whether these are all files of a version, with the checksums that its manifest states."""
    try:
        checksums = json.loads(files[MANIFEST_FILE])["checksums"]
        return all(_sha256(files[name]) == checksum for name, checksum in checksums.items())
    except (KeyError, ValueError, TypeError, AttributeError):
        return False


def _claim(bucket: Bucket) -> int:
    """Take the next number, for good."""
    taken = (_NUMBER.fullmatch(one.name) for one in bucket.listed("numbers"))
    first = max((int(match[1]) for match in taken if match), default=0) + 1
    for version in range(first, first + CLAIM_ATTEMPTS):
        if bucket.create(f"numbers/{version:06d}", b"taken"):
            return version
    raise BadSetting(f"registry {bucket.url}: others took {CLAIM_ATTEMPTS} numbers meanwhile; try again")


def _published(bucket: Bucket) -> set[int]:
    parted = (_parted(one.name) for one in bucket.listed("versions"))
    return {version for version, name in parted if name == MANIFEST_FILE}


def _parted(name: str) -> tuple[int, str]:
    """Return the version and the file that an object is; 0 and "" for what somebody else put there."""
    match = _FILE.fullmatch(name)
    return (int(match[1]), match[2]) if match else (0, "")


def _name(version: int, file: str) -> str:
    return f"versions/{version:06d}/{file}"


def _line_name(revision: int) -> str:
    return f"{revision:08d}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
