"""The service as strangers, callers and operators meet it: TLS, tokens, roles, rates, logs and traces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.app import App
from service.callers import Role, new_token
from service.client import FraudClient
from service.errors import BadSetting
from service.health import problem
from service.identity import Identity
from service.pb import fraud_pb2 as pb
from service.settings import Settings
from tests.running import running, wait_until
from tests.service.callers import make_entry, write_callers
from tests.service.certificates import Authority
from tests.service.collector import collector
from tests.service.conftest import serving, settings_in

PURCHASE = pb.Purchase(purchase_id="p-1", user_id="u-1", amount_minor=999)
EVENT = pb.Event(user_registered=pb.UserRegistered(user_id="u-1"))
Code = grpc.StatusCode


def asked(app: App, identity: Identity, what: str = "score") -> grpc.StatusCode:
    """Return the status of one call over a fresh connection."""
    with FraudClient(f"127.0.0.1:{app.server.port}", score_deadline_ms=5000, identity=identity) as client:
        try:
            match what:
                case "score":
                    client.score(PURCHASE)
                case "score and record":
                    client.score(PURCHASE, record=True)
                case "batch":
                    client.score_batch([pb.ScoreRequest(purchase=PURCHASE)] * 5)
                case "record":
                    client.record([EVENT])
                case "lineup":
                    client.lineup()
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return Code.OK


@contextmanager
def guarded(folder: Path, *roles: Role, **sections: dict[str, object]) -> Iterator[tuple[App, Identity, Path]]:
    """Run a service that knows one caller; gives it, who the caller is, and the file."""
    path, token = folder / "callers.toml", new_token()
    write_callers(path, make_entry("shop", token, *roles))
    access: dict[str, object] = {"callers_path": path, "poll_ms": 20}
    with serving(settings_in(folder, access=access, **sections)) as app:
        yield app, Identity(token), path


@pytest.mark.parametrize(
    ("roles", "allowed"),
    [
        (("score",), {"score", "batch"}),
        (("record",), {"record"}),
        (("score", "record"), {"score", "batch", "record", "score and record"}),
        (("read",), {"lineup"}),
        (("admin",), set()),
    ],
)
def test_a_caller_may_do_what_its_roles_say(tmp_path: Path, roles: tuple[Role, ...], allowed: set[str]) -> None:
    """On every method, whichever way it is served; `record=true` needs both roles."""
    methods = ("score", "score and record", "batch", "record", "lineup")
    with guarded(tmp_path, *roles) as (app, shop, _):
        codes = {what: asked(app, shop, what) for what in methods}
    assert codes == {what: Code.OK if what in allowed else Code.PERMISSION_DENIED for what in methods}


def test_strangers_get_nothing_but_health(tmp_path: Path) -> None:
    """No token or a wrong one is UNAUTHENTICATED on every method; probes go on."""
    with guarded(tmp_path, "score") as (app, _, _):
        for stranger in (Identity(), Identity("fraud_wrong")):
            assert {asked(app, stranger, what) for what in ("score", "batch", "record", "lineup")} == {
                Code.UNAUTHENTICATED
            }
        assert problem(f"127.0.0.1:{app.server.port}") == ""


def test_a_revoked_token_ends_without_a_restart(tmp_path: Path) -> None:
    """And a new one begins."""
    with guarded(tmp_path, "score") as (app, shop, path):
        assert asked(app, shop) is Code.OK
        token = new_token()
        write_callers(path, make_entry("shop", token, "score"))
        wait_until(lambda: asked(app, shop) is Code.UNAUTHENTICATED)
        assert asked(app, Identity(token)) is Code.OK


def test_a_rate_holds_over_calls_and_batches(tmp_path: Path) -> None:
    """A batch of five takes five."""
    with guarded(tmp_path, "score") as (app, _, path):
        token = new_token()
        write_callers(path, make_entry("slow", token, "score", calls_per_s=0.01))
        slow = Identity(token)
        wait_until(lambda: asked(app, slow, "batch") is Code.OK)
        assert {asked(app, slow), asked(app, slow, "batch")} == {Code.RESOURCE_EXHAUSTED}


def test_tls_protects_every_method(tmp_path: Path) -> None:
    """With certificates a client that trusts the authority is served on all ways; plain text is not."""
    authority = Authority(tmp_path)
    server = authority.issue("server")
    tls: dict[str, object] = {"certificate_path": server.certificate, "key_path": server.key}
    with guarded(tmp_path, "score", "record", "read", tls=tls) as (app, shop, _):
        known = Identity(shop.token, authority.path)
        assert {asked(app, known, what) for what in ("score", "score and record", "batch", "record", "lineup")} == {
            Code.OK
        }
        assert asked(app, shop) is Code.UNAVAILABLE


def test_a_client_certificate_is_a_caller(tmp_path: Path) -> None:
    """Under mutual TLS a certificate's name finds its roles, on the lane and beside it."""
    authority = Authority(tmp_path)
    server, shop = authority.issue("server"), authority.issue("shop.example.com", client=True)
    other = authority.issue("other.example.com", client=True)
    path = tmp_path / "callers.toml"
    path.write_text('[[caller]]\nname = "shop"\ncertificate = "shop.example.com"\nroles = ["score"]\n', "utf-8")
    tls: dict[str, object] = {
        "certificate_path": server.certificate,
        "key_path": server.key,
        "client_ca_path": authority.path,
    }
    with serving(settings_in(tmp_path, access={"callers_path": path}, tls=tls)) as app:
        known, unknown = (Identity("", authority.path, *one) for one in (shop, other))
        assert [asked(app, known, what) for what in ("score", "batch", "record")] == [
            Code.OK,
            Code.OK,
            Code.PERMISSION_DENIED,
        ]
        assert [asked(app, unknown, what) for what in ("score", "batch")] == [Code.UNAUTHENTICATED] * 2


def test_an_open_port_without_protection_is_refused(tmp_path: Path) -> None:
    """The service does not start, rather than serve strangers."""
    settings: Settings = settings_in(tmp_path, server={"listen": "0.0.0.0:0"})
    with pytest.raises(BadSetting, match="can be reached from other machines"):
        App(settings)


def test_a_traced_call_arrives_at_the_collector(tmp_path: Path) -> None:
    """A call with a sampled traceparent becomes spans under the caller's; no id of the purchase is in them."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with (
        collector() as (endpoint, got),
        serving(settings_in(tmp_path, tracing={"endpoint": endpoint, "ratio": 0.0})) as app,
    ):
        with grpc.insecure_channel(f"127.0.0.1:{app.server.port}") as channel:
            score: Any = channel.unary_unary("/fraud.v1.FraudScoring/Score")
            secret = pb.Purchase(purchase_id="p-5ecret", user_id="u-5ecret", amount_minor=1)
            request = pb.ScoreRequest(purchase=secret).SerializeToString()
            for sampled in ("00", "01"):
                score(request, timeout=10, metadata=[("traceparent", f"00-{trace}-00f067aa0ba902b7-{sampled}")])
        wait_until(lambda: bool(got))
    spans = got[0].resource_spans[0].scope_spans[0].spans
    assert [span.name for span in spans] == ["wait", "read", "score", "reply", "fraud.v1.FraudScoring/Score"]
    assert {span.trace_id.hex() for span in spans} == {trace}
    assert "5ecret" not in str(got)


def test_a_refused_call_is_logged_with_its_request_id(tmp_path: Path) -> None:
    """One line tells who was refused what and why, and nothing of what was sent."""
    path, token = tmp_path / "callers.toml", new_token()
    write_callers(path, make_entry("shop", token, "score"))
    with running(tmp_path, 1, FRAUD_ACCESS__CALLERS_PATH=str(path)) as service:
        with grpc.insecure_channel(service.target) as channel:
            score: Any = channel.unary_unary("/fraud.v1.FraudScoring/Score")
            card = pb.Purchase(purchase_id="p-5ecret", user_id="u-5ecret", card_hash="4111111111111111")
            metadata = [("authorization", f"Bearer {token}"), ("x-request-id", "r-77")]
            with pytest.raises(grpc.RpcError) as refused:
                score(pb.ScoreRequest(purchase=card).SerializeToString(), timeout=10, metadata=metadata)
        assert refused.value.code() is Code.INVALID_ARGUMENT
        assert service.stop() == 0
        log = service.log()
    (line,) = [one for one in map(json.loads, log.splitlines()) if one["event"] == "call refused"]
    assert (line["code"], line["caller"], line["request_id"]) == ("INVALID_ARGUMENT", "shop", "r-77")
    assert "card_hash" in line["reason"]
    assert not [secret for secret in ("5ecret", "4111111111111111", token) if secret in log]
