"""TLS: real handshakes, certificates exchanged without a restart, and files that cannot work."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from service.edge_settings import TlsSettings
from service.errors import BadSetting
from service.identity import Identity
from service.metrics import Metrics
from service.tls import Certificates
from tests.service.certificates import DAY, Authority, Issued

METHOD = "/tests.Echo/Echo"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return an authority."""
    return Authority(tmp_path)


@contextmanager
def echoing(certificates: Certificates) -> Iterator[int]:
    """Run a server that answers with what TLS knows of the caller."""

    def echo(_request: bytes, context: grpc.ServicerContext) -> bytes:
        return b",".join(context.auth_context().get("x509_common_name", ()))  # type: ignore[arg-type]  # lists

    handlers = grpc.method_handlers_generic_handler("tests.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)})
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handlers])
    port = server.add_secure_port("127.0.0.1:0", certificates.credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def ask(port: int, identity: Identity) -> bytes:
    """Call over a new connection."""
    with identity.channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return echo(channel)


def echo(channel: grpc.Channel) -> bytes:
    """Call."""
    call: Any = channel.unary_unary(METHOD)
    answer: bytes = call(b"", timeout=10)
    return answer


def shown(port: int, authority: Authority) -> bytes:
    """Return the certificate, as DER, that a port shows to a new connection."""
    context = ssl.create_default_context(cafile=str(authority.path))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return der


def der(issued: Issued) -> bytes:
    """Return a certificate file as DER."""
    return ssl.PEM_cert_to_DER_cert(issued.certificate.read_text("ascii"))


def value(metrics: Metrics, name: str) -> float | None:
    """Return what a gauge shows."""
    registry: CollectorRegistry = metrics.registry
    return registry.get_sample_value(name)


def follow(certificates: Certificates) -> None:
    """Look as often as it takes to be sure that files stand."""
    certificates.refresh()
    certificates.refresh()


def test_calls_are_encrypted_and_the_server_is_known(authority: Authority) -> None:
    """A client that trusts the authority is served; one that trusts another is not."""
    server = authority.issue("server")
    certificates = Certificates.of(TlsSettings(certificate_path=server.certificate, key_path=server.key), Metrics())
    assert certificates is not None
    stranger = Authority(authority.path.parent, "stranger")
    with echoing(certificates) as port:
        assert ask(port, Identity(ca=authority.path)) == b""
        with pytest.raises(grpc.RpcError) as refused:
            ask(port, Identity(ca=stranger.path))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_without_tls_gets_nothing(authority: Authority) -> None:
    """Plain text at a TLS port is not answered."""
    server = authority.issue("server")
    certificates = Certificates.of(TlsSettings(certificate_path=server.certificate, key_path=server.key), Metrics())
    assert certificates is not None
    with echoing(certificates) as port, pytest.raises(grpc.RpcError) as refused:
        ask(port, Identity())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_port_may_be_reached_under_another_name(authority: Authority) -> None:
    """A probe on the machine itself names the server that the certificate is for."""
    server = authority.issue("fraud.example.com")
    certificates = Certificates.of(TlsSettings(certificate_path=server.certificate, key_path=server.key), Metrics())
    assert certificates is not None
    with echoing(certificates) as port:
        assert ask(port, Identity(ca=authority.path, server_name="fraud.example.com")) == b""


def test_mutual_tls_asks_for_a_certificate_of_our_clients(authority: Authority) -> None:
    """With an authority of clients, whoever has no certificate of it cannot connect; who has is known by its name."""
    server, checkout = authority.issue("server"), authority.issue("checkout", client=True)
    stranger = Authority(authority.path.parent, "stranger").issue("intruder", client=True)
    settings = TlsSettings(certificate_path=server.certificate, key_path=server.key, client_ca_path=authority.path)
    certificates = Certificates.of(settings, Metrics())
    assert certificates is not None
    with echoing(certificates) as port:
        assert ask(port, Identity("", authority.path, *checkout)) == b"checkout"
        for identity in (Identity(ca=authority.path), Identity("", authority.path, *stranger)):
            with pytest.raises(grpc.RpcError) as refused:
                ask(port, identity)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_new_certificates_serve_new_connections(authority: Authority) -> None:
    """Exchanged files are used after the second look, and a connection that stands goes on."""
    server = authority.issue("server")
    certificates = Certificates.of(TlsSettings(certificate_path=server.certificate, key_path=server.key), Metrics())
    assert certificates is not None
    with echoing(certificates) as port, Identity(ca=authority.path).channel(f"127.0.0.1:{port}") as channel:
        echo(channel)
        old = shown(port, authority)
        new = authority.issue("server")
        certificates.refresh()
        assert shown(port, authority) == old, "files that may be half written are not touched"
        certificates.refresh()
        assert shown(port, authority) == der(new) != old
        assert echo(channel) == b""


def test_an_exchanged_authority_of_clients_takes_effect(authority: Authority) -> None:
    """Clients of the old authority are refused, those of the new one served, without a restart."""
    server, old = authority.issue("server"), authority.issue("old", client=True)
    folder = authority.path.parent
    clients = folder / "clients.pem"
    clients.write_bytes(authority.path.read_bytes())
    settings = TlsSettings(certificate_path=server.certificate, key_path=server.key, client_ca_path=clients)
    certificates = Certificates.of(settings, Metrics())
    assert certificates is not None
    second = Authority(folder, "second")
    new = second.issue("new", client=True)
    with echoing(certificates) as port:
        assert ask(port, Identity("", authority.path, *old)) == b"old"
        clients.write_bytes(second.path.read_bytes())
        follow(certificates)
        assert ask(port, Identity("", authority.path, *new)) == b"new"
        with pytest.raises(grpc.RpcError):
            ask(port, Identity("", authority.path, *old))


def test_certificates_are_exchanged_under_load(authority: Authority) -> None:
    """Twenty exchanges under clients that connect anew for each call fail no call."""
    server = authority.issue("server")
    certificates = Certificates.of(TlsSettings(certificate_path=server.certificate, key_path=server.key), Metrics())
    assert certificates is not None
    identity, over = Identity(ca=authority.path), threading.Event()
    with echoing(certificates) as port, ThreadPoolExecutor(3) as clients:

        def call_again_and_again() -> int:
            calls = 0
            while not over.is_set():
                assert ask(port, identity) == b""
                calls += 1
            return calls

        counts = [clients.submit(call_again_and_again) for _ in range(3)]
        for _ in range(20):
            newest = authority.issue("server")
            follow(certificates)
            assert shown(port, authority) == der(newest)
        over.set()
        assert all(count.result(30) > 0 for count in counts)


def test_files_that_do_not_work_change_nothing(authority: Authority) -> None:
    """A key of another certificate is told, not used, until the files fit; then they serve."""
    metrics = Metrics()
    server = authority.issue("server")
    certificates = Certificates.of(TlsSettings(certificate_path=server.certificate, key_path=server.key), metrics)
    assert certificates is not None
    key = authority.issue("other").key.read_bytes()
    good = server.key.read_bytes()
    with echoing(certificates) as port:
        old = shown(port, authority)
        server.key.write_bytes(key)
        follow(certificates)
        assert value(metrics, "fraud_tls_not_followed") == 1
        server.certificate.unlink()
        follow(certificates)
        assert shown(port, authority) == old
        renewed = authority.issue("server")
        follow(certificates)
        assert value(metrics, "fraud_tls_not_followed") == 0
        assert shown(port, authority) == der(renewed)
        renewed.key.write_bytes(good)
        follow(certificates)
        assert ask(port, Identity(ca=authority.path)) == b""


def test_its_end_is_told(authority: Authority) -> None:
    """A gauge shows when the certificate expires."""
    metrics = Metrics()
    server = authority.issue("server", until=3 * DAY)
    Certificates.of(TlsSettings(certificate_path=server.certificate, key_path=server.key), metrics)
    ends = ssl.cert_time_to_seconds(_not_after(server))
    assert value(metrics, "fraud_tls_expires_seconds") == ends


def _not_after(issued: Issued) -> str:
    from cryptography import x509  # noqa: PLC0415

    ends = x509.load_pem_x509_certificate(issued.certificate.read_bytes()).not_valid_after_utc
    return ends.strftime("%b %d %H:%M:%S %Y GMT")


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("no certificate", r"tls\.certificate_path: .*server\.crt"),
        ("key of another", r"tls\.key_path: .*server\.key: key values mismatch"),
        ("expired", r"tls\.certificate_path: .*certificate has expired"),
        ("for clients", r"tls\.certificate_path: .*(purpose|unsuitable|unsupported)"),
        ("no authority", r"tls\.client_ca_path: .*authority\.pem"),
        ("missing", r"tls\.key_path: cannot read .*server\.key"),
        ("key alone", r"tls\.key_path: goes with"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(authority: Authority, broken: str, sentence: str) -> None:
    """Every way to be wrong has one sentence that names the setting and the file, and shows nothing of a key."""
    server = authority.issue(
        "server", client=broken == "for clients", until=timedelta(days=-1) if broken == "expired" else DAY
    )
    match broken:
        case "no certificate":
            server.certificate.write_text("hello", "ascii")
        case "key of another":
            server.key.write_bytes(authority.issue("other").key.read_bytes())
        case "no authority":
            authority.path.write_text("hello", "ascii")
        case "missing":
            server.key.unlink()
    settings = TlsSettings(
        certificate_path=None if broken == "key alone" else server.certificate,
        key_path=server.key,
        client_ca_path=None if broken == "key alone" else authority.path,
    )
    with pytest.raises(BadSetting, match=sentence) as error:
        Certificates.of(settings, Metrics())
    assert "PRIVATE" not in str(error.value)


def test_no_files_are_no_tls() -> None:
    """Without settings there is nothing to serve."""
    assert Certificates.of(TlsSettings(), Metrics()) is None
