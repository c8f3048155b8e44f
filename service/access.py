"""The gate: who calls, whether they may, and whether too often.

Decided once when the file of callers is read: what opens what. A call then costs a look for its
`authorization`, one SHA-256 of it and a look-up, 1 µs in all; without a file of callers there is no gate.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import structlog

from service.callers import Entry, Role, read_callers
from service.edge_settings import AccessSettings
from service.errors import BadSetting, PermissionDenied, RateLimited, Unauthenticated
from service.headers import Metadata
from service.metrics import Metrics

_LOG = structlog.get_logger(__name__)

Peer = Callable[[], Mapping[str, Sequence[bytes]]]
"""Tells what TLS knows of the other side, as `grpc.ServicerContext.auth_context` does; asked only where it matters."""

NEEDS: Final[Mapping[str, Role]] = {
    "/fraud.v1.FraudScoring/Score": "score",
    "/fraud.v1.FraudScoring/ScoreBatch": "score",
    "/fraud.v1.EventIngest/Record": "record",
    "/fraud.v1.Models/GetLineup": "read",
    "/grpc.health.v1.Health/Check": "read",
    "/grpc.health.v1.Health/Watch": "read",
    "/grpc.health.v1.Health/List": "read",
}
"""The role that each method asks for; what is not listed, as reflection, asks for `admin`."""

_OPENED: Final[Mapping[str, tuple[str, ...]]] = {
    "health": tuple(method for method in NEEDS if "Health" in method),
    "lineup": ("/fraud.v1.Models/GetLineup",),
}

_SCHEME: Final = "bearer "

_NOBODY: Final = "the call carries no valid token or client certificate"


class Bucket:
    """A token bucket: `rate` calls a second, of which a second's worth may come at once.

    What a batch holds beyond its one call is taken afterwards and may leave a debt, so that a batch larger
    than the bucket is not refused for ever. Thread-safe.
    """

    __slots__ = ("_at_s", "_level", "_lock", "burst", "rate")

    def __init__(self, rate: float) -> None:
        """Begin full; a bucket holds at least one call."""
        self.rate = rate
        self.burst = max(rate, 1.0)
        self._level = self.burst
        self._at_s = time.monotonic()
        self._lock = threading.Lock()

    def take(self, now_s: float) -> bool:
        """Take one call out at an instant of the monotonic clock; returns whether there was one."""
        with self._lock:
            level = self._level + (now_s - self._at_s) * self.rate
            self._at_s = now_s
            self._level = level = min(level, self.burst)
            if level < 1.0:
                return False
            self._level = level - 1.0
            return True

    def charge(self, count: int) -> None:
        """Take more out, also what is not there."""
        with self._lock:
            self._level -= count


class Caller(NamedTuple):
    """Somebody who may call."""

    name: str
    roles: frozenset[Role]
    bucket: Bucket | None
    """None when the caller's rate has no bound."""


ANYBODY: Final = Caller("", frozenset(), None)
"""Who calls what is open to anybody."""


class _Known(NamedTuple):
    """All callers that are valid now; replaced as a whole."""

    by_token: Mapping[bytes, Caller]
    by_certificate: Mapping[bytes, Caller]
    until_s: float
    """When the first of them expires, in seconds since the epoch."""


class Gate:
    """Lets calls in. Thread-safe."""

    def __init__(self, settings: AccessSettings, path: Path, workers: int, metrics: Metrics) -> None:
        """Read the callers. `workers` share the port: each grants its share of a rate. Raises BadSetting."""
        self._path = path
        self._max_callers = settings.max_callers
        self._workers = workers
        self._unauthenticated = metrics.access_refused["unauthenticated"]
        self._denied = metrics.access_refused["denied"]
        self._limited = metrics.access_refused["limited"]
        self._not_followed = metrics.access_not_followed
        self._open = frozenset(method for name in settings.open for method in _OPENED[name])
        self._entries: tuple[Entry, ...] = ()
        self._buckets: dict[str, Bucket] = {}
        self._stamp = _stamp(path)
        self._known = self._compile(read_callers(path, self._max_callers))

    @classmethod
    def of(cls, settings: AccessSettings, workers: int, metrics: Metrics) -> Self | None:
        """Return the gate that the settings ask for; None where anybody may call. Raises BadSetting."""
        return None if settings.callers_path is None else cls(settings, settings.callers_path, workers, metrics)

    def is_open(self, method: str) -> bool:
        """Tell whether anybody may call a method."""
        return method in self._open

    # --- on the path of a call --------------------------------------------------------------------

    def admit(self, method: str, metadata: Metadata, peer: Peer) -> Caller:
        """Return who makes a call to a method (`/fraud.v1.FraudScoring/Score`).

        A token wins over a certificate, and a wrong token is not excused by a good certificate. Raises
        Unauthenticated, PermissionDenied, RateLimited, and counts them. Cost: 1 µs by token; by certificate
        what `peer` costs.
        """
        if method in self._open:
            return ANYBODY
        caller = self._caller(metadata, peer)
        if caller is None:
            self._unauthenticated.inc()
            raise Unauthenticated(_NOBODY)
        role = NEEDS.get(method, "admin")
        if role not in caller.roles:
            self._deny(caller, role)
        bucket = caller.bucket
        if bucket is not None and not bucket.take(time.monotonic()):
            self._limited.inc()
            rate = bucket.rate * self._workers
            raise RateLimited(f"{caller.name} may make {rate:g} calls a second, a batch counting what it holds")
        return caller

    def screen(self, metadata: Metadata) -> None:
        """Refuse whom `admit` would not know by what it sent along; raises Unauthenticated, and counts it.

        Who sends no token passes where a certificate may still tell who it is. Needs neither peer nor message.
        """
        for key, value in metadata:
            if key == "authorization":
                known = isinstance(value, str) and self._by_token(value) is not None
                break
        else:
            known = bool(self._known.by_certificate)
        if not known:
            self._unauthenticated.inc()
            raise Unauthenticated(_NOBODY)

    def require(self, caller: Caller, role: Role) -> None:
        """Ask for one more role than the method does, as `record=true` needs `record`. Raises PermissionDenied."""
        if role not in caller.roles:
            self._deny(caller, role)

    @staticmethod
    def charge(caller: Caller, count: int) -> None:
        """Count what a batch holds beyond its first purchase or event against the caller's rate."""
        if caller.bucket is not None:
            caller.bucket.charge(count)

    def _caller(self, metadata: Metadata, peer: Peer) -> Caller | None:
        for key, value in metadata:
            if key == "authorization":
                return self._by_token(value) if isinstance(value, str) else None
        by_certificate = self._known.by_certificate
        return _by_certificate(by_certificate, peer()) if by_certificate else None

    def _by_token(self, authorization: str) -> Caller | None:
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            return None
        digest = hashlib.sha256(authorization[len(_SCHEME) :].encode()).digest()
        # What is looked up is a digest: how long that takes tells nothing about a token.
        return self._known.by_token.get(digest)

    def _deny(self, caller: Caller, role: Role) -> None:
        self._denied.inc()
        raise PermissionDenied(f"{caller.name} has not the role {role}")

    # --- in the background ------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read the callers again when their file changed or one expired; call it every `access.poll_ms`.

        A file that cannot be read changes nothing: a line in the log once, and `fraud_access_not_followed` is 1.
        Cost: one look at the file's change time.
        """
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                entries = read_callers(self._path, self._max_callers)
            except BadSetting as error:
                self._not_followed.set(1)
                _LOG.error("callers not read again", reason=str(error))
                return
            self._not_followed.set(0)
            self._known = self._compile(entries)
            _LOG.info("callers read again", entries=len(entries))
        elif time.time() >= self._known.until_s:
            self._known = self._compile(self._entries)

    def _compile(self, entries: tuple[Entry, ...]) -> _Known:
        """Resolve everything that a call asks for. A caller whose rate is as before keeps what is in the bucket."""
        now_s = time.time()
        buckets: dict[str, Bucket] = {}
        by_token: dict[bytes, Caller] = {}
        by_certificate: dict[bytes, Caller] = {}
        valid = [entry for entry in entries if entry.expires_s() > now_s]
        for entry in valid:
            bucket = None
            if entry.calls_per_s is not None:
                rate = entry.calls_per_s / self._workers
                old = self._buckets.get(entry.name)
                bucket = buckets.setdefault(entry.name, old if old and old.rate == rate else Bucket(rate))
            caller = Caller(entry.name, entry.roles, bucket)
            if entry.token_sha256:
                by_token[bytes.fromhex(entry.token_sha256)] = caller
            else:
                by_certificate[entry.certificate.encode()] = caller
        self._entries, self._buckets = entries, buckets
        return _Known(by_token, by_certificate, min((entry.expires_s() for entry in valid), default=float("inf")))


def _by_certificate(known: Mapping[bytes, Caller], peer: Mapping[str, Sequence[bytes]]) -> Caller | None:
    """Return whom a verified client certificate names: by a name for which it was issued, then by its common name."""
    for part in ("x509_subject_alternative_name", "x509_common_name"):
        for name in peer.get(part, ()):
            if name in known:
                return known[name]
    return None


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file does: written in place, replaced, or a link turned to another file."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)
