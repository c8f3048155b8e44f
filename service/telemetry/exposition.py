"""The port that Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from service.errors import BadSetting
from service.settings import Settings
from service.telemetry.files import Files


class Exposition:
    """Serves what collectors tell, and the gauges in files, over HTTP at `/metrics`."""

    def __init__(self, settings: Settings, collector: Collector) -> None:
        """Begin to answer. Raises BadSetting when the port cannot be had."""
        registry = CollectorRegistry()
        registry.register(collector)
        registry.register(Files(settings.metrics_files_path))
        host, port = settings.metrics_host, settings.metrics_port
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise BadSetting(f"setting metrics_port: cannot listen on {host}:{port}: {error.strerror}") from error

    @classmethod
    def of(cls, settings: Settings, collector: Collector) -> Self | None:
        """Return what the settings ask for; None when metrics are off."""
        return cls(settings, collector) if settings.metrics_port else None

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Give the port up; an answer under way is finished."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def exposed(settings: Settings, collector: Collector) -> Iterator[Exposition | None]:
    """Serve metrics for as long as the block runs, if the settings ask for it. Raises BadSetting."""
    exposition = Exposition.of(settings, collector)
    try:
        yield exposition
    finally:
        if exposition is not None:
            exposition.close()
