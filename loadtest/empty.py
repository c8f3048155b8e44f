"""The empty handler: a standard gRPC server that answers at once, whatever it is asked.

What it cannot do in time, nothing on this machine could: the service is judged beside it, in the same seconds.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

REPLY: Final = bytes(60)
THREADS: Final = 4


def main() -> None:
    """Serve on a free port of the loopback interface, say which, and end with the input."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda *_: REPLY)
    service = grpc.method_handlers_generic_handler("fraud.v1.FraudScoring", {"Score": handler})
    server = grpc.server(ThreadPoolExecutor(THREADS), handlers=[service], maximum_concurrent_rpcs=256)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop(1.0).wait()


if __name__ == "__main__":
    main()
