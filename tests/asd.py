"""A scratch Aerospike server for tests: starts, stalls, resumes and stops one `asd` process."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import aerospike
from aerospike import exception

NAMESPACE: Final = "profiles"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0

_CONFIG: Final = """
service {{
	cluster-name fraud-test
	proto-fd-max {proto_fd_max}
	work-directory {directory}
}}
mod-lua {{
	user-path {directory}/udf
}}
logging {{
	console {{
		context any warning
	}}
}}
network {{
	service {{
		address 127.0.0.1
		port {port}
		access-address 127.0.0.1
		access-port {access_port}
	}}
	heartbeat {{
		mode mesh
		address 127.0.0.1
		port {heartbeat_port}
		interval 150
		timeout 10
	}}
	fabric {{
		address 127.0.0.1
		port {fabric_port}
	}}
}}
namespace {namespace} {{
	replication-factor 1
	default-ttl 0
	nsup-period {nsup_period_s}
	storage-engine memory {{
		{storage}
	}}
}}
"""


def installed() -> bool:
    """Tell whether there is an `asd` on the PATH."""
    return shutil.which("asd") is not None


class Asd:
    """One server in memory on free ports of 127.0.0.1; its data goes when it stops.

    `nsup_period_s` 0 makes a server that refuses records with a life, which stores must report. `keeps` makes one
    that has its data again when it is started after `stop`.
    """

    def __init__(
        self, directory: Path, *, nsup_period_s: int = 60, data_size: str = "512M", keeps: bool = False
    ) -> None:
        """Take ports, and write the configuration into a directory of its own; nothing runs yet."""
        self._directory = directory
        self._ports = free_ports(3)
        self._nsup_period_s = nsup_period_s
        self._storage = f"data-size {data_size}"
        if keeps:
            self._storage = f"file {directory}/data\n\t\tfilesize {data_size}\n\t\tflush-max-ms 10"
        self.port = self._ports[0]
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("smd", "udf"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.reached_at(self.port)

    def reached_at(self, access_port: int) -> None:
        """Let clients be told another port than its own, that of a proxy; holds from the next start on."""
        _, heartbeat_port, fabric_port = self._ports
        directory = self._directory
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        config = _CONFIG.format(
            directory=directory,
            port=self.port,
            heartbeat_port=heartbeat_port,
            fabric_port=fabric_port,
            namespace=NAMESPACE,
            access_port=access_port,
            nsup_period_s=self._nsup_period_s,
            storage=self._storage,
            # A server that may open more files than the shell allows refuses to start.
            proto_fd_max=min(4096, descriptors - 64),
        )
        (directory / "aerospike.conf").write_text(config)

    @property
    def host(self) -> str:
        """Return `host:port` as the settings want it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, and return when it takes writes; raises RuntimeError with its log otherwise."""
        with (self._directory / "asd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["asd", "--foreground", "--config-file", str(self._directory / "aerospike.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        # The log says that it is ready before the cluster has formed, so ask for what we want: a write.
        while not _takes_writes(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                message = f"asd did not start:\n{(self._directory / 'asd.log').read_text()[-2000:]}"
                raise RuntimeError(message)
            time.sleep(0.1)

    def stall(self) -> None:
        """Stop the server in its tracks: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stalled server go on."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Stall the server for as long as the block lasts."""
        self.stall()
        try:
            yield
        finally:
            self.resume()

    def stop(self) -> None:
        """End the server, and with it its data; does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        os.kill(process.pid, signal.SIGCONT)
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)


def _takes_writes(port: int) -> bool:
    try:
        client = aerospike.client({"hosts": [("127.0.0.1", port)], "connect_timeout": 500})
        with closing(client):
            client.put((NAMESPACE, "ready", "ready"), {"ready": 1})
    except exception.AerospikeError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
