"""Everything that leaves: the record stream, exporters, checkpoints for anchors, as the settings want them.

In: the settings, the deployment's keys, the bell. Out: tasks for the follower's process, gauges. All of them
read what is durable on disk, so none depends on another, nor a worker on any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from authz.config import Settings
from authz.followers.anchors.outside import Outside
from authz.followers.bell import Bell
from authz.followers.durable import Durable
from authz.followers.exporters.setup import exporters
from authz.followers.own_keys import OwnKeys
from authz.followers.stream import RecordStream, StreamServer
from authz.telemetry.metrics import Gauge


class Outlets:
    """Made in a running event loop; `ended` is set when nothing more will become durable.

    Raises ConfigError for a file that cannot be used.
    """

    def __init__(self, settings: Settings, keys: OwnKeys, bell: Bell) -> None:
        durable = Durable(settings.ledger_directory.parent, settings.deployment, keys)
        self._bell, self.ended = bell, asyncio.Event()
        self._tracers = _tracers(settings) if settings.follower.stream else None
        self._service = RecordStream(durable, bell, self.ended)
        self._server = (
            StreamServer(settings, self._service, self._tracers) if settings.follower.stream else None
        )
        self._exporters = exporters(settings, durable)
        self._outside = Outside(settings, keys)

    async def start(self) -> None:
        """Raises ConfigError naming the address that cannot be had, IntegrityViolation if another history of
        a log was seen outside.
        """
        await self._outside.start()
        if self._server:
            await self._server.start()

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What is to run until `ended`, by name. An exporter's raises IntegrityViolation."""
        tasks = {f"export-{each.name}": each.run(self._bell, self.ended) for each in self._exporters}
        tasks |= self._outside.tasks(self.ended)
        if self._server:
            tasks["stream"] = self._server.run(self.ended)
        return tasks

    def close(self) -> None:
        self._outside.close()
        if self._tracers:
            self._tracers.shutdown()

    def gauges(self) -> Iterator[Gauge]:
        if self._server:
            yield from self._service.gauges()
        for each in self._exporters:
            yield from each.gauges()
        yield from self._outside.gauges()


def _tracers(settings: Settings) -> TracerProvider | None:
    """Spans of calls to the record stream, to where the worker's go."""
    if not settings.telemetry.otlp_endpoint:
        return None
    tracers = TracerProvider(
        sampler=ParentBasedTraceIdRatio(settings.telemetry.sampling),
        resource=Resource.create(
            {"service.name": "aegis-follower", "service.namespace": settings.deployment}
        ),
        shutdown_on_exit=False,
    )
    tracers.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.telemetry.otlp_endpoint))
    )
    return tracers
