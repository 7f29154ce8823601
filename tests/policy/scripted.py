"""A peer on a Unix socket that answers as a test wants: what a real OPA cannot be made to do on demand."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Answer = Callable[[str, bytes], Awaitable[bytes]]


def http(body: Any, status: int = 200, *, headers: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data


def decided(revision: str, **result: Any) -> bytes:
    bundles = {"aegis": {"revision": revision}}
    return http({"provenance": {"bundles": bundles}, "result": result})


class Peer:
    def __init__(self, socket: Path, answer: Answer) -> None:
        self.socket = socket
        self.connections = self.asked = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
                body = await reader.readexactly(int(length[0].split(":")[1]) if length else 0)
                self.asked += head.startswith("POST")
                answer = await self._answer(head.split(" ")[1], body)
                if not answer:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def peer(answer: Answer) -> AsyncIterator[Peer]:
    """`answer(target, body)` gives the bytes to send; none closes the connection."""
    with tempfile.TemporaryDirectory(prefix="peer-") as directory:
        served = Peer(Path(directory) / "s.sock", answer)
        server = await asyncio.start_unix_server(served.serve, served.socket)
        try:
            yield served
        finally:
            server.close()
            await asyncio.sleep(0)  # let closed connections be seen by their handlers
