"""The health of a running service, asked over gRPC: for probes of containers, which ask every few seconds.

`python -m service.health` asks by itself and imports gRPC alone: 0.16 s of CPU, a fifth of what `python -m service
health` takes, which is the same with the whole command line around it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.errors import BadSetting
from service.identity import Identity

TARGET: Final = "127.0.0.1:50051"

TIMEOUT_S: Final = 3.0
"""Longest wait for one answer, connection and all."""

PAUSE_S: Final = 0.2
"""Wait between two looks at a service that is being waited for."""

UNAVAILABLE: Final = 5
"""Exit code, as `service.exit_codes` names it, which this module does without."""


def problem(target: str, service: str = "", wait_s: float = 0.0, identity: Identity | None = None) -> str:
    """Return why a service does not serve, in a few words; "" when it does.

    `service` is one of gRPC's health protocol: "" is the process, `fraud.v1.FraudScoring` also wants a live model.
    Looks again until it serves or `wait_s` are over; each look takes at most `TIMEOUT_S`. `identity` None takes what
    the environment tells. Raises BadSetting when a file of it cannot be read.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would say of a failed try comes back as the reason
    identity = Identity.from_environment() if identity is None else identity
    by_s = time.monotonic() + wait_s
    while (found := _look(target, service, identity)) and time.monotonic() + PAUSE_S < by_s:
        time.sleep(PAUSE_S)
    return found


def _look(target: str, service: str, identity: Identity) -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    with identity.channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S, metadata=identity.metadata)
        except grpc.RpcError as error:
            return error.details() or error.code().name
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return "" if answer.status == health_pb2.HealthCheckResponse.SERVING else f"it is {status}"


def main() -> None:
    """Ask once; exits 0 when it serves and 5 when not."""
    parser = argparse.ArgumentParser(prog="python -m service.health", description="Ask a service for its health.")
    parser.add_argument("--target", default=TARGET, help="host:port of the service")
    parser.add_argument("--service", default="", help="name in gRPC's health protocol; fraud.v1.FraudScoring: a model")
    asked = parser.parse_args()
    try:
        found = problem(asked.target, asked.service)
    except BadSetting as error:
        found = str(error)
    if found:
        sys.stderr.write(f"{asked.target}: {found}\n")
        sys.exit(UNAVAILABLE)


if __name__ == "__main__":
    main()
