"""The gRPC server of one worker: Authorization/Check as raw bytes, and grpc.health.v1.

In: a Service. Out: an address that answers (`listening.py` says to whom). Started and stopped by `app.py`.

What is larger than the limits and an envelope together is answered RESOURCE_EXHAUSTED by gRPC itself, without
a record: Envoy then denies (`failure_mode_allow: false`). Its own limits keep that from happening.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz.config import Settings
from authz.wire.listening import bind
from authz.wire.service import Service
from authz.wire.tls import ServerTls, open_tls

SERVICE: Final = "envoy.service.auth.v3.Authorization"
GRACE_S: Final = 5.0  # for calls under way when the server stops; Envoy waits for less
# What a CheckRequest may hold besides headers, path and body: metadata, certificates. With a limit of headers
# exceeded it is still read, and denied with a record.
ENVELOPE: Final = 1 << 20
# Calls that one connection may have open, as a multiple of those that may wait, and at least: what is between
# the two we refuse with a reason and a count; what is beyond Envoy holds back once it has been told.
STREAMS_PER_WAITING: Final = 2
FEWEST_STREAMS: Final = 1024


class CheckServer:
    """Serves `service` at `settings.listen.check` until `stop`."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self.port = 0  # of TCP, once started
        self._listen, self._state = settings.listen, settings.state
        limits = settings.limits
        largest = limits.body_bytes + limits.header_bytes + limits.path_bytes + ENVELOPE
        streams = max(FEWEST_STREAMS, STREAMS_PER_WAITING * settings.listen.waiting)
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # one address, one worker: a second one is told that it is taken
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_concurrent_streams", streams),
            ]
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # absent from its stubs
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.tls = open_tls(settings, self._listen.check)
        self._server.add_generic_rpc_handlers((_handlers(service, self.tls),))
        self._serving: bool | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def refresh(self) -> None:
        """Follow the files of TLS."""
        if self.tls is not None:
            self.tls.refresh()

    async def start(self) -> None:
        """Bind and serve. Raises ConfigError naming the address that cannot be had."""
        await self._tell(False)
        credentials = self.tls.credentials() if self.tls else None
        self.port = bind(self._server, self._listen.check, self._state, "listen.check", credentials)
        await self._server.start()

    def set_serving(self, serving: bool) -> None:
        """Say to health checks whether this worker should get traffic."""
        if serving is self._serving:
            return
        self._serving = serving
        task = asyncio.get_running_loop().create_task(self._tell(serving), name="health")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """NOT_SERVING for longer than Envoy's health-check interval, then finish what is under way."""
        drain_s = self._listen.drain_s if self._serving else 0.0
        self._serving = False
        await asyncio.gather(*self._tasks)
        await self._tell(False)
        await asyncio.sleep(drain_s)
        await self._server.stop(GRACE_S)

    async def _tell(self, serving: bool) -> None:
        state = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await self._health.set(name, state.SERVING if serving else state.NOT_SERVING)


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
        if tls is not None and not tls.admits(context):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not the pinned Envoy")
        return await service.handle(message, _GrpcCall(context))

    handler = grpc.unary_unary_rpc_method_handler(guarded if tls else check)
    return grpc.method_handlers_generic_handler(SERVICE, {"Check": handler})
