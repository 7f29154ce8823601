"""Where one worker answers Authorization/Check and grpc.health.v1, and how it stops.

In: a Service. Out: an address that answers (`listening.py` says to whom). Started and stopped by `app.py`.
What carries the calls is a Transport: our own HTTP/2 (`http2/`), or grpcio's (`grpc_server.py`). The same
tests hold both.

What is larger than the limits and an envelope together is answered RESOURCE_EXHAUSTED by the transport,
without a record: Envoy then denies (`failure_mode_allow: false`). Its own limits keep that from happening.
"""

from __future__ import annotations

import asyncio
from typing import Final

from authz.config import Settings
from authz.wire.service import Service
from authz.wire.tls import open_tls
from authz.wire.transport import SERVICE as SERVICE
from authz.wire.transport import Endpoint, Transport

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
        self._listen = settings.listen
        limits = settings.limits
        self.tls = open_tls(settings, self._listen.check)
        self._transport = _transport(
            settings.listen.transport,
            Endpoint(
                service=service,
                address=self._listen.check,
                state=settings.state,
                setting="listen.check",
                tls=self.tls,
                largest=limits.body_bytes + limits.header_bytes + limits.path_bytes + ENVELOPE,
                streams=max(FEWEST_STREAMS, STREAMS_PER_WAITING * settings.listen.waiting),
            ),
        )
        self._serving: bool | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Of TCP, once started."""
        return self._transport.port

    def refresh(self) -> None:
        """Follow the files of TLS."""
        if self.tls is not None:
            self.tls.refresh()

    async def start(self) -> None:
        """Bind and serve. Raises ConfigError naming the address that cannot be had."""
        await self._transport.tell(False)
        await self._transport.start()

    def set_serving(self, serving: bool) -> None:
        """Say to health checks whether this worker should get traffic."""
        if serving is self._serving:
            return
        self._serving = serving
        task = asyncio.get_running_loop().create_task(self._transport.tell(serving), name="health")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """NOT_SERVING for longer than Envoy's health-check interval, then finish what is under way."""
        drain_s = self._listen.drain_s if self._serving else 0.0
        self._serving = False
        await asyncio.gather(*self._tasks)
        await self._transport.tell(False)
        await asyncio.sleep(drain_s)
        await self._transport.stop(GRACE_S)


def _transport(name: str, endpoint: Endpoint) -> Transport:
    """Only the one that is wanted is loaded."""
    if name == "grpcio":
        from authz.wire.grpc_server import GrpcTransport

        return GrpcTransport(endpoint)
    from authz.wire.http2.server import HttpTransport

    return HttpTransport(endpoint)
