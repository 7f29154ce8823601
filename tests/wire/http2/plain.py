"""A web server in miniature over our HTTP/2, for those who test HTTP/2 and know nothing of gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authz.wire.http2.connection import Connection
from authz.wire.http2.stream import Stream

OK = b"\x88"
BODY = b"as good as any"


class Plain:
    """Answers every whole request with 200 and a body, after `delay_s`."""

    def __init__(self, delay_s: float = 0.01, streams: int = 100) -> None:
        self.largest, self.streams, self.delay_s = 1 << 20, streams, delay_s
        self.asked: list[Stream] = []
        self.connections: set[Connection] = set()
        self.cancelled = 0

    def came(self, connection: Connection) -> None:
        self.connections.add(connection)

    def gone(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def begin(self, connection: Connection, stream: Stream) -> None:
        """Nothing is refused."""

    def take(self, connection: Connection, stream: Stream) -> None:
        self.asked.append(stream)
        timer = asyncio.get_running_loop().call_later(
            self.delay_s, connection.answer, stream, OK, BODY, b"\x00\x04done\x03yes"
        )

        def cancel() -> None:
            self.cancelled += 1
            timer.cancel()

        stream.cancel = cancel


@asynccontextmanager
async def listening(plain: Plain) -> AsyncIterator[int]:
    """On a port of loopback."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(plain), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in [*plain.connections]:
            connection.abort()
