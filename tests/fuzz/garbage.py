"""Bytes at the port that are no calls: noise, other protocols, and HTTP/2 that breaks its own rules."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_DATA, _HEADERS, _PRIORITY, _RESET, _SETTINGS = range(5)
_PING, _WINDOW, _CONTINUATION = 6, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
_TIMEOUT_S: Final = 5.0


def frame(kind: int, flags: int, stream: int, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, 4.1); its length may be a lie."""
    return (
        struct.pack(">I", len(body) if length is None else length)[1:] + struct.pack(">BBI", kind, flags, stream) + body
    )


def headers(path: bytes) -> bytes:
    """Return the header block of a gRPC call, without Huffman and without the table (RFC 7541, 6.2.2)."""
    pairs = (
        *((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")),
        *((b"content-type", b"application/grpc"), (b"te", b"trailers")),
    )
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in pairs)


def throw(port: int, random: Random) -> None:
    """Open a connection, send something, perhaps look at what comes back, and go away, politely or not."""
    blob = random.choice(_BLOBS)(random)
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection:
        connection.settimeout(0.05)
        with suppress(OSError):
            connection.sendall(blob)
        if random.random() < 0.3:
            with suppress(OSError):
                connection.recv(65536)
        if random.random() < 0.3:  # reset instead of an orderly end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _text(value: bytes) -> bytes:
    assert len(value) < 127
    return bytes([len(value)]) + value


def _noise(random: Random) -> bytes:
    return random.randbytes(random.choice((1, 9, 100, 5000, 100_000)))


def _noise_after_preface(random: Random) -> bytes:
    return PREFACE + frame(_SETTINGS, 0, 0) + random.randbytes(random.choice((9, 100, 5000)))


def _other_protocol(random: Random) -> bytes:
    return random.choice(
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /fraud.v1.FraudScoring/Score HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500),  # TLS
            b"SSH-2.0-OpenSSH_9.9\r\n",
            PREFACE[: random.randrange(len(PREFACE))],
        )
    )


def _wild_frames(random: Random) -> bytes:
    out = [PREFACE, frame(_SETTINGS, 0, 0)]
    for _ in range(random.randrange(1, 50)):
        body = random.randbytes(random.choice((0, 1, 4, 5, 6, 8, 100)))
        lie = random.choice((None, None, None, 0, 16384, 2**24 - 1))
        stream = random.choice((0, 1, 2, 3, 2**31 - 1, 2**32 - 1))
        out.append(frame(random.randrange(12), random.randrange(256), stream, body, lie))
    return b"".join(out)


def _call(random: Random, body: bytes, flags: int = _END_STREAM) -> bytes:
    path = random.choice((b"/fraud.v1.FraudScoring/Score", b"/fraud.v1.EventIngest/Record", b"/no/such", b"*", b""))
    return frame(_HEADERS, _END_HEADERS, 1, headers(path)) + frame(_DATA, flags, 1, body)


def _broken_message(random: Random) -> bytes:
    """Frame the message of a call wrongly: a false length, marked as compressed, cut off, or none at all."""
    body = random.choice(
        (
            b"",
            b"\x00",
            b"\x00\x00\x00\x00\x05abc",
            b"\x01\x00\x00\x00\x03abc",
            b"\x00\xff\xff\xff\xff",
            b"\x07\x00\x00\x00\x01a",
            b"\x00\x00\x00\x00\x00" * 3,
        )
    )
    return PREFACE + frame(_SETTINGS, 0, 0) + _call(random, body, random.choice((0, _END_STREAM)))


def _rapid_reset(random: Random) -> bytes:
    """Take calls back at once (CVE-2023-44487)."""
    block = headers(b"/fraud.v1.FraudScoring/Score")
    out = [PREFACE, frame(_SETTINGS, 0, 0)]
    for stream in range(1, 2 * random.choice((10, 500)), 2):
        out += [frame(_HEADERS, _END_HEADERS, stream, block), frame(_RESET, 0, stream, struct.pack(">I", 8))]
    return b"".join(out)


def _control_flood(random: Random) -> bytes:
    """Send pings, settings and window updates in numbers."""
    one = random.choice(
        (
            frame(_PING, 0, 0, b"12345678"),
            frame(_SETTINGS, 0, 0, struct.pack(">HI", random.randrange(8), random.getrandbits(32))),
            frame(_WINDOW, 0, 0, struct.pack(">I", random.choice((0, 1, 2**31 - 1)))),
            frame(_PRIORITY, 0, 1, struct.pack(">IB", 1, 0)),
        )
    )
    return PREFACE + frame(_SETTINGS, 0, 0) + one * random.choice((10, 1000))


def _endless_headers(random: Random) -> bytes:
    """Never end a header block (CVE-2024-27316)."""
    piece = b"\x00" + _text(b"x-a") + _text(b"b" * 100)
    first = frame(_HEADERS, 0, 1, headers(b"/fraud.v1.FraudScoring/Score"))
    return PREFACE + frame(_SETTINGS, 0, 0) + first + frame(_CONTINUATION, 0, 1, piece * 50) * random.choice((1, 100))


def _broken_headers(random: Random) -> bytes:
    """Send a header block that is no HPACK, or that points outside of its table."""
    block = random.choice(
        (random.randbytes(100), b"\xff" * 20, b"\x3f\xff\xff\xff\xff\x0f", b"\x40\x7f\xff\xff\xff\xff\x7f", b"\x80")
    )
    return PREFACE + frame(_SETTINGS, 0, 0) + frame(_HEADERS, _END_HEADERS | _END_STREAM, 1, block)


_BLOBS: Final[tuple[Callable[[Random], bytes], ...]] = (
    *(_noise, _noise_after_preface, _other_protocol, _wild_frames, _broken_message),
    *(_rapid_reset, _control_flood, _endless_headers, _broken_headers),
)
