"""A real CheckServer with a scripted pipeline behind it, and a client as Envoy is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz._pb.aegis_ext_authz_pb2 import CheckRequest, CheckResponse
from authz.wire.server import SERVICE, CheckServer
from tests.wire.scripted import Scripted

State = health_pb2.HealthCheckResponse
TRANSPORTS = ("http2", "grpcio")
TCP: dict[str, Any] = {"listen": {"check": "127.0.0.1:0", "drain_s": 0}, "development": True}


class Served:
    """The server, what is behind it, and a channel to it."""

    def __init__(self, scripted: Scripted, server: CheckServer, channel: grpc.aio.Channel) -> None:
        self.scripted, self.server, self.channel = scripted, server, channel
        self.pipeline, self.service = scripted.pipeline, scripted.service

    async def send(self, data: bytes, *, timeout: float | None = 5.0, **metadata: str) -> CheckResponse:
        """One Check of these bytes; raises grpc.aio.AioRpcError as Envoy would see it."""
        check = self.channel.unary_unary(f"/{SERVICE}/Check")
        return CheckResponse.FromString(await check(data, timeout=timeout, metadata=tuple(metadata.items())))

    async def check(self, request: CheckRequest, **options: Any) -> CheckResponse:
        return await self.send(request.SerializeToString(), **options)

    async def health(self, name: str = "") -> int:
        stub = health_pb2_grpc.HealthStub(self.channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)).status)


@asynccontextmanager
async def serving(
    directory: Path, transport: str = "http2", fault: Exception | None = None, **sections: Any
) -> AsyncIterator[Served]:
    """Over a Unix socket below `directory`, or where `sections` say; stopped without drain at the end."""
    sections = {"state": directory, "listen": {"drain_s": 0}} | sections
    sections["listen"] = sections["listen"] | {"transport": transport}
    scripted = Scripted(fault, **sections)
    server = CheckServer(scripted.settings, scripted.service)
    await server.start()
    address = scripted.settings.listen.check
    target = f"127.0.0.1:{server.port}" if server.port > 1 else f"unix:{directory / address[5:]}"
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            yield Served(scripted, server, channel)
    finally:
        await server.stop()


async def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for a condition, which may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.005)
