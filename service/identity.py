"""How a client proves who it is, and how it knows the service: a token, certificates, or nothing.

Commands and clients that are told nothing take it from the environment: FRAUD_TOKEN, FRAUD_CA,
FRAUD_CERTIFICATE, FRAUD_KEY and FRAUD_SERVER_NAME. A token is never an option of a command: other users see those.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import grpc

from service.errors import BadSetting

PUBLIC: Final = Path("public")
"""Stands for the public authorities that gRPC brings along, in place of a file of one's own."""


class Identity(NamedTuple):
    """Who a client is, and whom it trusts. Without `ca` and `certificate` the connection is not encrypted."""

    token: str = ""
    """As `service tokens new` printed it."""
    ca: Path | None = None
    """PEM file of the authorities that the service's certificate must come from, or `PUBLIC`."""
    certificate: Path | None = None
    """PEM file of the client's own certificate, for mutual TLS; goes with `key`."""
    key: Path | None = None
    server_name: str = ""
    """Name in the service's certificate, where that is not the host that is connected to."""

    @classmethod
    def from_environment(cls, ca: Path | None = None) -> Self:
        """Return what the environment tells; `ca` wins over it."""
        found = os.environ.get
        return cls(
            found("FRAUD_TOKEN", ""),
            ca or _path(found("FRAUD_CA", "")),
            _path(found("FRAUD_CERTIFICATE", "")),
            _path(found("FRAUD_KEY", "")),
            found("FRAUD_SERVER_NAME", ""),
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...] | None:
        """Return what every call carries."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else None

    def channel(self, target: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
        """Return a channel to `host:port`. Raises BadSetting when a file cannot be read."""
        if self.ca is None and self.certificate is None:
            return grpc.insecure_channel(target, options=options)
        if (self.certificate is None) != (self.key is None):
            raise BadSetting("a client certificate goes with its key: FRAUD_CERTIFICATE and FRAUD_KEY")
        authorities = None if self.ca is None or self.ca == PUBLIC else _content(self.ca)
        own = (
            (None, None)
            if self.certificate is None or self.key is None
            else (_content(self.key), _content(self.certificate))
        )
        if self.server_name:
            options = (*options, ("grpc.ssl_target_name_override", self.server_name))
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(authorities, *own), options=options)


def _path(value: str) -> Path | None:
    return Path(value) if value else None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSetting(f"cannot read {path}: {error.strerror}") from error
