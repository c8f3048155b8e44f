"""Refuses to serve strangers by mistake: a port that others can reach must be encrypted and know its callers."""

from __future__ import annotations

import ipaddress

from service.errors import BadSetting
from service.settings import Settings


def refuse_exposure(settings: Settings) -> None:
    """Raise BadSetting when `server.listen` is open to other machines and something of its protection is missing.

    Needed are TLS, and either a file of callers or an authority of client certificates; `access.allow_insecure`
    says that something else protects the port.
    """
    listen, access, tls = settings.server.listen, settings.access, settings.tls
    if access.allow_insecure or is_local(listen):
        return
    missing = []
    if tls.certificate_path is None:
        missing.append("tls.certificate_path and tls.key_path")
    if access.callers_path is None and tls.client_ca_path is None:
        missing.append("access.callers_path or tls.client_ca_path")
    if missing:
        raise BadSetting(
            f"setting server.listen: {listen} can be reached from other machines: set {' and '.join(missing)}, "
            "or access.allow_insecure where something else protects the port"
        )


def is_local(listen: str) -> bool:
    """Tell whether only programs on this machine can reach an address that gRPC listens on."""
    if listen.startswith(("unix:", "unix-abstract:")):
        return True
    host = listen.removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:").lstrip("/")
    host = host.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
