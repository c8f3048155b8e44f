"""A port that others can reach must be protected, or somebody must have said that it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import BadSetting
from service.exposure import is_local, refuse_exposure
from service.settings import Settings

TLS = {"certificate_path": Path("server.crt"), "key_path": Path("server.key")}
CALLERS = {"callers_path": Path("callers.toml")}


def make_settings(listen: str = "0.0.0.0:50051", **sections: dict[str, Any]) -> Settings:
    """Return settings of a service that listens on an address."""
    return Settings(server={"listen": listen}, **sections)  # type: ignore[arg-type]  # sections as dictionaries


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.8.8:1", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("ipv6:[::1]:50051", True),
        ("unix:/run/fraud.sock", True),
        ("unix-abstract:fraud", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        (":50051", False),
        ("10.0.0.7:50051", False),
        ("fraud.example.com:443", False),
        ("localhost.example.com:443", False),
        ("dns:///example.com:443", False),
    ],
)
def test_what_is_local_is_known(listen: str, local: bool) -> None:  # noqa: FBT001  a row of the table
    """Loopback addresses and sockets of this machine are local, whatever else one can write is not."""
    assert is_local(listen) is local


def test_an_open_port_is_refused() -> None:
    """With one sentence that says all that is missing."""
    with pytest.raises(
        BadSetting, match=r"0\.0\.0\.0:50051 can be reached .*tls\.certificate_path.*access\.callers_path"
    ):
        refuse_exposure(make_settings())


@pytest.mark.parametrize(
    ("sections", "missing"),
    [
        ({"tls": TLS}, "set access.callers_path or tls.client_ca_path,"),
        ({"access": CALLERS}, "set tls.certificate_path and tls.key_path,"),
    ],
)
def test_half_of_it_is_not_enough(sections: dict[str, Any], missing: str) -> None:
    """Encrypted for anybody, or tokens in the clear, are refused as well."""
    with pytest.raises(BadSetting) as error:
        refuse_exposure(make_settings(**sections))
    assert missing in str(error.value)


@pytest.mark.parametrize(
    "sections",
    [
        {"tls": TLS, "access": CALLERS},
        {"tls": {**TLS, "client_ca_path": Path("clients.pem")}},
        {"access": {"allow_insecure": True}},
    ],
    ids=["tokens", "certificates", "said so"],
)
def test_a_protected_port_is_fine(sections: dict[str, Any]) -> None:
    """TLS with tokens or client certificates; or somebody took it on himself."""
    refuse_exposure(make_settings(**sections))


def test_a_local_port_needs_nothing() -> None:
    """What nobody else can reach works out of the box."""
    refuse_exposure(make_settings("127.0.0.1:50051"))
