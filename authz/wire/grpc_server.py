"""Check over grpcio's HTTP/2: what `listen.transport: grpcio` chooses.

In: an Endpoint. Out: an address that answers. Made by `server.py`. What is larger than the limit is answered
RESOURCE_EXHAUSTED by gRPC itself.
"""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz.wire.listening import bind
from authz.wire.service import Service
from authz.wire.tls import ServerTls, peer_of
from authz.wire.transport import SERVICE, Endpoint


class GrpcTransport:
    """`server.Transport` by grpcio."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.port = 0
        self._endpoint = endpoint
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # one address, one worker: a second one is told that it is taken
                ("grpc.max_receive_message_length", endpoint.largest),
                ("grpc.max_concurrent_streams", endpoint.streams),
            ]
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # absent from its stubs
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers((_handlers(endpoint.service, endpoint.tls),))

    async def start(self) -> None:
        endpoint = self._endpoint
        credentials = endpoint.tls.credentials() if endpoint.tls else None
        self.port = bind(self._server, endpoint.address, endpoint.state, endpoint.setting, credentials)
        await self._server.start()

    async def tell(self, serving: bool) -> None:
        state = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await self._health.set(name, state.SERVING if serving else state.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)


class _GrpcCall:
    """`service.Call` over grpcio's context."""

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:
        self._context = context

    def time_left(self) -> float | None:
        left: float | None = self._context.time_remaining()
        return left

    def traceparent(self) -> str:
        for name, value in self._context.invocation_metadata() or ():
            if name == "traceparent":
                return value if isinstance(value, str) else ""
        return ""


def _handlers(service: Service, tls: ServerTls | None) -> Any:
    async def check(message: bytes, context: Any) -> bytes:
        return await service.handle(message, _GrpcCall(context))

    async def guarded(message: bytes, context: Any) -> bytes:
        if tls is not None and not tls.admits(peer_of(context)):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not the pinned Envoy")
        return await service.handle(message, _GrpcCall(context))

    handler = grpc.unary_unary_rpc_method_handler(guarded if tls else check)
    return grpc.method_handlers_generic_handler(SERVICE, {"Check": handler})
