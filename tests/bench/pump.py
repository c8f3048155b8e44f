"""A generator of gRPC calls with many different bodies: a small HTTP/2 client for one unary method.

h2load repeats one recorded body, so every call finds its profiles in the processor's caches. This one takes a
body for each call; a call costs it about 10 µs, less than any server here needs for one. It keeps to what a
unary call needs: the same stateless header block for each call (literals, no table), a receive window that is
never used up, answers to PING and SETTINGS. Replies are told by their DATA frame: a refused call has none.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Self

from tests.bench.handlers import SCORE

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK: Final = 1
_END_STREAM: Final = 1
_END_HEADERS: Final = 4
_INITIAL_WINDOW_SIZE: Final = 4
_MOST: Final = (1 << 31) - 1
_DEFAULT_WINDOW: Final = 65_535
_HEAD: Final = struct.Struct(">IBI")
_HEAD_BYTES: Final = 9
_GRPC_HEAD_BYTES: Final = 5
_PATIENCE_S: Final = 60.0

MAX_MESSAGE_BYTES: Final = 16_384 - _GRPC_HEAD_BYTES
"""What fits into the one DATA frame that a call sends."""


class Frame(NamedTuple):
    """One frame as it stands in a buffer."""

    kind: int
    flags: int
    stream: int
    begin: int
    end: int


class Done(NamedTuple):
    """What calls came to."""

    elapsed_s: float
    latencies_s: list[float]
    """Of each call: from the instant that it was due (open loop) or sent (closed loop) until its end."""
    failed: int
    """Calls that ended without a reply."""
    replies: list[bytes]
    """The replies, when they were asked for."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return one frame."""
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def frames(buffer: bytes | bytearray) -> Iterator[Frame]:
    """Return the whole frames of a buffer; what follows the last one is not whole yet."""
    at, size = 0, len(buffer)
    while at + _HEAD_BYTES <= size:
        head, flags, stream = _HEAD.unpack_from(buffer, at)
        end = at + _HEAD_BYTES + (head >> 8)
        if end > size:
            return
        yield Frame(head & 0xFF, flags, stream, at + _HEAD_BYTES, end)
        at = end


def header_block(path: str, authority: str, timeout_ms: int = 0) -> bytes:
    """Return the headers of a call, literal and without the table of HPACK: the same bytes for every call.

    The server is told how long its caller waits when `timeout_ms` is above 0.
    """

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    return b"".join(
        (
            b"\x83\x86",  # POST and http, of the static table
            b"\x04" + bytes([len(path)]) + path.encode(),
            b"\x01" + bytes([len(authority)]) + authority.encode(),
            literal(b"content-type", b"application/grpc"),
            literal(b"te", b"trailers"),
            literal(b"grpc-timeout", b"%dm" % timeout_ms) if timeout_ms else b"",
        )
    )


def grpc_message(message: bytes) -> bytes:
    """Return a message as gRPC frames it."""
    return struct.pack(">BI", 0, len(message)) + message


class Connection:
    """One connection, its calls under way, and how they ended."""

    def __init__(self, port: int, path: str = SCORE, *, timeout_ms: int = 0, keep: bool = False) -> None:
        """Connect to a port of this machine; for `timeout_ms` see `header_block`, and `keep` the replies when asked."""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _MOST)
        window = struct.pack(">I", _MOST - _DEFAULT_WINDOW)
        self.socket.sendall(_PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW, 0, 0, window))
        block = header_block(path, f"127.0.0.1:{port}", timeout_ms)
        self._head = _HEAD.pack(len(block) << 8 | _HEADERS, _END_HEADERS, 0)[:5]
        self._block = block
        self._next = 1
        self._buffer = bytearray()
        self._keep = keep
        self._replied: set[int] = set()
        self.waiting: dict[int, float] = {}
        """When each call under way was due, by the number of its stream."""
        self.ended: list[tuple[float, float, bool]] = []
        """Of each call that ended: when it was due, when it ended, and whether it had a reply."""
        self.replies: list[bytes] = []

    def call(self, message: bytes, due_s: float) -> bytes:
        """Return what to send for one call, which counts from now on; raises ValueError for more than a frame takes."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise ValueError(f"{len(message)} bytes do not fit into one frame")
        stream = self._next
        self._next += 2
        self.waiting[stream] = due_s
        number = stream.to_bytes(4, "big")
        size = (len(message) + _GRPC_HEAD_BYTES << 8 | _DATA).to_bytes(4, "big")
        body = b"\x00" + len(message).to_bytes(4, "big") + message
        return b"".join((self._head, number, self._block, size, b"\x01", number, body))

    def receive(self) -> int:
        """Take what came; returns how many calls ended."""
        buffer, ended, whole = self._buffer, 0, 0
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed a connection")
        buffer += data
        now_s = time.monotonic()
        for kind, flags, stream, begin, end in frames(buffer):
            whole = end
            if kind in (_SETTINGS, _PING, _GOAWAY):
                self._answer(kind, flags, bytes(buffer[begin:end]))
                continue
            if kind == _DATA:
                self._replied.add(stream)
                if self._keep:
                    self.replies.append(bytes(buffer[begin + _GRPC_HEAD_BYTES : end]))
            if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                ended += self._end(stream, now_s)
        del buffer[:whole]
        return ended

    def _end(self, stream: int, now_s: float) -> bool:
        """Count a call as ended; False when it had ended before, as one that is reset afterwards has."""
        due_s = self.waiting.pop(stream, None)
        if due_s is None:
            return False
        self.ended.append((due_s, now_s, stream in self._replied))
        self._replied.discard(stream)
        return True

    def _answer(self, kind: int, flags: int, payload: bytes) -> None:
        """Answer what is about the connection."""
        if kind == _GOAWAY:
            raise ConnectionError("the server says goodbye in the middle of a measurement")
        if not flags & _ACK:
            self.socket.sendall(frame(kind, _ACK, 0, payload if kind == _PING else b""))


class Pump:
    """Several connections to one server on this machine; closes them at the end of a `with` block."""

    def __init__(
        self, port: int, connections: int = 8, *, keep: bool = False, path: str = SCORE, timeout_ms: int = 0
    ) -> None:
        """Connect; `keep` the replies when they are to be looked at; for `timeout_ms` see `header_block`."""
        self._connections = [Connection(port, path, timeout_ms=timeout_ms, keep=keep) for _ in range(connections)]
        self._selector = selectors.DefaultSelector()
        for one in self._connections:
            self._selector.register(one.socket, selectors.EVENT_READ, one)

    def __enter__(self) -> Self:
        """Do nothing: it is connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the connections."""
        self._selector.close()
        for one in self._connections:
            one.socket.close()

    def closed(self, messages: Sequence[bytes], in_flight: int = 8) -> Done:
        """Make these calls, so many at once on each connection, the next one as soon as one has ended."""
        waiting = deque(messages)
        begun_s = time.monotonic()
        for one in self._connections:
            self._send(one, waiting, in_flight)
        left = len(messages)
        while left:
            for one in self._ready(_PATIENCE_S):
                ended = one.receive()
                left -= ended
                self._send(one, waiting, ended)
        return self._done(begun_s)

    def open(self, messages: Sequence[bytes], calls_per_s: float) -> Done:
        """Make these calls at a constant rate, whatever becomes of them; each counts from when it was due."""
        begun_s = time.monotonic() + 0.01
        sent = ended = 0
        while ended < len(messages):
            due_s = begun_s + sent / calls_per_s
            pause_s = _PATIENCE_S if sent == len(messages) else due_s - time.monotonic()
            if pause_s > 0:
                for one in self._ready(pause_s):
                    ended += one.receive()
                continue
            one = self._connections[sent % len(self._connections)]
            one.socket.sendall(one.call(messages[sent], due_s))
            sent += 1
        return self._done(begun_s)

    def _ready(self, wait_s: float) -> list[Connection]:
        found = [key.data for key, _ in self._selector.select(wait_s)]
        if not found and wait_s == _PATIENCE_S:
            raise TimeoutError("the server does not answer")
        return found

    @staticmethod
    def _send(one: Connection, waiting: deque[bytes], count: int) -> None:
        now_s = time.monotonic()
        calls = [one.call(waiting.popleft(), now_s) for _ in range(min(count, len(waiting)))]
        if calls:
            one.socket.sendall(b"".join(calls))

    def _done(self, begun_s: float) -> Done:
        elapsed_s = time.monotonic() - begun_s
        ended = [call for one in self._connections for call in one.ended]
        replies = [reply for one in self._connections for reply in one.replies]
        for one in self._connections:
            one.ended, one.replies = [], []
        latencies_s = [ended_s - due_s for due_s, ended_s, _ in ended]
        return Done(elapsed_s, latencies_s, sum(not replied for *_, replied in ended), replies)
