"""TLS of the gRPC port: certificates that are tried before they are used, and exchanged without a restart.

gRPC asks for certificates at every new connection. Those that it gets have shaken hands with themselves
before; new ones that cannot change nothing.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Final, NamedTuple, Self

import grpc
import structlog

from service.edge_settings import TlsSettings
from service.errors import BadSetting
from service.metrics import Metrics

_LOG = structlog.get_logger(__name__)

MAX_FILE_BYTES: Final = 1 << 20


class _Paths(NamedTuple):
    """Where the PEM files are."""

    certificate: Path
    key: Path
    client_ca: Path | None


class _Pem(NamedTuple):
    """What is in them."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The certificates of a port, as they are now. Thread-safe."""

    def __init__(self, paths: _Paths, metrics: Metrics) -> None:
        """Read and try the files. Raises BadSetting."""
        self._paths = paths
        self._not_followed = metrics.tls_not_followed
        self._expires = metrics.tls_expires
        self._seen = self._live = _read(paths)
        self._expires.set(_try(paths))
        self._reason = ""
        self._lock = threading.Lock()
        self._fresh: _Pem | None = None
        self.credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            _configuration(self._live),
            self._take,  # type: ignore[arg-type]  # None means: nothing is new
            require_client_authentication=paths.client_ca is not None,
        )
        """What a server listens with: one server for one `Certificates`, for what is new is given once."""

    @classmethod
    def of(cls, settings: TlsSettings, metrics: Metrics) -> Self | None:
        """Return the certificates that the settings name; None where there is no TLS. Raises BadSetting."""
        if settings.certificate_path is None or settings.key_path is None:
            for name, path in settings:
                if path is not None:
                    raise BadSetting(f"setting tls.{name}: goes with both tls.certificate_path and tls.key_path")
            return None
        return cls(_Paths(settings.certificate_path, settings.key_path, settings.client_ca_path), metrics)

    def refresh(self) -> None:
        """Serve new connections with what has changed in the files; call it every `access.poll_ms`.

        Connections that stand keep what they have, until `server.max_connection_age_s`. Files that do not work
        change nothing: one line in the log, and `fraud_tls_not_followed` is 1 until they do; so those are
        followed, too, that become valid with time. Cost: a read of the files.
        """
        reason = self._follow()
        if reason != self._reason:
            self._reason = reason
            self._not_followed.set(bool(reason))
            if reason:
                _LOG.error("certificates not followed", reason=reason)

    def _follow(self) -> str:
        """Make the files those that are served; returns why not, "" when they are."""
        try:
            pem = _read(self._paths)
            if pem == self._live:
                return ""
            if pem != self._seen:  # somebody may be writing: only what stands since the last look is tried
                self._seen = pem
                return self._reason
            expires_s = _try(self._paths)
            if _read(self._paths) != pem:
                return self._reason
        except BadSetting as error:
            return str(error)
        with self._lock:
            self._live = self._fresh = pem
        self._expires.set(expires_s)
        _LOG.info("certificates exchanged", expires_s=expires_s)
        return ""

    def _take(self) -> grpc.ServerCertificateConfiguration | None:
        """Give gRPC what is new, once: it would otherwise build everything again at each connection."""
        with self._lock:
            pem, self._fresh = self._fresh, None
        return None if pem is None else _configuration(pem)


def _configuration(pem: _Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.client_ca)


def _read(paths: _Paths) -> _Pem:
    client_ca = None if paths.client_ca is None else _content(paths.client_ca, "client_ca_path")
    return _Pem(_content(paths.certificate, "certificate_path"), _content(paths.key, "key_path"), client_ca)


def _content(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadSetting(f"setting tls.{name}: cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise BadSetting(f"setting tls.{name}: {path} has more than {MAX_FILE_BYTES} bytes")
    return content


def _try(paths: _Paths) -> float:
    """Shake hands with ourselves, in memory; returns when the certificate ends, in seconds since the epoch.

    Raises BadSetting when a file is no PEM, the key is another's, or the certificate is not one for servers
    or not valid now. Cost: a few milliseconds.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # who reaches us by which name is not known here
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust the certificate itself: its authority is not here
    try:
        client.load_verify_locations(cafile=paths.certificate)
    except (ssl.SSLError, OSError) as error:
        raise _bad("certificate_path", paths.certificate, error) from error
    try:
        server.load_cert_chain(paths.certificate, paths.key, password="")  # never ask at a terminal
    except (ssl.SSLError, OSError) as error:
        raise _bad("key_path", paths.key, error) from error
    if paths.client_ca is not None:
        try:
            server.load_verify_locations(cafile=paths.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise _bad("client_ca_path", paths.client_ca, error) from error
    try:
        return ssl.cert_time_to_seconds(_own_certificate(server, client)["notAfter"])
    except ssl.SSLError as error:
        raise _bad("certificate_path", paths.certificate, error) from error


def _own_certificate(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, str]:
    """Return what a client makes of the server's certificate, after a whole handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    waiting = list(ends)
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    certificate = ends[0].getpeercert()
    assert certificate is not None
    return certificate  # type: ignore[return-value]  # its dates are strings


def _bad(name: str, path: Path, error: OSError) -> BadSetting:
    """Return the error with OpenSSL's words alone: they hold nothing of a key."""
    why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error.strerror or "cannot be read"
    return BadSetting(f"setting tls.{name}: {path}: {str(why).replace('_', ' ').lower()}")
