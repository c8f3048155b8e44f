"""The gRPC server: threads, bounds, health and reflection around the servicer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.errors import BadSetting
from service.pb import fraud_pb2 as pb
from service.servicer import Servicer
from service.settings import ServerSettings

SCORING = pb.DESCRIPTOR.services_by_name["FraudScoring"].full_name
INGEST = pb.DESCRIPTOR.services_by_name["EventIngest"].full_name
MODELS = pb.DESCRIPTOR.services_by_name["Models"].full_name


class Server:
    """A listening server; health is per service: scoring is SERVING once a model is live."""

    def __init__(self, servicer: Servicer, settings: ServerSettings) -> None:
        """Bind the port; `start` begins to answer. Raises BadSetting when the port cannot be had."""
        self._settings = settings
        self._server = grpc.server(
            ThreadPoolExecutor(settings.threads, thread_name_prefix="call"),
            handlers=servicer.handlers(),
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000),
                ("grpc.max_connection_age_grace_ms", settings.drain_s * 1000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
            maximum_concurrent_rpcs=settings.max_concurrent_calls,
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.reflection:
            names = (SCORING, INGEST, MODELS, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        try:
            self.port: int = self._server.add_insecure_port(settings.listen)
        except RuntimeError as error:
            message = f"setting server.listen: cannot listen on {settings.listen}"
            raise BadSetting(message) from error

    def start(self) -> None:
        """Begin to answer; scoring is NOT_SERVING until `set_scoring`."""
        self._server.start()
        for service in ("", INGEST, MODELS):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self.set_scoring(serving=False)

    def set_scoring(self, *, serving: bool) -> None:
        """Tell health checks whether a model is live."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self._health.set(SCORING, status)

    def drain(self) -> None:
        """Turn NOT_SERVING, refuse new calls, let those in hand finish within the set bound."""
        self._health.enter_graceful_shutdown()
        self._server.stop(self._settings.drain_s).wait()
