"""A bounded pool of HTTP/1.1 connections to a Unix socket: keep-alive, one exchange at a time on each.

In: the bytes of a request, a time. Out: status and body, or Denied: `engine_unavailable`, `engine_timeout`,
or `policy_error` for an answer that is too large. Used by `engine_opa.py`. Everything ends within its time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any

import httptools

from authz import sockets
from authz.errors import Denied
from authz.policy.engine import MAX_ANSWER
from authz.values import Reason


class _Lost(Exception):
    """The connection ended before its answer; `silent` if nothing of an answer had come."""

    def __init__(self, silent: bool) -> None:
        super().__init__("connection lost")
        self.silent = silent


class _Connection(asyncio.Protocol):
    """One connection: idle, or with exactly one exchange under way."""

    def __init__(self, gone: Any) -> None:
        self.used = self.closed = self.expired = False
        self._gone = gone
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._size = 0
        self._received = False
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None

    def exchange(self, data: bytes, loop: asyncio.AbstractEventLoop) -> asyncio.Future[tuple[int, bytes]]:
        """Send `data`; the future gets (status, body), or _Lost."""
        self._received = False
        self._waiting = waiting = loop.create_future()
        self._transport.write(data)
        return waiting

    def abort(self) -> None:
        """Drop the connection with whatever is under way on it."""
        self.closed = True
        self._transport.abort()

    def expire(self) -> None:
        """The deadline of what is under way has come."""
        self.expired = True
        self.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(_Lost(not self._received))
        self._gone(self)

    def _fail(self, why: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(why)
        self._waiting, self._body = None, []
        self.abort()

    def data_received(self, data: bytes) -> None:
        self._received = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        self._body.append(data)
        if self._size > MAX_ANSWER:
            self._fail(Denied(Reason.POLICY_ERROR, f"OPA's answer is over {MAX_ANSWER} bytes"))

    def on_message_complete(self) -> None:
        if self.closed:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body, self._size, self.used = [], 0, True
        waiting, self._waiting = self._waiting, None
        if not self._parser.should_keep_alive() or waiting is None:
            self.abort()  # the server wants to close, or spoke without being asked
        if waiting is not None and not waiting.done():
            waiting.set_result((self._parser.get_status_code(), body))


class Connections:
    """At most `size` of them to the OPA at `socket`, made when they are needed."""

    def __init__(self, socket: Path, size: int) -> None:
        self._socket = str(socket)
        self._free = size
        self._idle: list[_Connection] = []
        self._waiting: deque[asyncio.Future[_Connection | None]] = deque()
        self._open: set[_Connection] = set()

    def close(self) -> None:
        """Drop every connection."""
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()

    async def exchange(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the answer to `data`, within `timeout_s`. Raises Denied."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        connection = self._take_idle() or await self._connect(deadline)
        while True:
            stale = connection.used
            timer = loop.call_at(deadline, connection.expire)
            try:
                answer = await connection.exchange(data, loop)
            except _Lost as lost:
                if connection.expired:
                    raise Denied(Reason.ENGINE_TIMEOUT, "OPA gave no answer in time") from None
                if not (stale and lost.silent):
                    raise Denied(Reason.ENGINE_UNAVAILABLE, "OPA closed the connection") from None
            except BaseException:
                connection.abort()  # its answer is still to come and belongs to nobody
                raise
            else:
                self._give_back(connection)
                return answer
            finally:
                timer.cancel()
            # OPA had closed this idle connection, so it never saw the question: once more on a new one.
            connection = await self._connect(deadline)

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _give_back(self, connection: _Connection) -> None:
        if not connection.closed:
            self._pass_on(connection)

    async def _connect(self, deadline: float) -> _Connection:
        """A connection within the bound: a new one, or one that comes free first, in the order of asking."""
        try:
            async with asyncio.timeout_at(deadline):
                while self._free == 0:
                    free = await self._turn()
                    if free is not None and not free.closed:
                        return free
                return await self._open_one()
        except TimeoutError:
            raise Denied(Reason.ENGINE_TIMEOUT, "no connection to OPA in time") from None
        except OSError as error:
            raise Denied(Reason.ENGINE_UNAVAILABLE, f"OPA: {type(error).__name__}") from None

    async def _turn(self) -> _Connection | None:
        """Wait for a connection that another has done with, or None when there is room for a new one."""
        waiting: asyncio.Future[_Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self._pass_on(waiting.result())  # its turn came as it left: the next one's then
            raise

    def _pass_on(self, connection: _Connection | None) -> None:
        """Hand it to whoever waits longest, so that nobody who comes now is served before."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        if connection is not None:
            self._idle.append(connection)

    async def _open_one(self) -> _Connection:
        self._free -= 1
        try:
            if not sockets.is_private(Path(self._socket).parent):
                raise Denied(Reason.ENGINE_UNAVAILABLE, "OPA's socket lies where others could put theirs")
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_unix_connection(lambda: _Connection(self._gone), self._socket)
            if connection.closed:
                raise ConnectionResetError
        except BaseException:
            self._free += 1
            self._pass_on(None)
            raise
        self._open.add(connection)
        return connection

    def _gone(self, connection: _Connection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            self._free += 1
            self._pass_on(None)
