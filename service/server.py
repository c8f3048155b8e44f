"""The gRPC server: threads, bounds, health and reflection around the servicer."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.edge import Edge
from service.edge_settings import ServerSettings
from service.errors import BadSetting
from service.guard import Guard
from service.lane import Lane
from service.pb import fraud_pb2 as pb
from service.scheduling import give_way
from service.servicer import Servicer
from service.settings import Settings
from service.tls import Certificates

SCORING = pb.DESCRIPTOR.services_by_name["FraudScoring"].full_name
INGEST = pb.DESCRIPTOR.services_by_name["EventIngest"].full_name
MODELS = pb.DESCRIPTOR.services_by_name["Models"].full_name

SETTLE_S: Final = 0.1
"""Seconds between giving up the port and telling callers to go: connections that were being made are made."""

MAX_UNREQUESTED_S: Final = 1
"""Seconds, a whole number, after which a call that none of our threads has seen yet is cancelled.

gRPC keeps calls until they are asked for, in a queue that has no other bound: whoever begins calls, takes them back
and connects anew fills the memory with 12 kB for each, faster than they can be refused; 30 seconds, if nobody says.
Of more than some 15,000 a second it does not keep up with that: what bounds memory then is `MemoryBound`.
A caller's own bound is far less than this second, and one that is cancelled may ask again.
"""

_DESCRIPTORS: Final = Path("/proc/self/fd")


class Server:
    """A listening server; health is per service: scoring is SERVING once a model is live."""

    def __init__(
        self, servicer: Servicer, settings: Settings, edge: Edge, certificates: Certificates | None = None
    ) -> None:
        """Get what it needs; nobody can connect before `start`. Without certificates the port is not encrypted."""
        self._listen, self._drain_s = settings.server.listen, settings.server.drain_s
        self._certificates = certificates
        self.port = 0
        """The port, known once started."""
        server = settings.server
        self._server = grpc.server(
            ThreadPoolExecutor(server.threads, thread_name_prefix="call", initializer=give_way),
            handlers=servicer.handlers(),
            interceptors=[Guard(edge, self._refuses)],
            options=core_options(server),
            maximum_concurrent_rpcs=server.max_concurrent_calls,
        )
        method = servicer.lane_method(store_blocks=settings.store.kind == "aerospike")
        self.lane = Lane(self._server, method, server, edge)
        """Where `Score` is served."""
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if server.reflection:
            names = (SCORING, INGEST, MODELS, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    def start(self) -> None:
        """Bind the port and begin to answer at once; scoring is NOT_SERVING until `set_scoring`.

        Raises BadSetting when the port cannot be had.
        """
        try:
            if self._certificates is None:
                self.port = self._server.add_insecure_port(self._listen)
            else:
                self.port = self._server.add_secure_port(self._listen, self._certificates.credentials)
        except RuntimeError as error:
            message = f"setting server.listen: cannot listen on {self._listen}"
            raise BadSetting(message) from error
        self._server.start()
        self.lane.start()
        for service in ("", INGEST, MODELS):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self.set_scoring(serving=False)

    def _refuses(self) -> bool:
        """Tell whether gRPC refuses the call that it is about to serve; asked in its own thread, under its lock."""
        state = self._server._state  # type: ignore[attr-defined]  # noqa: SLF001  see docs/decisions/0016
        refuses: bool = state.active_rpc_count >= state.maximum_concurrent_rpcs
        return refuses

    def set_scoring(self, *, serving: bool) -> None:
        """Tell health checks whether a model is live."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self._health.set(SCORING, status)

    def drain(self) -> None:
        """Turn NOT_SERVING, let new connections go to other workers, then finish the calls in hand within the bound.

        A caller that is told to go connects again at once. Were this worker still listening, the kernel might
        lead it back here, only to be cut off; so the port is given up `SETTLE_S` before callers are told.
        """
        self._health.enter_graceful_shutdown()
        _stop_listening(self.port)
        time.sleep(SETTLE_S)
        self._server.stop(self._drain_s).wait()
        self.lane.stop()


def core_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Return the bounds that gRPC's core keeps by itself; one that it does not know it passes over in silence."""
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_concurrent_streams", settings.max_calls_per_connection),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", settings.drain_s * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.server_max_unrequested_time_in_server", MAX_UNREQUESTED_S),
    ]


def _stop_listening(port: int) -> None:
    """Take this process out of those that listen on a port; its connections stay. Linux alone knows the way.

    gRPC closes port and connections in one, so the socket is looked for among the descriptors of the process.
    """
    for entry in list(_DESCRIPTORS.iterdir()) if _DESCRIPTORS.is_dir() else ():
        with suppress(OSError):
            if not entry.readlink().name.startswith("socket:"):
                continue
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as one:
            internet = one.family in {socket.AF_INET, socket.AF_INET6}
            if internet and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and one.getsockname()[1] == port:
                one.shutdown(socket.SHUT_RD)
