"""The gate: who is let in, to what, and how often; and a file of callers that changes while calls come."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.access import NEEDS, Bucket, Gate
from service.callers import ROLES, Entry, Role, new_token
from service.edge_settings import AccessSettings
from service.errors import BadSetting, FraudError, PermissionDenied, RateLimited, Unauthenticated
from service.metrics import Metrics
from service.pb import fraud_pb2 as pb
from tests.service.callers import make_entry, write_callers

SCORE = "/fraud.v1.FraudScoring/Score"
RECORD = "/fraud.v1.EventIngest/Record"
LINEUP = "/fraud.v1.Models/GetLineup"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


class Doorway:
    """A gate, the file behind it, and a token for each role."""

    def __init__(self, folder: Path, *entries: Entry, workers: int = 1, **settings: object) -> None:
        """Write a file with a caller for each role, and those given."""
        self.path = folder / "callers.toml"
        self.tokens: dict[Role, str] = {role: new_token() for role in ROLES}
        self.metrics = Metrics()
        self.write(*(make_entry(role, token, role) for role, token in self.tokens.items()), *entries)
        values = {"callers_path": self.path, **settings}
        gate = Gate.of(AccessSettings(**values), workers, self.metrics)
        assert gate is not None
        self.gate = gate

    def write(self, *entries: Entry) -> None:
        """Replace the file."""
        write_callers(self.path, *entries)

    def ask(self, method: str, token: str = "", common_name: str = "") -> str:
        """Return whom the gate lets in, or the name of the error."""
        metadata = [("user-agent", "tests"), *([("authorization", f"Bearer {token}")] if token else [])]
        try:
            return self.gate.admit(method, metadata, lambda: peer_named(common_name)).name
        except FraudError as error:
            return type(error).__name__

    def refused(self, reason: str) -> float | None:
        """Return how many calls were refused for a reason."""
        return self.metrics.registry.get_sample_value("fraud_refused_total", {"reason": reason})


def peer_named(common_name: str) -> Mapping[str, Sequence[bytes]]:
    """Return what TLS tells of a client; "" = it showed no certificate."""
    return {"x509_common_name": [common_name.encode()]} if common_name else {"transport_security_type": [b"ssl"]}


def test_no_file_of_callers_is_no_gate() -> None:
    """Where nobody is asked, a call costs nothing."""
    assert Gate.of(AccessSettings(), 1, Metrics()) is None


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_its_methods_and_no_others(tmp_path: Path, role: Role) -> None:
    """No role implies another."""
    doorway = Doorway(tmp_path)
    for method, needed in {**NEEDS, REFLECTION: "admin", "/unheard.Of/Method": "admin"}.items():
        expected = "" if method.startswith("/grpc.health") else role if needed == role else "PermissionDenied"
        assert doorway.ask(method, doorway.tokens[role]) == expected, method


def test_every_method_of_ours_needs_a_role() -> None:
    """No method of the contract is open because somebody forgot it."""
    ours = {
        f"/{service.full_name}/{method.name}"
        for service in pb.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert ours == {method for method in NEEDS if method.startswith("/fraud.v1.")}


def test_what_is_open_is_a_setting(tmp_path: Path) -> None:
    """Health is open to anybody unless set otherwise, and the lineup is not."""
    assert (Doorway(tmp_path).ask(HEALTH), Doorway(tmp_path).ask(LINEUP)) == ("", "Unauthenticated")
    closed = Doorway(tmp_path, open=("lineup",))
    assert (closed.ask(HEALTH), closed.ask(LINEUP)) == ("Unauthenticated", "")
    assert closed.ask(HEALTH, closed.tokens["read"]) == "read"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer fraud_wrong",
        "Basic dXNlcjpwYXNz",
        "{token}",
        "Bearer  {token}",
        "Bearer é\u20ac",
    ],
)
def test_what_is_no_token_lets_nobody_in(tmp_path: Path, authorization: str) -> None:
    """Anything but a known token after "Bearer " is refused, in the same words."""
    doorway = Doorway(tmp_path)
    metadata = [("authorization", authorization.format(token=doorway.tokens["score"]))]
    with pytest.raises(Unauthenticated, match=r"^the call carries no valid token or client certificate$"):
        doorway.gate.admit(SCORE, metadata, dict)
    assert doorway.refused("unauthenticated") == 1


def test_the_scheme_may_be_written_in_any_case(tmp_path: Path) -> None:
    """RFC 9110: the scheme of `authorization` is case-insensitive."""
    doorway = Doorway(tmp_path)
    assert doorway.gate.admit(SCORE, [("authorization", f"bearer {doorway.tokens['score']}")], dict).name == "score"


def test_a_certificate_is_a_caller_like_a_token(tmp_path: Path) -> None:
    """The common name or a name in the certificate finds its entry; a certificate without one is nobody."""
    entry = Entry(name="checkout", certificate="checkout.example.com", roles=frozenset({"score"}))
    doorway = Doorway(tmp_path, entry)
    assert doorway.ask(SCORE, common_name="checkout.example.com") == "checkout"
    assert doorway.ask(SCORE, common_name="elsewhere.example.com") == "Unauthenticated"
    names = {"x509_common_name": [b"x"], "x509_subject_alternative_name": [b"10.0.0.1", b"checkout.example.com"]}
    assert doorway.gate.admit(SCORE, [], lambda: names).name == "checkout"


def test_a_wrong_token_is_not_excused_by_a_certificate(tmp_path: Path) -> None:
    """Whoever sends a token is judged by it."""
    entry = Entry(name="checkout", certificate="checkout", roles=frozenset({"score"}))
    assert Doorway(tmp_path, entry).ask(SCORE, "fraud_wrong", "checkout") == "Unauthenticated"


def test_tls_is_asked_only_where_it_matters(tmp_path: Path) -> None:
    """A call with a token does not pay for a look at the certificate."""
    doorway = Doorway(tmp_path, Entry(name="checkout", certificate="checkout", roles=frozenset({"score"})))

    def peer() -> Mapping[str, Sequence[bytes]]:
        raise AssertionError("asked")

    metadata = [("authorization", f"Bearer {doorway.tokens['score']}")]
    assert doorway.gate.admit(SCORE, metadata, peer).name == "score"


def test_a_further_role_can_be_asked_for(tmp_path: Path) -> None:
    """`record=true` needs `record` beside `score`."""
    token = new_token()
    doorway = Doorway(tmp_path, make_entry("checkout", token, "score", "record"))
    doorway.gate.require(doorway.gate.admit(SCORE, [("authorization", f"Bearer {token}")], dict), "record")
    alone = doorway.gate.admit(SCORE, [("authorization", f"Bearer {doorway.tokens['score']}")], dict)
    with pytest.raises(PermissionDenied, match=r"^score has not the role record$"):
        doorway.gate.require(alone, "record")
    assert doorway.refused("denied") == 1


def test_a_bucket_gives_its_rate() -> None:
    """A second's worth at once, then what time brings, never more than a second's worth."""
    bucket = Bucket(10.0)
    now_s = time.monotonic()
    assert sum(bucket.take(now_s) for _ in range(20)) == 10
    assert sum(bucket.take(now_s + 0.5) for _ in range(20)) == 5
    assert sum(bucket.take(now_s + 60.0) for _ in range(20)) == 10


def test_a_batch_may_leave_a_debt() -> None:
    """A batch that is larger than the bucket passes, and what comes after it waits for its share."""
    bucket = Bucket(10.0)
    now_s = time.monotonic()
    assert bucket.take(now_s)
    bucket.charge(29)
    assert not bucket.take(now_s + 2.0)
    assert bucket.take(now_s + 2.2)


def test_less_than_one_call_a_second_is_a_rate_too() -> None:
    """A bucket holds at least one call."""
    bucket = Bucket(0.1)
    now_s = time.monotonic()
    assert [bucket.take(now_s), bucket.take(now_s + 5.0), bucket.take(now_s + 10.5)] == [True, False, True]


def test_each_worker_grants_its_share_of_a_rate(tmp_path: Path) -> None:
    """Of a rate over four workers, each grants a quarter, and the caller is told the whole."""
    token = new_token()
    doorway = Doorway(tmp_path, make_entry("checkout", token, "score", calls_per_s=40), workers=4)
    for _ in range(10):
        assert doorway.ask(SCORE, token) == "checkout"
    with pytest.raises(RateLimited, match="checkout may make 40 calls a second"):
        doorway.gate.admit(SCORE, [("authorization", f"Bearer {token}")], dict)
    assert doorway.refused("limited") == 1


def test_tokens_of_one_name_share_its_rate(tmp_path: Path) -> None:
    """A caller whose token is being exchanged has no second rate."""
    old, new = new_token(), new_token()
    entries = [make_entry("checkout", token, "score", calls_per_s=0.001) for token in (old, new)]
    doorway = Doorway(tmp_path, *entries)
    assert [doorway.ask(SCORE, old), doorway.ask(SCORE, new)] == ["checkout", "RateLimited"]


def test_a_changed_file_is_followed(tmp_path: Path) -> None:
    """A new caller is let in and one that was taken out is not, from the next look on."""
    doorway = Doorway(tmp_path)
    token = new_token()
    doorway.write(make_entry("new", token, "score"))
    assert doorway.ask(SCORE, token) == "Unauthenticated"
    doorway.gate.refresh()
    assert (doorway.ask(SCORE, token), doorway.ask(SCORE, doorway.tokens["score"])) == ("new", "Unauthenticated")


def test_a_link_turned_to_another_file_is_followed(tmp_path: Path) -> None:
    """Kubernetes exchanges mounted secrets by turning a link."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one, two = (Doorway(folder) for folder in folders)
    link = tmp_path / "current"
    link.symlink_to(folders[0])
    gate = Gate.of(AccessSettings(callers_path=link / "callers.toml"), 1, Metrics())
    assert gate is not None
    turned = tmp_path / "turned"
    turned.symlink_to(folders[1])
    turned.replace(link)
    gate.refresh()
    assert gate.admit(SCORE, [("authorization", f"Bearer {two.tokens['score']}")], dict).name == "score"
    with pytest.raises(Unauthenticated):
        gate.admit(SCORE, [("authorization", f"Bearer {one.tokens['score']}")], dict)


@pytest.mark.parametrize("content", ["[[caller]]\nname = ", "", None], ids=["half", "empty", "gone"])
def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, content: str | None) -> None:
    """Those whom the last good file named stay; an empty file is a good one, and names nobody."""
    doorway = Doorway(tmp_path)
    if content is None:
        doorway.path.unlink()
    else:
        doorway.path.write_text(content, "utf-8")
    doorway.gate.refresh()
    followed = content == ""
    assert doorway.ask(SCORE, doorway.tokens["score"]) == ("Unauthenticated" if followed else "score")
    assert doorway.metrics.registry.get_sample_value("fraud_access_not_followed") == int(not followed)
    doorway.write(make_entry("score", doorway.tokens["score"], "score"))
    doorway.gate.refresh()
    assert doorway.ask(SCORE, doorway.tokens["score"]) == "score"
    assert doorway.metrics.registry.get_sample_value("fraud_access_not_followed") == 0


def test_a_file_that_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    """A service that is told of callers does not begin without them."""
    with pytest.raises(BadSetting, match=r"callers .*nowhere\.toml: No such file"):
        Gate.of(AccessSettings(callers_path=tmp_path / "nowhere.toml"), 1, Metrics())


def test_what_has_expired_lets_nobody_in(tmp_path: Path) -> None:
    """A token ends at its time, without any change of the file."""
    token, ended = new_token(), new_token()
    soon = datetime.now(UTC) + timedelta(seconds=1)
    doorway = Doorway(
        tmp_path,
        make_entry("soon", token, "score", expires=soon),
        make_entry("ended", ended, "score", expires=soon - timedelta(days=1)),
    )
    assert (doorway.ask(SCORE, token), doorway.ask(SCORE, ended)) == ("soon", "Unauthenticated")
    while datetime.now(UTC) < soon:
        time.sleep(0.05)
    doorway.gate.refresh()
    assert doorway.ask(SCORE, token) == "Unauthenticated"


def test_a_file_that_changes_does_not_refill_a_bucket(tmp_path: Path) -> None:
    """Whoever can cause a reload has no way around its rate."""
    token = new_token()
    entry = make_entry("checkout", token, "score", calls_per_s=0.001)
    doorway = Doorway(tmp_path, entry)
    assert doorway.ask(SCORE, token) == "checkout"
    doorway.write(entry)
    os.utime(doorway.path, ns=(1, 1))
    doorway.gate.refresh()
    assert doorway.ask(SCORE, token) == "RateLimited"
