"""Before a test: look whether the service is there with a model, and give its customers a history.

It speaks to the service like any client and prints one line of JSON; a process of its own, as greenlets and gRPC
do not go together.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import grpc

from loadtest.line import Target
from loadtest.mix import Mix, history
from service.pb import fraud_pb2 as pb
from service.pb import fraud_pb2_grpc

BATCH: Final = 500
TIMEOUT_S: Final = 30.0
READY_S: Final = 5.0
"""How long a service that cannot be reached is waited for."""


def prepare(target: Target, mix: Mix, now_ms: int) -> dict[str, Any]:
    """Record the population's history, and return what the service has live; "problem" says why it cannot be tested.

    Cost: about a second for ten thousand purchases; what was recorded before costs a look.
    """
    channel = _channel(target)
    metadata = target.metadata()
    ingest = fraud_pb2_grpc.EventIngestStub(channel)  # type: ignore[no-untyped-call]
    models = fraud_pb2_grpc.ModelsStub(channel)  # type: ignore[no-untyped-call]
    try:
        lineup = _lineup(models, metadata)
        if not any(worker.answer for worker in lineup.workers):
            return {"problem": f"no model is live at {target.address}: promote one, or serve what `make run` left"}
        begun_s = time.monotonic()
        for request in history(mix, now_ms, BATCH):
            ingest.Record(request, timeout=TIMEOUT_S, metadata=metadata)
    except grpc.RpcError as error:
        return {"problem": f"{target.address} answers {error.code().name}: {error.details()}"}
    finally:
        channel.close()
    return {
        "workers": len(lineup.workers),
        "answer": sorted({version for worker in lineup.workers for version in worker.answer}),
        "seconds": time.monotonic() - begun_s,
    }


def _lineup(models: fraud_pb2_grpc.ModelsStub, metadata: tuple[tuple[str, str], ...] | None) -> pb.GetLineupResponse:
    """Return what is live, as soon as there is a connection. Raises grpc.RpcError."""
    request = pb.GetLineupRequest()
    lineup: pb.GetLineupResponse
    try:
        lineup = models.GetLineup(request, timeout=READY_S, metadata=metadata, wait_for_ready=True)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
        # A call that waits for a connection does not say why there is none; one that does not wait does.
        lineup = models.GetLineup(request, timeout=READY_S, metadata=metadata)
    return lineup


def _channel(target: Target) -> grpc.Channel:
    if not target.ca_file:
        return grpc.insecure_channel(target.address)
    roots = Path(target.ca_file).read_bytes()
    return grpc.secure_channel(target.address, grpc.ssl_channel_credentials(roots))


def main() -> None:
    """Do as the one line of input says."""
    plain = json.loads(sys.stdin.readline())
    found = prepare(Target(**plain["target"]), Mix(**plain["mix"]), int(time.time() * 1000))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
