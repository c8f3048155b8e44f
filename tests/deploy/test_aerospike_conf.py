"""The configuration of Aerospike: a real server starts with it, and the service can live on it."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from service.store.opening import open_store
from tests.asd import free_ports, installed
from tests.deploy.manifests import CLUSTER, DEPLOY, settings
from tests.running import wait_until

ALONE = DEPLOY / "aerospike" / "aerospike.conf"


def without_comments(path: Path) -> list[str]:
    """Return the lines that the server reads."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_the_cluster_differs_by_being_one() -> None:
    """One node and three are configured alike, but for copies and how nodes find one another."""
    alone, together = without_comments(ALONE), without_comments(CLUSTER / "aerospike.conf")
    seeds = [line for line in together if line.startswith("mesh-seed-address-port ")]
    assert [line for line in together if line not in seeds] == [
        line.replace("replication-factor 1", "replication-factor 2") for line in alone
    ]


def test_a_server_starts_with_it_and_the_service_can_use_it(tmp_path: Path) -> None:
    """Every name in it is known to the server, and the store's own check finds nothing to say."""
    if not installed():
        pytest.skip("asd, the server of Aerospike, is not on the PATH")
    ports = dict(zip(("3000", "3001", "3002", "3003"), free_ports(4), strict=True))
    for name in ("smd", "udf", "data"):
        (tmp_path / name).mkdir()
    conf = "\n".join(without_comments(ALONE)).replace("/opt/aerospike/data", str(tmp_path / "data"))
    conf = re.sub(r"^port (\d+)$", lambda found: f"port {ports[found[1]]}", conf, flags=re.MULTILINE)
    conf = conf.replace("address any", "address 127.0.0.1").replace("filesize 32G", "filesize 1G")
    conf = conf.replace("proto-fd-max 4096", f"proto-fd-max 1024\nwork-directory {tmp_path}")
    (tmp_path / "aerospike.conf").write_text(f"{conf}\nmod-lua {{\nuser-path {tmp_path}/udf\n}}\n")
    with (tmp_path / "asd.log").open("wb") as log:
        command = ["asd", "--foreground", "--config-file", str(tmp_path / "aerospike.conf")]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    hosts = f'["127.0.0.1:{ports["3000"]}"]'
    store = open_store(settings(DEPLOY / "service.toml", {"FRAUD_STORE__AEROSPIKE__HOSTS": hosts}))
    try:
        wait_until(lambda: not store.check() or server.poll() is not None, limit_s=30)
        assert store.check() == "", (tmp_path / "asd.log").read_text()
    finally:
        store.close()
        server.send_signal(signal.SIGTERM)
        server.wait(60)
