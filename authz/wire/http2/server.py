"""Check and grpc.health.v1 over our own HTTP/2: what `listen.transport: http2` chooses.

In: an Endpoint. Out: an address that answers. Made by `wire/server.py`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

from authz.errors import KeyUnusable
from authz.wire.http2.calls import Calls, HttpCall, Refused, Status
from authz.wire.http2.health import Health
from authz.wire.listening import listen
from authz.wire.tls import ServerTls
from authz.wire.transport import SERVICE, Endpoint

CHECK: Final = f"/{SERVICE}/Check"
HANDSHAKE_S: Final = 10.0
ACCEPT_AGAIN_S: Final = 0.1

log = structlog.get_logger(__name__)


class HttpTransport:
    """`server.Transport` by our own HTTP/2."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.port = 0
        self._endpoint = endpoint
        self._health = Health(("", SERVICE))
        self._path = (endpoint.state / endpoint.address.removeprefix("unix:")).absolute()
        self._made: tuple[int, int] | None = None  # our socket there, which another one may have replaced
        self._servers: list[asyncio.Server] = []
        self._guarded: list[_Guarded] = []
        check = self._check_pinned if endpoint.tls else endpoint.service.handle
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
                self._made = _made(self._path)
                server = await loop.create_unix_server(self._calls.connected, sock=each)
            else:
                self.port = each.getsockname()[1]
                if endpoint.tls is not None:
                    self._guarded.append(_Guarded(self._calls, endpoint.tls, each))
                    continue
                server = await loop.create_server(self._calls.connected, sock=each)
            self._servers.append(server)

    async def tell(self, serving: bool) -> None:
        self._health.tell(serving)

    async def stop(self, grace_s: float) -> None:
        if self._made is not None and _made(self._path) == self._made:
            with suppress(OSError):  # before it is closed: nobody takes its place while somebody listens
                os.unlink(self._path)
        for server in self._servers:
            server.close()
        for guarded in self._guarded:
            await guarded.close()
        self._health.end()
        await self._calls.finish(grace_s)

    async def _check_pinned(self, message: bytes, call: HttpCall) -> bytes:
        tls = self._endpoint.tls
        if tls is not None and not tls.admits(call.peer()):
            raise Refused(Status.PERMISSION_DENIED, "not the pinned Envoy")
        return await self._endpoint.service.handle(message, call)


def _made(path: Path) -> tuple[int, int] | None:
    """What is at `path`, whatever it is called later."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Guarded:
    """A socket that listens on TCP for those who speak TLS. The context of a handshake is chosen when it
    begins, so that a new CA counts for it; who does not get through is not answered.
    """

    def __init__(self, calls: Calls, tls: ServerTls, listener: socket.socket) -> None:
        self._calls, self._tls, self._listener = calls, tls, listener
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._start(self._accept())

    async def close(self) -> None:
        """Let nobody in any more, either of those whose handshake has begun."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._listener.close()

    def _start(self, story: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(story)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:  # it left already, or there are too many
                log.warning("check_accept_failed", error=type(error).__name__)
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            self._start(self._shake(accepted))
            await asyncio.sleep(0)  # however many wait

    async def _shake(self, accepted: socket.socket) -> None:
        """Not by `start_tls`: uvloop reads, and loses, what comes between accepting and that."""
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = self._tls.context()
        except (OSError, KeyUnusable):
            accepted.close()
            return
        with suppress(OSError):
            await self._loop.connect_accepted_socket(
                self._calls.connected, accepted, ssl=context, ssl_handshake_timeout=HANDSHAKE_S
            )
