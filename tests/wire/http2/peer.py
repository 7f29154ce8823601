"""The other side of a connection, in bytes: builds frames as a client does, and reads what came back."""

from __future__ import annotations

import asyncio
from typing import Any

from hpack import Decoder, Encoder
from msgspec import Struct

from authz.wire.http2 import frames
from authz.wire.http2.connection import Connection

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/s/Method"), (":authority", "aegis")]
GRPC = [*REQUEST, ("te", "trailers"), ("content-type", "application/grpc")]
BLOCK_ENDS = frames.END_HEADERS
LAST = frames.END_HEADERS | frames.END_STREAM


class Frame(Struct, frozen=True):
    kind: int
    flags: int
    stream: int
    payload: bytes


def read(data: bytes) -> list[Frame]:
    found = []
    while data:
        word, flags, stream = frames.HEADER.unpack_from(data)
        end = frames.HEADER_BYTES + (word >> 8)
        assert len(data) >= end, "half a frame was sent"
        found.append(Frame(word & 0xFF, flags, stream, data[frames.HEADER_BYTES : end]))
        data = data[end:]
    return found


class Wire(asyncio.Transport):
    """Keeps what is written; reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = self.paused = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closed
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Peer:
    """A client on a wire to a Connection that gives its requests to `takes`; `settings` are the client's."""

    def __init__(self, takes: Any, settings: dict[int, int] | None = None) -> None:
        self.wire, self.encoder, self.decoder = Wire(), Encoder(), Decoder()
        self.connection = Connection(takes)
        self.connection.connection_made(self.wire)
        self.send(frames.PREFACE + frames.settings(settings or {}))
        self.taken()

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def taken(self) -> list[Frame]:
        """The frames that came since it was asked last."""
        data, self.wire.written = self.wire.written, b""
        return read(data)

    def head(self, stream: int, headers: list[tuple[str, str]] = GRPC, flags: int = BLOCK_ENDS) -> bytes:
        return frames.frame(frames.HEADERS, flags, stream, self.encoder.encode(headers))

    def ask(self, stream: int, body: bytes = b"", headers: list[tuple[str, str]] = GRPC) -> None:
        """A whole request."""
        self.send(self.head(stream, headers) + data(stream, body, last=True))

    def said(self, stream: int) -> tuple[dict[str, str], bytes, dict[str, str]]:
        """Headers, body and trailers of the answer on `stream`, which is whole."""
        blocks: list[dict[str, str]] = []
        body = b""
        for each in self.taken():
            if each.kind == frames.HEADERS:  # of every stream, or the table would not be theirs
                block = {str(name): str(value) for name, value in self.decoder.decode(each.payload)}
                if each.stream == stream:
                    blocks.append(block)
                    assert bool(each.flags & frames.END_STREAM) == (block.get("grpc-status") is not None)
            elif each.kind == frames.DATA and each.stream == stream:
                body += each.payload
        return blocks[0], body, blocks[-1]


def data(stream: int, body: bytes, *, last: bool = False) -> bytes:
    """DATA frames as large as they may be."""
    parts = [body[place : place + frames.MAX_FRAME] for place in range(0, len(body), frames.MAX_FRAME)] or [
        b""
    ]
    kinds = [0] * (len(parts) - 1) + [frames.END_STREAM if last else 0]
    return b"".join(
        frames.frame(frames.DATA, flags, stream, part) for flags, part in zip(kinds, parts, strict=True)
    )


def codes(found: list[Frame], kind: int) -> list[tuple[int, int]]:
    """(stream, error code) of the RST_STREAM or GOAWAY frames."""
    place = 0 if kind == frames.RST_STREAM else 4
    return [
        (each.stream, int.from_bytes(each.payload[place : place + 4])) for each in found if each.kind == kind
    ]
