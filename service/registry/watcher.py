"""The watcher: follows the registry and keeps one reference, `lineup`, to what is live in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from service.core.policy import NO_RULES, Rules
from service.core.profile import Habits
from service.errors import BadArtifact, BadSetting
from service.registry.artifact import LOADED_FILES, version_path
from service.registry.lineup import Lineup
from service.registry.lineup_file import LINEUP_FILE, LineupSpec, read_lineup
from service.registry.load_plan import plan
from service.registry.policy_file import policy_path, rules_of
from service.registry.servable import Servable
from service.settings import RegistrySettings

_LOG = structlog.get_logger(__name__)

FIRST_RETRY_MS: Final = 1_000
"""Wait before a version that failed is tried again though nothing changed; doubled with each failure."""

LAST_RETRY_MS: Final = 60_000
"""The longest such wait."""

LAST_PULL_RETRY_MS: Final = 10_000
"""The longest wait before a remote registry that did not answer is asked again; the first is `poll_ms`, doubled."""


class Status(IntEnum):
    """Where a version stands in this process; the numbers are those of the proto."""

    LOADING = 1
    LIVE = 2
    ERROR = 3


class VersionState(NamedTuple):
    """A version, where it stands, since when, and why it is in ERROR."""

    version: int
    status: Status
    reason: str
    since_ms: int


_Signature = tuple[int, ...]
"""What tells that a file was changed; () for a file that is not there."""


class _Failure(NamedTuple):
    """A version or a policy that did not load: why, how often, what its files looked like, when it is tried again."""

    reason: str
    failures: int
    files: tuple[_Signature, ...]
    retry_at_ms: int


class Watcher:
    """Loads what `lineup.json` names and switches `lineup` when all that is to answer, and its policy, is loaded.

    `lineup`, `states` and `reason` are replaced, never edited: any thread may read them at any time.
    Whatever fails, what was live stays live. Dropping the last reference to a lineup frees its boosters.
    """

    def __init__(self, settings: RegistrySettings, habits: Habits, now_ms: Callable[[], int]) -> None:
        """Watch the registry at `settings.path` for a deployment with these habits; nothing is loaded yet."""
        self.lineup: Lineup | None = None
        self.states: tuple[VersionState, ...] = ()
        """Every version that is live, wanted, or in ERROR, in order."""
        self.reason = ""
        """Why what is live is not what the registry asks for, in one sentence; "" when it is."""
        self.switches = 0
        """Lineups that went live."""
        self.loads = 0
        """Versions that were loaded."""
        self.load_failures = 0
        """Loads that failed."""
        self.policy_failures = 0
        """Loads of a policy that failed."""
        self.pull_failures = 0
        """Looks at the remote registry that failed."""
        self._registry = settings.path
        self._remote = settings.remote
        self._poll_s = settings.poll_ms / 1000
        self._habits = habits
        self._now_ms = now_ms
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="registry-watcher", daemon=True)
        self._seen: _Signature | None = None
        self._spec: LineupSpec | None = None
        self._live: tuple[LineupSpec, frozenset[int]] | None = None
        self._servables: dict[int, Servable] = {}
        self._failed: dict[int, _Failure] = {}
        self._rules: Rules = NO_RULES
        """The policy that was loaded last."""
        self._bad_policy: tuple[int, _Failure] | None = None
        self._not_followed = ""
        """Why what is live is not what the `lineup.json` here says."""
        self._behind = ""
        """Why that may not be what the remote one says."""
        self._first_pull_wait_ms = self._pull_wait_ms = settings.poll_ms
        self._pull_at_ms = 0

    def start(self) -> None:
        """Begin to look every `poll_ms`."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop looking; what is live stays so."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def pull(self) -> None:
        """Bring the local copy of a remote registry up to date, if there is one. Cost when nothing changed: a request.

        A remote registry that does not answer is a reason, not an error: the copy serves. It may take as
        long as the object store's client waits, so nothing that must be quick calls it.
        """
        if not self._remote or self._now_ms() < self._pull_at_ms:
            return
        from service.registry import remote  # noqa: PLC0415  its client is loaded only where it is used

        try:
            remote.attach(self._registry, self._remote)
            remote.pull(self._registry)
        except (BadSetting, BadArtifact) as error:
            self.pull_failures += 1
            self._behind = str(error)
            self._pull_at_ms = self._now_ms() + self._pull_wait_ms
            self._pull_wait_ms = min(2 * self._pull_wait_ms, LAST_PULL_RETRY_MS)
        else:
            self._behind = ""
            self._pull_wait_ms = self._first_pull_wait_ms
        self._say(self._not_followed)

    def refresh(self) -> None:
        """Look now, and return when what can be loaded is live. Cost when nothing changed: one `stat`."""
        with self._looking:
            changed = self._read()
            due = {version for version in self._failed if changed or self._due(version)}
            if self._seen is not None and self._spec is not None and (changed or due or self._policy_due()):
                self._follow_spec(self._spec, due)

    # --- steps ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        wait_s = 0.0  # a remote registry is asked at once: the first look was at the copy alone
        while not self._stopping.wait(wait_s):
            wait_s = self._poll_s
            try:
                self.pull()
                self.refresh()
            except Exception:  # noqa: BLE001  a fault of ours must not end the watch
                _LOG.exception("registry not followed")

    def _read(self) -> bool:
        """Read `lineup.json` when it changed, and again every time while it is not readable."""
        path = self._registry / LINEUP_FILE
        signature = _signature(path)
        if signature and signature == self._seen:
            return False
        self._seen = None
        try:
            spec = read_lineup(self._registry)
        except BadSetting as error:
            self._say(str(error))
            return False
        if spec is None:
            self._say(f"{path} does not exist: publish a version and promote it")
            return False
        self._seen = signature
        self._spec = spec
        return True

    def _due(self, version: int) -> bool:
        failure = self._failed[version]
        return self._now_ms() >= failure.retry_at_ms or _files(self._registry, version) != failure.files

    def _policy_due(self) -> bool:
        if self._bad_policy is None:
            return False
        policy, failure = self._bad_policy
        return (
            self._now_ms() >= failure.retry_at_ms or (_signature(policy_path(self._registry, policy)),) != failure.files
        )

    def _follow_spec(self, spec: LineupSpec, due: set[int]) -> None:
        """Load what the plan asks for, switch when it says so, and drop what is not needed any more."""
        self._load_policy(spec.policy)
        live = self._live[1] if self._live is not None else frozenset()
        for version in plan(spec, self._servables.keys(), self._failed.keys() - due, live).load:
            self._load(version)
        has_policy = self._rules.version == spec.policy
        step = plan(spec, self._servables.keys(), self._failed.keys(), live, has_policy=has_policy)
        if step.switch:
            self._switch(spec)
        for version in step.drop:
            del self._servables[version]
        for version in self._failed.keys() - set(spec.wanted):
            del self._failed[version]
        self._show()
        blocked = [f"version {version} cannot answer: {self._failed[version].reason}" for version in step.blocked]
        if self._bad_policy is not None:
            blocked.append(f"policy {spec.policy} cannot decide: {self._bad_policy[1].reason}")
        self._say("; ".join(blocked))

    def _load_policy(self, policy: int) -> None:
        """Load the policy of a lineup, if it is not the one that was loaded last."""
        before = self._bad_policy[1] if self._bad_policy is not None and self._bad_policy[0] == policy else None
        self._bad_policy = None
        if policy == self._rules.version:
            return
        files = (_signature(policy_path(self._registry, policy)),)
        try:
            self._rules = rules_of(self._registry, policy)
        except BadArtifact as error:
            reason = str(error).removeprefix(f"policy {policy}: ")
        except Exception as error:  # noqa: BLE001  as in _load
            reason = f"unexpected {type(error).__name__}: {error}"
        else:
            _LOG.info("policy loaded", policy=policy)
            return
        self.policy_failures += 1
        self._bad_policy = policy, self._failure(before, files, reason)
        if before is None or before.reason != reason:
            _LOG.error("policy not loaded", policy=policy, reason=reason)

    def _load(self, version: int) -> None:
        files = _files(self._registry, version)
        if version not in self._failed:
            self._show(loading=version)
        try:
            self._servables[version] = Servable.load(version_path(self._registry, version), self._habits)
        except BadArtifact as error:
            self._fail(version, files, str(error))
        except Exception as error:  # noqa: BLE001  whatever is wrong with a version, the others go on
            self._fail(version, files, f"unexpected {type(error).__name__}: {error}")
        else:
            self.loads += 1
            self._failed.pop(version, None)
            _LOG.info("version loaded", version=version)

    def _fail(self, version: int, files: tuple[_Signature, ...], reason: str) -> None:
        self.load_failures += 1
        before = self._failed.get(version)
        self._failed[version] = self._failure(before, files, reason)
        if before is None or before.reason != reason:
            _LOG.error("version not loaded", version=version, reason=reason)

    def _failure(self, before: _Failure | None, files: tuple[_Signature, ...], reason: str) -> _Failure:
        """Return a failure that is tried again later than the one before, unless the files are other ones."""
        failures = before.failures + 1 if before is not None and before.files == files else 1
        wait_ms = min(FIRST_RETRY_MS << min(failures - 1, 16), LAST_RETRY_MS)
        return _Failure(reason, failures, files, self._now_ms() + wait_ms)

    def _switch(self, spec: LineupSpec) -> None:
        """Let a new lineup go live, unless it is the one that is."""
        live = spec, frozenset(version for version in spec.wanted if version in self._servables)
        if live == self._live:
            return
        self.lineup = Lineup(spec, self._servables, self._rules)
        self._live = live
        self.switches += 1
        _LOG.info(
            "lineup live",
            revision=spec.revision,
            answer=spec.answering,
            shadow=spec.shadowing,
            policy=spec.policy,
        )

    def _show(self, loading: int | None = None) -> None:
        """Replace `states`; a version that stands where it stood keeps its time."""
        live = self._live[1] if self._live is not None else frozenset()
        known = {state.version: state for state in self.states}
        states = []
        for version in sorted({*self._servables, *self._failed, *(() if loading is None else (loading,))}):
            failure = self._failed.get(version)
            status = Status.ERROR if failure else Status.LIVE if version in live else Status.LOADING
            state = VersionState(version, status, failure.reason if failure else "", self._now_ms())
            before = known.get(version)
            states.append(before if before is not None and before[:3] == state[:3] else state)
        self.states = tuple(states)

    def _say(self, not_followed: str) -> None:
        """Keep why the lineup on disk is not live; one log line for each other reason."""
        self._not_followed = not_followed
        reason = "; ".join(one for one in (self._behind, not_followed) if one)
        if reason and reason != self.reason:
            _LOG.warning("lineup not followed", reason=reason)
        self.reason = reason


def _signature(path: Path) -> _Signature:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _files(registry: Path, version: int) -> tuple[_Signature, ...]:
    folder = version_path(registry, version)
    return tuple(_signature(folder / name) for name in LOADED_FILES)
