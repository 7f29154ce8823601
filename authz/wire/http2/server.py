"""Check and grpc.health.v1 over our own HTTP/2: what `listen.transport: http2` chooses.

In: an Endpoint. Out: an address that answers. Made by `wire/server.py`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Final

from authz.errors import KeyUnusable
from authz.wire.http2.calls import Calls, HttpCall, Refused, Status
from authz.wire.http2.health import Health
from authz.wire.listening import listen
from authz.wire.tls import ServerTls
from authz.wire.transport import SERVICE, Endpoint

CHECK: Final = f"/{SERVICE}/Check"
HANDSHAKE_S: Final = 10.0


class HttpTransport:
    """`server.Transport` by our own HTTP/2."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.port = 0
        self._endpoint = endpoint
        self._health = Health(("", SERVICE))
        self._servers: list[asyncio.Server] = []
        check = self._guarded if endpoint.tls else self._check
        self._calls = Calls(
            {CHECK: check, "/grpc.health.v1.Health/Check": self._health.check},
            {"/grpc.health.v1.Health/Watch": self._health.watch},
            largest=endpoint.largest,
            streams=endpoint.streams,
        )

    async def start(self) -> None:
        endpoint, loop = self._endpoint, asyncio.get_running_loop()
        for each in listen(endpoint.address, endpoint.state, endpoint.setting):
            if endpoint.address.startswith("unix:"):
                server = await loop.create_unix_server(self._calls.connected, sock=each)
            else:
                self.port = each.getsockname()[1]
                server = await loop.create_server(self._accepted, sock=each)
            self._servers.append(server)

    async def tell(self, serving: bool) -> None:
        self._health.tell(serving)

    async def stop(self, grace_s: float) -> None:
        for server in self._servers:
            server.close()
        if self._servers and self._endpoint.address.startswith("unix:"):
            with suppress(OSError):  # another one may have taken it away
                os.unlink(self._endpoint.state / self._endpoint.address.removeprefix("unix:"))
        self._health.end()
        await self._calls.finish(grace_s)

    def _accepted(self) -> asyncio.Protocol:
        tls = self._endpoint.tls
        return _Handshake(self._calls, tls) if tls else self._calls.connected()

    async def _check(self, message: bytes, call: HttpCall) -> bytes:
        return await self._endpoint.service.handle(message, call)

    async def _guarded(self, message: bytes, call: HttpCall) -> bytes:
        tls = self._endpoint.tls
        if tls is not None and not tls.admits(call.peer()):
            raise Refused(Status.PERMISSION_DENIED, "not the pinned Envoy")
        return await self._endpoint.service.handle(message, call)


class _Handshake(asyncio.Protocol):
    """A connection of TCP until its TLS is there. Its context is chosen when it comes, so that a new CA
    counts for it; who does not get through is not answered.
    """

    def __init__(self, calls: Calls, tls: ServerTls) -> None:
        self._calls, self._tls = calls, tls
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._task = asyncio.get_running_loop().create_task(self._shake(transport))

    async def _shake(self, transport: asyncio.Transport) -> None:
        connection, loop = self._calls.connected(), asyncio.get_running_loop()
        try:
            secure = await loop.start_tls(
                transport,
                connection,
                self._tls.context(),
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except (OSError, KeyUnusable):
            transport.abort()
            return
        if secure is not None:
            connection.connection_made(secure)
