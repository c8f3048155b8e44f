"""Who a client is: told, or taken from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import BadSetting
from service.identity import PUBLIC, Identity


def test_what_is_not_told_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Token, authorities, certificate, key and name; an option wins."""
    for name, value in {
        "FRAUD_TOKEN": "fraud_x",
        "FRAUD_CA": "ca.pem",
        "FRAUD_CERTIFICATE": "own.crt",
        "FRAUD_KEY": "own.key",
        "FRAUD_SERVER_NAME": "fraud.example.com",
    }.items():
        monkeypatch.setenv(name, value)
    told = Identity("fraud_x", Path("ca.pem"), Path("own.crt"), Path("own.key"), "fraud.example.com")
    assert Identity.from_environment() == told
    assert Identity.from_environment(Path("other.pem")) == told._replace(ca=Path("other.pem"))


def test_nothing_told_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any of it calls carry nothing."""
    for name in ("FRAUD_TOKEN", "FRAUD_CA", "FRAUD_CERTIFICATE", "FRAUD_KEY", "FRAUD_SERVER_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert Identity.from_environment() == Identity()
    assert Identity().metadata is None


def test_a_token_goes_with_every_call() -> None:
    """As the scheme Bearer of `authorization`."""
    assert Identity("fraud_x").metadata == (("authorization", "Bearer fraud_x"),)


@pytest.mark.parametrize(
    ("identity", "sentence"),
    [
        (Identity(ca=Path("nowhere.pem")), r"cannot read nowhere\.pem: No such file"),
        (Identity(certificate=Path("own.crt")), "a client certificate goes with its key"),
    ],
)
def test_what_cannot_be_is_said(identity: Identity, sentence: str) -> None:
    """One sentence, before anything is sent."""
    with pytest.raises(BadSetting, match=sentence):
        identity.channel("127.0.0.1:1")


def test_public_authorities_need_no_file() -> None:
    """The list that gRPC brings along is enough."""
    Identity(ca=PUBLIC).channel("127.0.0.1:1").close()
