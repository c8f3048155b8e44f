"""A TCP proxy that is slow, cuts connections or refuses them on command: the network between a service and its store.

    python -m tests.proxy FROM_PORT TO_PORT

It runs in a process of its own, so that whoever makes the load does not slow it down, and takes commands on its
standard input: `delay MS`, `cut`, `refuse 0|1`; each is answered by a line when it holds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.asd import free_ports

_COMMAND: Final = (sys.executable, "-m", "tests.proxy")


class Proxy:
    """A proxy on a free port of 127.0.0.1 to another port, and the handle to make it misbehave."""

    def __init__(self, to_port: int) -> None:
        """Take a port; nobody listens yet."""
        (self.port,) = free_ports(1)
        self._to_port = to_port
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin to listen."""
        command = (*_COMMAND, str(self.port), str(self._to_port))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answered()

    def delay(self, delay_ms: int) -> None:
        """Let every answer come so much later."""
        self._tell(f"delay {delay_ms}")

    def cut(self) -> None:
        """Break all connections that there are; new ones are let in."""
        self._tell("cut")

    def refuse(self, *, refuse: bool) -> None:
        """Close new connections at once, or let them in again."""
        self._tell(f"refuse {int(refuse)}")

    @contextmanager
    def delayed(self, delay_ms: int) -> Iterator[None]:
        """Delay answers for as long as the block lasts."""
        self.delay(delay_ms)
        try:
            yield
        finally:
            self.delay(0)

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Let nothing through for as long as the block lasts."""
        self.refuse(refuse=True)
        self.cut()
        try:
            yield
        finally:
            self.refuse(refuse=False)

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _tell(self, command: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._answered()

    def _answered(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the proxy ended")


# --- the process -----------------------------------------------------------------------------------


class _Way:
    """What all connections of one proxy share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, to_port: int) -> None:
        self.loop = loop
        self.to_port = to_port
        self.delay_s = 0.0
        self.refusing = False
        self.open: set[_End] = set()
        self.connecting: set[asyncio.Task[object]] = set()


class _End(asyncio.Protocol):
    """One end of a connection: the server's when it is given the caller's as `other`.

    What it receives goes to the other end, in its order, when it is due.
    """

    def __init__(self, way: _Way, other: _End | None = None) -> None:
        self._way = way
        self._other = other
        self._faces_server = other is not None
        self._transport: asyncio.Transport | None = None
        self._due: deque[tuple[float, bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take in a new connection, and make its other half."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._way.open.add(self)
        if self._other is not None:
            self._other.join(self)
        elif self._way.refusing:
            transport.abort()
        else:
            task = self._way.loop.create_task(self._connect())
            self._way.connecting.add(task)
            task.add_done_callback(self._way.connecting.discard)

    def join(self, other: _End) -> None:
        """Send what came before there was another end."""
        self._other = other
        self._send_due()

    def data_received(self, data: bytes) -> None:
        """Send data on when it is due."""
        delay_s = self._way.delay_s if self._faces_server else 0.0
        if not delay_s and not self._due and self._other is not None:
            self._other.write(data)
            return
        self._due.append((self._way.loop.time() + delay_s, data))
        self._way.loop.call_later(delay_s, self._send_due)

    def connection_lost(self, error: Exception | None) -> None:
        """Break the other half as well."""
        del error
        self._way.open.discard(self)
        if self._other is not None:
            self._other.abort()

    def write(self, data: bytes) -> None:
        """Send."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Break it with a reset."""
        if self._transport is not None:
            self._transport.abort()

    def _send_due(self) -> None:
        now_s = self._way.loop.time()
        # The clock's step: a timer may come that much early.
        while self._due and self._other is not None and self._due[0][0] <= now_s + 1e-3:
            self._other.write(self._due.popleft()[1])

    async def _connect(self) -> None:
        try:
            await self._way.loop.create_connection(lambda: _End(self._way, self), "127.0.0.1", self._way.to_port)
        except OSError:
            self.abort()


def _obey(way: _Way, line: str) -> None:
    match line.split():
        case ["delay", delay_ms]:
            way.delay_s = int(delay_ms) / 1000
        case ["cut"]:
            for end in list(way.open):
                end.abort()
        case ["refuse", refuse]:
            way.refusing = refuse == "1"


async def _run(from_port: int, to_port: int) -> None:
    loop = asyncio.get_running_loop()
    way = _Way(loop, to_port)
    server = await loop.create_server(lambda: _End(way), "127.0.0.1", from_port)
    async with server:
        _answer()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            _obey(way, line)
            _answer()


def _answer() -> None:
    sys.stdout.write("ok\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2])))
