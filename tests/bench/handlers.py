"""What a score is measured against: handlers on a standard threaded gRPC server that do less.

    python -m tests.bench.handlers empty
    python -m tests.bench.handlers bare --store 127.0.0.1:3000 --job job.json --threads 8

`empty` answers with constant bytes. `bare` does one batch read of the records that a score of the same purchase
reads, and one call of the same model on a constant row, and nothing else: it does not even parse the request.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc

EMPTY_REPLY: Final = bytes(60)
SCORE: Final = "/fraud.v1.FraudScoring/Score"
SCORE_BATCH: Final = "/fraud.v1.FraudScoring/ScoreBatch"


class Job(NamedTuple):
    """What the bare handler does: these records, and this row through this model."""

    keys: list[tuple[str, str, str]]
    bins: list[str]
    row: list[float]
    model: str

    def write(self, path: Path) -> Path:
        """Write it for `bare` to read."""
        path.write_text(json.dumps(self._asdict()), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**values, "keys": [tuple(key) for key in values["keys"]]})


def serve(behaviour: Any, threads: int) -> None:
    """Serve one behaviour as Score until killed; tells the port on its first line."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(behaviour)
    _, service, method = SCORE.split("/")
    services = [grpc.method_handlers_generic_handler(service, {method: handler})]
    server = grpc.server(ThreadPoolExecutor(threads), handlers=services, maximum_concurrent_rpcs=256)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"listening on port {port}\n")
    sys.stdout.flush()
    server.wait_for_termination()


def serve_bare(store: str, job: Job, threads: int) -> None:
    """Serve one batch read and one call of the model."""
    import aerospike  # noqa: PLC0415  an empty handler has no store
    import aerospike_helpers.batch.records  # noqa: F401, PLC0415  its lazy import in two threads at once has crashed

    from service.registry.booster import Booster  # noqa: PLC0415
    from service.settings import AerospikeSettings  # noqa: PLC0415
    from service.store.aerospike_client import config_of  # noqa: PLC0415

    settings = AerospikeSettings(hosts=(store,), read_timeout_ms=1000, read_socket_timeout_ms=1000)
    client = aerospike.client(config_of(settings))
    booster = Booster(Path(job.model).read_bytes())
    keys, bins, row = job.keys, job.bins, job.row
    batch_read, raw_score = client.batch_read, booster.raw_score

    def bare(_request: bytes, _context: object) -> bytes:
        batch_read(keys, bins)
        raw_score(row)
        return EMPTY_REPLY

    found = sum(record.result == 0 for record in batch_read(keys, bins).batch_records)
    assert found == len(keys) - 1, f"all profiles and no event of the purchase, not {found} records"
    serve(bare, threads)


def main() -> None:
    """Serve what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("empty", "bare"))
    parser.add_argument("--store", default="127.0.0.1:3000", help="host:port of the Aerospike server")
    parser.add_argument("--job", type=Path, help="what `bare` does, as `Job.write` wrote it")
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    if options.what == "empty":
        serve(lambda *_: EMPTY_REPLY, options.threads)
    else:
        serve_bare(options.store, Job.read(options.job), options.threads)


if __name__ == "__main__":
    main()
