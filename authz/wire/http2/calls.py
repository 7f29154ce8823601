"""gRPC over HTTP/2, the server's side (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md): one message in, one out.

    POST /package.Service/Method, content-type application/grpc, 00 || uint32-BE length || message

In: whole requests of a connection. Out: answers of the method, or a status. Used by `server.py`. A caller
that leaves cancels its call; one whose deadline passes is still answered, since it is the caller who counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from enum import IntEnum
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import structlog

from authz.wire.http2.connection import Connection
from authz.wire.http2.stream import Stream

log = structlog.get_logger(__name__)

PREFIX_BYTES: Final = 5
MAX_DETAIL: Final = 512  # characters


class Status(IntEnum):
    """Codes that a server of ours gives (doc/statuscodes.md)."""

    OK = 0
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


class Refused(Exception):
    """The call ends with this status and no message."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class HttpCall:
    """`service.Call`: time and trace of one request, and who sent it."""

    __slots__ = ("_arrived", "_connection", "_head")

    def __init__(self, stream: Stream, connection: Connection) -> None:
        self._head, self._connection, self._arrived = stream.head, connection, stream.arrived

    def time_left(self) -> float | None:
        timeout_s = self._head.timeout_s
        return None if timeout_s is None else timeout_s - (time.monotonic() - self._arrived)

    def traceparent(self) -> str:
        return self._head.traceparent

    def peer(self) -> bytes:
        """The caller's certificate in PEM, empty without TLS."""
        return self._connection.peer()


Unary = Callable[[bytes, HttpCall], Awaitable[bytes]]
Send = Callable[[bytes], None]
Streaming = Callable[[bytes, Send], Awaitable[None]]


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that is not put into the table (RFC 7541 section 6.2.2), both strings as they are."""
    return b"\x00" + _string(name) + _string(value)


def _string(data: bytes) -> bytes:
    if len(data) < 127:
        return bytes((len(data),)) + data
    rest, size = len(data) - 127, b"\x7f"
    while rest >= 128:
        size += bytes((rest % 128 + 128,))
        rest //= 128
    return size + bytes((rest,)) + data


_STATUS_200: Final = b"\x88"  # of the static table
HEAD: Final = _STATUS_200 + _literal(b"content-type", b"application/grpc")
TRAILERS_OK: Final = _literal(b"grpc-status", b"0")
_NOT_GRPC: Final = _literal(b":status", b"415")
_NOT_POST: Final = _literal(b":status", b"405")


def framed(message: bytes) -> bytes:
    """Length-prefixed, not compressed."""
    return b"\x00" + len(message).to_bytes(4) + message


class Calls:
    """`unary` and `streaming` methods by their paths; `largest` message, bytes; `streams` at once on one
    connection.
    """

    def __init__(
        self, unary: dict[str, Unary], streaming: dict[str, Streaming], *, largest: int, streams: int
    ) -> None:
        self.largest, self.streams = largest + PREFIX_BYTES, streams
        self.connections: set[Connection] = set()
        self._unary, self._streaming = unary, streaming
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._finishing = False
        self._alone = asyncio.Event()  # there is no connection any more

    def connected(self) -> Connection:
        """For a socket that somebody opened."""
        return Connection(self)

    def came(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._alone.clear()
        if self._finishing:  # accepted just before, and nobody would end it
            self._loop.call_soon(connection.abort)

    async def finish(self, grace_s: float) -> None:
        """Answer what is under way, take nothing new, and end every connection after `grace_s` at most."""
        self._finishing = True
        for connection in [*self.connections]:
            connection.close()
        if self.connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._alone.wait()
        for connection in [*self.connections]:
            connection.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)

    def gone(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._alone.set()

    def begin(self, connection: Connection, stream: Stream) -> None:
        size = int.from_bytes(stream.body[1:PREFIX_BYTES])
        if size > self.largest - PREFIX_BYTES:
            end(connection, stream, Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes")

    def take(self, connection: Connection, stream: Stream) -> None:
        head = stream.head
        if head.method != "POST":
            return connection.end(stream, _NOT_POST)
        if not head.content_type.startswith("application/grpc"):
            return connection.end(stream, _NOT_GRPC)
        method = self._unary.get(head.path)
        if method is not None:
            self._start(stream, self._answer(method, connection, stream, HttpCall(stream, connection)))
        elif head.path in self._streaming:
            self._start(stream, self._stream(self._streaming[head.path], connection, stream))
        else:
            end(connection, stream, Status.UNIMPLEMENTED, "no such method")
        return None

    def _start(self, stream: Stream, story: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(story)
        # Not before its first step, which notes who asked: a caller may leave in the bytes that it came with.
        stream.cancel = partial(self._loop.call_soon, task.cancel)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, method: Unary, connection: Connection, stream: Stream, call: HttpCall) -> None:
        try:
            answer = await method(_message(stream), call)
        except Refused as refused:
            end(connection, stream, refused.status, refused.detail)
        except Exception as error:
            log.exception("call_failed", error=type(error).__name__)
            end(connection, stream, Status.INTERNAL, "")
        else:
            connection.answer(stream, HEAD, framed(answer), TRAILERS_OK)

    async def _stream(self, method: Streaming, connection: Connection, stream: Stream) -> None:
        head = HEAD

        def send(message: bytes) -> None:
            nonlocal head
            connection.send(stream, head, framed(message))
            head = b""

        try:
            await method(_message(stream), send)
        except Refused as refused:
            connection.end(stream, head + _trailers(refused.status, refused.detail))
        except Exception as error:
            log.exception("call_failed", error=type(error).__name__)
            connection.end(stream, head + _trailers(Status.INTERNAL, ""))
        else:
            connection.end(stream, head + TRAILERS_OK)


def end(connection: Connection, stream: Stream, status: Status, detail: str) -> None:
    """A status without a message (Trailers-Only)."""
    connection.end(stream, HEAD + _trailers(status, detail))


def _trailers(status: int, detail: str) -> bytes:
    message = quote(detail[:MAX_DETAIL], safe=" !#$&'()*+,/:;<=>?@[]^`{|}~\"")
    block = _literal(b"grpc-status", str(int(status)).encode())
    return block + (_literal(b"grpc-message", message.encode()) if message else b"")


def _message(stream: Stream) -> bytes:
    """The one message of a request. Raises Refused."""
    body, stream.body = stream.body, b""
    if len(body) < PREFIX_BYTES or int.from_bytes(body[1:PREFIX_BYTES]) != len(body) - PREFIX_BYTES:
        raise Refused(Status.INTERNAL, "not one whole message")
    if body[0]:
        raise Refused(Status.UNIMPLEMENTED, "compressed messages are not read")
    return bytes(body[PREFIX_BYTES:])
