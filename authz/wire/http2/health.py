"""grpc.health.v1 (github.com/grpc/grpc, doc/health-checking.md): whether this worker should get traffic.

In: `tell`, when that changes. Out: answers to Check, and to Watch each change as it comes. Used by
`server.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from authz.wire.http2.calls import HttpCall, Refused, Send, Status

_State = health_pb2.HealthCheckResponse


class Health:
    """Of the services `names`, which serve together or not at all."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._serving = False
        self._changed = asyncio.Event()
        self._over = False

    def tell(self, serving: bool) -> None:
        if serving is not self._serving:
            self._serving = serving
            self._wake()

    def end(self) -> None:
        """Nobody is told anything any more."""
        self._over = True
        self._wake()

    async def check(self, message: bytes, call: HttpCall) -> bytes:
        """Raises Refused for a service that is not here."""
        if _named(message) not in self._names:
            raise Refused(Status.NOT_FOUND, "no such service")
        return self._said(known=True)

    async def watch(self, message: bytes, send: Send) -> None:
        """Send what there is to say now, and then each change, until there is an end."""
        known, before = _named(message) in self._names, b""
        while not self._over:
            now = self._said(known=known)
            if now != before:
                send(now)
                before = now
            changed = self._changed
            await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _said(self, *, known: bool) -> bytes:
        serving = _State.SERVING if self._serving else _State.NOT_SERVING
        return bytes(_State(status=serving if known else _State.SERVICE_UNKNOWN).SerializeToString())


def _named(message: bytes) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(message).service)
    except DecodeError:
        raise Refused(Status.INTERNAL, "not a HealthCheckRequest") from None
