"""Retention as a task of the follower: a round every hour, if the settings want records deleted.

In: a Pruning. Out: deleted segments, gauges. Whatever keeps a round from its work is said and tried again;
stored evidence that is not what was signed stops nothing here: the sealer and `aegis verify` judge it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import structlog

from authz.errors import AegisError
from authz.followers.retention.prune import Pruning
from authz.telemetry.metrics import Gauge

log = structlog.get_logger(__name__)


class RetentionTask:
    """Rounds every `every_s` until `stop`. The numbers are for metrics."""

    def __init__(self, pruning: Pruning, every_s: float) -> None:
        self._pruning, self._every_s = pruning, every_s
        self.deleted = self.failures = self.held = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._round()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every_s)

    async def _round(self) -> None:
        try:
            did = await asyncio.to_thread(self._pruning.round)
        except (AegisError, OSError) as error:
            self.failures += 1
            log.error("retention_failed", error=str(error))  # noqa: TRY400 - where is in the text
            return
        self.held = sum(each.what.startswith("held") for each in did)
        self.deleted += sum(each.what == "deleted" for each in did)
        for each in did:
            log.info("retention", log=each.log, segment=each.number, what=each.what)

    def gauges(self) -> Iterator[Gauge]:
        yield "aegis_retention_deleted_total", "Segments deleted.", self.deleted, {}
        yield "aegis_retention_failures_total", "Rounds of retention that failed.", self.failures, {}
        yield "aegis_retention_held", "Segments that may go but for a hold, at the last round.", self.held, {}
